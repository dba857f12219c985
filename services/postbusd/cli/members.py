"""Members of groups and lists: options that set, add or remove them."""

import argparse
from collections.abc import Sequence


def add_member_options(parser: argparse.ArgumentParser, what: str) -> None:
    """Adds the options."""
    parser.add_argument("--member", action="append", metavar=what, help="a member; may be repeated; replaces them all")
    parser.add_argument("--add-member", action="append", default=[], metavar=what, help="one more member")
    parser.add_argument("--remove-member", action="append", default=[], metavar=what, help="one member less")


def changed_members(args: argparse.Namespace, present: Sequence[str]) -> list[str]:
    """The members as the options want them, each once; names are compared without regard to case."""
    wanted = [*(present if args.member is None else args.member), *args.add_member]
    removed = {name.lower() for name in args.remove_member}
    unique: dict[str, str] = {}
    for name in wanted:
        unique.setdefault(name.lower(), name)
    return [name for key, name in unique.items() if key not in removed]
