"""What the commands share: the data folder's option, error lines, tables."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from postbus.runtime.layout import Layout, default_data_dir, layout_of
from postbus.runtime.settings import process_environment


def add_data_dir(parser: argparse.ArgumentParser) -> None:
    """Adds --data-dir."""
    parser.add_argument(
        "--data-dir",
        type=Path,
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
    line = " ".join(str(reason).split())
    print(f"postbus {command}: {line}", file=sys.stderr)
    return 1


def format_table(head: Sequence[str], rows: Sequence[Sequence[str]], right: frozenset[int] = frozenset()) -> str:
    """A table with aligned columns; those in `right` to the right."""
    lines = [list(head), *[list(row) for row in rows]]
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
