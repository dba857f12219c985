"""`postbus NOUN delete NAME…`: says what would go, asks on a terminal, deletes."""

import argparse
import sys
from typing import Any

import msgspec

from postbus.runtime.layout import StartError
from postbusd.cli.api import ApiError, path_of
from postbusd.cli.braces import expand_all
from postbusd.cli.common import clean, fail
from postbusd.cli.objects import Noun, Session, print_json

Flag = tuple[str, dict[str, str], str]
"""A further option: name, what it adds to the query, help."""


def add_delete(noun: Noun, name: str, plural: str, more: str = "", flag: Flag | None = None) -> None:
    """Adds the verb."""

    def run(session: Session, args: argparse.Namespace) -> int:
        query = flag[1] if flag is not None and getattr(args, flag[0]) else {}
        return delete(session, args, f"{name} delete", plural, query)

    article = "an" if name[0] in "ae" else "a"
    verb = noun.verb("delete", run, f"delete {article} {name}, or several", more)
    verb.add_argument("names", nargs="+", metavar=name.upper(), help="which")
    verb.add_argument("--dry-run", action="store_true", help="only say what would be deleted")
    if flag is not None:
        verb.add_argument(f"--{flag[0]}", action="store_true", help=flag[2])
    add_yes(verb)


def add_yes(parser: argparse.ArgumentParser) -> None:
    """Adds --yes."""
    parser.add_argument("--yes", "-y", action="store_true", help="don't ask (nothing is asked without a terminal)")


def delete(
    session: Session, args: argparse.Namespace, command: str, plural: str, query: dict[str, str] | None = None
) -> int:
    """Deletes what `names` says; what is refused is told, the rest goes."""
    wanted = Wanted(command=command, plural=plural, query=query or {})
    if not args.dry_run and is_asked(args) and not _confirm(session, args, wanted):
        return 1
    return _delete_each(session, args, wanted)


def is_asked(args: argparse.Namespace) -> bool:
    """Whether a person is there who did not say --yes."""
    return not args.yes and sys.stdin.isatty()


def ask(question: str) -> bool:
    """A question for y or N."""
    print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What is deleted, and how."""

    command: str
    plural: str
    query: dict[str, str]


def _confirm(session: Session, args: argparse.Namespace, wanted: Wanted) -> bool:
    for name in expand_all(args.names):
        for line in _ask_api(session, wanted, name, dry_run=True)["deleted"]:
            print(f"  {clean(line)}", file=sys.stderr)
    return ask("Delete this?")


def _delete_each(session: Session, args: argparse.Namespace, wanted: Wanted) -> int:
    deleted: list[str] = []
    failed = 0
    for name in expand_all(args.names):
        try:
            deleted += _ask_api(session, wanted, name, dry_run=args.dry_run)["deleted"]
        except ApiError as error:
            failed = fail(wanted.command, f"{name}: {error}")
        except StartError as error:
            failed = fail(wanted.command, error)
            break
    print_deletion(args, {"deleted": deleted, "dry_run": args.dry_run})
    return failed


def print_deletion(args: argparse.Namespace, result: Any) -> int:
    """Prints what the API says of a DELETE; exit code 0."""
    if args.json:
        print_json(result)
        return 0
    for line in result["deleted"]:
        print(f"{'would delete' if result['dry_run'] else 'deleted'}: {clean(line)}")
    return 0


def _ask_api(session: Session, wanted: Wanted, name: str, *, dry_run: bool) -> Any:  # Any: JSON of the API
    query = {**wanted.query, **({"dry_run": "true"} if dry_run else {})}
    return session.api.delete(path_of(wanted.plural, name), query or None)
