"""`u{1..50}@bench.example` and `{kim,robin}@demo.example` as the names they stand for, as shells do it.

For shells that don't (sh, PowerShell) and for quoted arguments. Braces that are neither a range nor a list stay.
"""

import re

from postbus.runtime.layout import StartError

MAX_NAMES = 10_000
_GROUP = re.compile(r"\{(-?[0-9]{1,9})\.\.(-?[0-9]{1,9})\}|\{([^{},]*(?:,[^{},]*)+)\}")


def expand_all(texts: list[str]) -> list[str]:
    """Every name once, in order. Raises StartError for more than MAX_NAMES."""
    found: dict[str, None] = {}
    for text in texts:
        for name in expand(text):
            found[name] = None
            if len(found) > MAX_NAMES:
                raise StartError(f"more than {MAX_NAMES} names")
    return list(found)


def expand(text: str) -> list[str]:
    """The names that one argument stands for. Raises StartError for more than MAX_NAMES."""
    names = [""]
    position = 0
    for match in _GROUP.finditer(text):
        before, position = text[position : match.start()], match.end()
        choices = match[3].split(",") if match[3] is not None else _numbers(match[1], match[2])
        if len(names) * len(choices) > MAX_NAMES:
            raise StartError(f"more than {MAX_NAMES} names")
        names = [f"{name}{before}{choice}" for name in names for choice in choices]
    return [f"{name}{text[position:]}" for name in names]


def _numbers(first: str, last: str) -> list[str]:
    """From first to last, also downwards; with a leading zero all as wide as the wider one."""
    low, high = int(first), int(last)
    if abs(high - low) >= MAX_NAMES:
        raise StartError(f"more than {MAX_NAMES} names")
    padded = any(len(text.lstrip("-")) > 1 and text.lstrip("-").startswith("0") for text in (first, last))
    width = max(len(first), len(last)) if padded else 0
    step = 1 if high >= low else -1
    return [f"{number:0{width}d}" for number in range(low, high + step, step)]
