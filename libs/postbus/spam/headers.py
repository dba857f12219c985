"""The X-Spam header fields, as mail programs and Sieve know them; lines keep to 78 columns (RFC 5322 §2.1.1)."""

from collections.abc import Sequence
from typing import Final

from postbus.spam.checks import SpamScore

MAX_LINE_COLUMNS: Final = 78
MAX_LEVEL: Final = 50


def format_spam_headers(result: SpamScore) -> bytes:
    """X-Spam-Flag (spam only), X-Spam-Status and X-Spam-Level (from one star on), each ending in CRLF."""
    lines = ["X-Spam-Flag: YES\r\n"] if result.is_spam else []
    lines.append(_format_status(result))
    stars = min(int(max(result.score, 0.0)), MAX_LEVEL)
    if stars:
        lines.append(f"X-Spam-Level: {'*' * stars}\r\n")
    return "".join(lines).encode("ascii")


def _format_status(result: SpamScore) -> str:
    answer = "Yes" if result.is_spam else "No"
    start = f"X-Spam-Status: {answer}, score={result.score:.1f} required={result.required:.1f} tests="
    return _fold_list(start, sorted(test.name for test in result.tests) or ["none"])


def _fold_list(start: str, names: Sequence[str]) -> str:
    """The names joined by commas, folded before those that would not fit."""
    lines, last = [], len(names) - 1
    current = start
    for index, name in enumerate(names):
        piece = name if index == last else f"{name},"
        if len(current) + len(piece) > MAX_LINE_COLUMNS:
            lines.append(current)
            current = "\t"
        current += piece
    return "\r\n".join([*lines, current]) + "\r\n"
