"""The policy's block and welcome lists: patterns of addresses and domains, on the reverse path and the authors."""

import functools
import re
from collections.abc import Sequence

from postbus.contracts.policy import Policy
from postbus.spam.view import AuthorAddress, ListedSender


def find_senders(reverse_path: str, authors: Sequence[AuthorAddress], policy: Policy) -> ListedSender:
    """Which of the message's senders stand on a list; empty: none."""
    if not policy.blocked_senders and not policy.welcome_senders:
        return ListedSender()
    senders = [reverse_path, *[f"{author.local_part}@{author.domain}" for author in authors]]
    return ListedSender(
        blocked=_first(senders, policy.blocked_senders), welcome=_first(senders, policy.welcome_senders)
    )


def _first(senders: Sequence[str], patterns: tuple[str, ...]) -> str:
    pattern = compile_patterns(patterns)
    return next((sender for sender in senders if "@" in sender and pattern.match(sender.lower())), "")


@functools.lru_cache(maxsize=8)
def compile_patterns(patterns: tuple[str, ...]) -> re.Pattern[str]:
    """One expression for all: `*` is any text, `?` any character; a pattern without @ is a domain."""
    found = [_translate(pattern if "@" in pattern else f"*@{pattern}") for pattern in patterns]
    return re.compile("|".join(found) or "(?!)", re.DOTALL)


def _translate(pattern: str) -> str:
    """Text between two `*` is looked for where it first occurs and never again, so that no pattern takes long."""
    first, *rest = [re.escape(part).replace(r"\?", ".") for part in pattern.split("*")]
    if not rest:
        return rf"{first}\Z"
    *middle, last = rest
    return rf"{first}{''.join(f'(?>.*?{part})' for part in middle if part)}.*{last}\Z"
