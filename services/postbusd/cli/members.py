"""Members of groups and lists: options that set, add or remove them."""

import argparse
from collections.abc import Sequence


def add_member_options(parser: argparse.ArgumentParser, what: str, noun: str = "member") -> None:
    """Adds the options."""
    parser.add_argument(f"--{noun}", action="append", metavar=what, help=f"a {noun}; may be repeated; replaces all")
    parser.add_argument(f"--add-{noun}", action="append", default=[], metavar=what, help=f"one more {noun}")
    parser.add_argument(f"--remove-{noun}", action="append", default=[], metavar=what, help=f"one {noun} less")


def changed_members(args: argparse.Namespace, present: Sequence[str], noun: str = "member") -> list[str]:
    """The members as the options want them, each once; names are compared without regard to case."""
    given: list[str] | None = getattr(args, noun)
    wanted = [*(present if given is None else given), *getattr(args, f"add_{noun}")]
    removed = {name.lower() for name in getattr(args, f"remove_{noun}")}
    unique: dict[str, str] = {}
    for name in wanted:
        unique.setdefault(name.lower(), name)
    return [name for key, name in unique.items() if key not in removed]
