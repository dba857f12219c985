"""Keywords of a message (RFC 9051 §2.3.2): compared without regard to case, the first spelling is kept."""

import re
from collections.abc import Sequence

from postbus.core.errors import ErrorKind, MailError
from postbus.mailstore.values import StoreMode

_ATOM = re.compile(r"[!#$&'+,\-./0-9:;<=>?@A-Z^_`a-z|}~]+\Z")  # RFC 9051 §9: ATOM-CHAR
MAX_KEYWORDS = 100
MAX_KEYWORD_OCTETS = 200


def check_keywords(keywords: Sequence[str]) -> tuple[str, ...]:
    """The keywords without doubles. Raises MailError INVALID for what is no atom, LIMIT for too many or too long."""
    unique = {keyword.lower(): keyword for keyword in reversed(keywords)}
    if len(unique) > MAX_KEYWORDS or any(len(keyword) > MAX_KEYWORD_OCTETS for keyword in unique):
        raise MailError(ErrorKind.LIMIT, f"keywords: more than {MAX_KEYWORDS}, or longer than {MAX_KEYWORD_OCTETS}")
    if not all(_ATOM.match(keyword) for keyword in unique):
        raise MailError(ErrorKind.INVALID, "keywords: not an atom")
    return tuple(dict.fromkeys(unique[keyword.lower()] for keyword in keywords))


def merge_keywords(old: Sequence[str], new: Sequence[str], mode: StoreMode) -> tuple[str, ...]:
    """The keywords after a STORE, sorted by their lower-case form."""
    spelled = {keyword.lower(): keyword for keyword in (*reversed(new), *reversed(old))}
    names = {
        StoreMode.REPLACE: lambda before, given: given,
        StoreMode.ADD: lambda before, given: before | given,
        StoreMode.REMOVE: lambda before, given: before - given,
    }[mode]({keyword.lower() for keyword in old}, {keyword.lower() for keyword in new})
    return tuple(spelled[name] for name in sorted(names))
