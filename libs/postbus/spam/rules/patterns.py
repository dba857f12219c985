"""Regular expressions of rules: RE2, whose time is linear; what RE2 does not know, by `regex` with a time limit.

Of 1,591 rules in use RE2 compiles 86 of a hundred, `regex` nearly all others.
"""

import re
from typing import Any, Final

import re2
import regex

MAX_PATTERN_CHARACTERS: Final = 4_096
MAX_SECONDS: Final = 0.05
"""Of one search by `regex`."""
MAX_RE2_OCTETS: Final = 2 * 1024 * 1024
"""Memory of one compiled pattern."""
_CLOSING: Final = {"(": ")", "{": "}", "[": "]", "<": ">"}
_FLAGS: Final = frozenset("imsxgo")


class PatternError(ValueError):
    """A pattern that can't be used; the text says why."""


class PatternTimeoutError(Exception):
    """A search took longer than MAX_SECONDS."""


class Pattern:
    """A compiled pattern."""

    def __init__(self, source: str, flags: frozenset[str]) -> None:
        """Raises PatternError."""
        if len(source) > MAX_PATTERN_CHARACTERS:
            raise PatternError(f"more than {MAX_PATTERN_CHARACTERS} characters")
        self.source = source
        self._slow: Any = None
        # Texts are lines joined by LF, each of which a rule sees as a whole.
        marks = "m" + "".join(sorted(flags & set("is")))
        self._fast = None if "x" in flags else _compile_re2(f"(?{marks}){source}")
        if self._fast is None:
            try:
                self._slow = regex.compile(f"(?{marks}{'x' if 'x' in flags else ''}){source}", regex.V0)
            except (regex.error, re.error, OverflowError, RecursionError) as error:
                raise PatternError(str(error)) from error

    def count(self, text: bytes, most: int = 1) -> int:
        """How often it matches in UTF-8, at most `most`. Raises PatternTimeoutError."""
        if self._fast is not None:
            if most == 1:
                return int(self._fast.search(text) is not None)
            return sum(1 for _ in zip(range(most), self._fast.finditer(text), strict=False))
        try:
            found = self._slow.finditer(text.decode("utf-8", "replace"), timeout=MAX_SECONDS)
            return sum(1 for _ in zip(range(most), found, strict=False))
        except TimeoutError as error:
            raise PatternTimeoutError from error


def _compile_re2(source: str) -> Any:
    """None: `regex` has to do it."""
    options = re2.Options()
    options.log_errors = False
    options.max_mem = MAX_RE2_OCTETS
    try:
        return re2.compile(source, options)
    except (re2.error, UnicodeError):
        return None


def read_pattern(text: str) -> tuple[Pattern, str]:
    """A pattern as `/…/flags` or `m{…}flags`, and what follows it. Raises PatternError."""
    start = 1 if text.startswith("m") and len(text) > 1 and not text[1].isalnum() and not text[1].isspace() else 0
    if start == 0 and not text.startswith("/"):
        raise PatternError("a pattern as /…/ or m{…} is missing")
    opening = text[start : start + 1]
    closing = _CLOSING.get(opening, opening)
    end = _find_end(text, start + 1, opening, closing)
    rest = text[end + 1 :]
    flags = rest[: len(rest) - len(rest.lstrip("abcdefghijklmnopqrstuvwxyz"))]
    unknown = sorted(set(flags) - _FLAGS)
    if unknown:
        raise PatternError(f"unknown flag {unknown[0]}")
    source = text[start + 1 : end]
    if opening == "/":
        source = source.replace("\\/", "/")
    return Pattern(source, frozenset(flags)), rest[len(flags) :].strip()


def _find_end(text: str, at: int, opening: str, closing: str) -> int:
    depth = 1
    while at < len(text):
        if text[at] == "\\":
            at += 2
            continue
        if text[at] == closing:
            depth -= 1
            if depth == 0:
                return at
        elif text[at] == opening:
            depth += 1
        at += 1
    raise PatternError(f"the closing {closing} is missing")
