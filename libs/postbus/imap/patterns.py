"""Matching folder names to LIST patterns (RFC 9051 §6.3.9): `*` any characters, `%` any but `/`.

Time is linear in the name whatever the pattern: all positions of the pattern are followed at once, as bits of a number.
"""

import re

_RUN = re.compile(r"[*%]+")


class FolderPattern:
    """A pattern; INBOX matches in any case (RFC 9051 §5.1)."""

    def __init__(self, pattern: str) -> None:
        self._exact = self._compile(pattern)
        self._upper = self._compile(pattern.upper())

    @staticmethod
    def _compile(pattern: str) -> tuple[dict[str, int], int, int, int]:
        """Bits of positions: by literal character, of `*`, of any wildcard, and of the end."""
        text = _RUN.sub(lambda run: "*" if "*" in run[0] else "%", pattern)
        literals: dict[str, int] = {}
        stars = wildcards = 0
        for position, character in enumerate(text):
            if character in "*%":
                wildcards |= 1 << position
                stars |= (1 << position) if character == "*" else 0
            else:
                literals[character] = literals.get(character, 0) | 1 << position
        return literals, stars, wildcards, 1 << len(text)

    def matches(self, name: str) -> bool:
        """Whether the whole name matches."""
        literals, stars, wildcards, end = self._upper if name == "INBOX" else self._exact
        positions = 1 | (2 if wildcards & 1 else 0)
        for character in name:
            stay = positions & (stars if character == "/" else wildcards)
            moved = (positions & literals.get(character, 0)) << 1
            positions = stay | moved
            positions |= (positions & wildcards) << 1
            if not positions:
                return False
        return bool(positions & end)
