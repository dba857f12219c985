"""What the commands share: the data folder's option, error lines, tables, amounts.

Texts may come from other hosts (replies, names): what is printed has no control characters.
"""

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec

from postbus.runtime.layout import Layout, default_data_dir, layout_of
from postbus.runtime.settings import process_environment


def add_data_dir(parser: argparse.ArgumentParser, default: str | None = None) -> None:
    """Adds --data-dir; `default` is argparse.SUPPRESS where a parser above has the option too."""
    parser.add_argument(
        "--data-dir",
        type=Path,
        default=default,
        metavar="DIR",
        help="data folder (default: /var/lib/postbus as root, else ${XDG_DATA_HOME:-~/.local/share}/postbus)",
    )


def layout_from(args: argparse.Namespace) -> Layout:
    """The layout of --data-dir or of the default folder."""
    environment = process_environment()
    data_dir: Path | None = args.data_dir
    return layout_of(data_dir or default_data_dir(environment), environment)


def fail(command: str, reason: object) -> int:
    """Prints one clear line to standard error; exit code 1."""
    line = clean(" ".join(str(reason).split()))
    print(f"postbus {command}: {line}", file=sys.stderr)
    return 1


def format_table(head: Sequence[str], rows: Sequence[Sequence[str]], right: frozenset[int] = frozenset()) -> str:
    """A table with aligned columns; those in `right` to the right."""
    lines = [list(head), *[[clean(cell) for cell in row] for row in rows]]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    return "\n".join(
        "  ".join(
            cell.rjust(widths[column]) if column in right else cell.ljust(widths[column])
            for column, cell in enumerate(line)
        ).rstrip()
        for line in lines
    )


def format_octets(octets: int | None) -> str:
    """Megabytes, as people read memory."""
    return "–" if octets is None else f"{octets / 1_048_576:.0f} MB"


def format_facts(facts: Sequence[tuple[str, str]]) -> str:
    """One fact a line, values aligned."""
    width = max(len(name) for name, _ in facts)
    return "\n".join(f"{name:<{width}}  {clean(value)}".rstrip() for name, value in facts)


def clean(text: str) -> str:
    """The text without characters that steer a terminal."""
    return text if text.isprintable() else "".join(each if each.isprintable() else "\ufffd" for each in text)


def clean_lines(text: str) -> str:
    """Several lines without characters that steer a terminal."""
    return "\n".join(clean(line) for line in text.expandtabs().split("\n"))


def format_json(value: object) -> str:
    """One line of JSON, for a terminal too: what could steer one is written as an escape, which means the same."""
    return escape_json(msgspec.json.encode(value).decode())


def escape_json(text: str) -> str:
    """JSON with escapes for unprintable characters but line breaks: they stand in strings only."""
    return text if text.isprintable() else "".join(map(_escape, text))


def _escape(character: str) -> str:
    if character.isprintable() or character == "\n":
        return character
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at]:02x}{units[at + 1]:02x}" for at in range(0, len(units), 2))


def on_off(value: object) -> str:
    """A switch for people."""
    return "on" if value else "off"


_AMOUNT = re.compile(r"([0-9]{1,15})(?:\.([0-9]{1,3}))?([KMGT]?)(?:i?B)?\Z", re.IGNORECASE)
_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


DEFAULT_LIMIT = -1


def parse_amount(text: str) -> int:
    """Octets of `500M`, `5G`, `1.5G` or a number (1K = 1024); 0 for `unlimited`. For argparse."""
    if text.lower() in ("unlimited", "none"):
        return 0
    match = _AMOUNT.match(text)
    if match is None or (match[2] and not match[3]):
        raise argparse.ArgumentTypeError("an amount is a number with K, M, G or T, or unlimited")
    return int(float(f"{match[1]}.{match[2] or 0}") * _UNITS[match[3].upper()])


def parse_limit(text: str) -> int:
    """The same, and DEFAULT_LIMIT for `default`. For argparse."""
    return DEFAULT_LIMIT if text.lower() == "default" else parse_amount(text)


def format_amount(octets: int | None) -> str:
    """As people write it: `500M`, `1.5G`; `unlimited` for None."""
    if octets is None:
        return "unlimited"
    unit = next((name for name, size in reversed(_UNITS.items()) if octets >= size), "")
    return f"{octets / _UNITS[unit]:.1f}".removesuffix(".0") + unit
