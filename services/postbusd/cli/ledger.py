"""`postbus ledger`: the books of all accepted mail: where every message is, and whether one is missing.

Exit code 0: the books balance. 1: they do not, or they can't be read (one line on standard error says which).
"""

import argparse
from typing import Any

from postbusd.cli.api import NOT_FOUND, ApiError, path_of
from postbusd.cli.common import add_data_dir
from postbusd.cli.deleting import add_yes, ask, is_asked
from postbusd.cli.ledger_view import (
    count_letters,
    format_change,
    format_held,
    format_ledger,
    format_settlement,
)
from postbusd.cli.objects import Action, Session, Subparsers, UsageError, list_all, print_json, run_action, show

UNBALANCED = 1
_RETRY = "Delivers it once to each mailbox, whatever was stored before; recipients that led nowhere are looked up anew."
_DISCARD = "Nobody gets it and nobody is told; the ledger keeps who did it and why. Asks on a terminal."
_SETTLE = (
    "Closes the ledger's alarms as well, for good: look first where the messages went (docs/runbook.md). "
    "Asks on a terminal."
)


def add_parser(subparsers: Subparsers) -> None:
    """Registers the commands."""
    parser = subparsers.add_parser("ledger", help="the books of accepted mail, dead letters", description=__doc__)
    _add_common(parser, "ledger", run_ledger)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    held = _add(commands, "held", run_held, "ledger held", "list the dead letters", "Why each could not be placed.")
    verbs = held.add_subparsers(title="commands", metavar="COMMAND")
    _add(verbs, "list", run_held, "ledger held list", "list the dead letters", "Why each could not be placed.")
    retry = _add(verbs, "retry", run_retry, "ledger held retry", "deliver a dead letter now", _RETRY)
    _add_chosen(retry)
    discard = _add(verbs, "discard", run_discard, "ledger held discard", "give a dead letter up for good", _DISCARD)
    _add_chosen(discard)
    _add_reason(discard)
    settle = _add(commands, "settle", run_settle, "ledger settle", "write off what is missing", _SETTLE)
    settle.add_argument("--dry-run", action="store_true", help="only say what would be settled")
    _add_reason(settle)


def _add(
    commands: Subparsers, name: str, action: Action, command: str, summary: str, more: str
) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=summary, description=f"{summary[0].upper()}{summary[1:]}. {more}")
    _add_common(parser, command, action, default=argparse.SUPPRESS)
    return parser


def _add_common(parser: argparse.ArgumentParser, command: str, action: Action, default: str | None = None) -> None:
    """The options that may stand behind any of the words."""
    add_data_dir(parser, default)
    parser.add_argument("--json", action="store_true", default=default or False, help="as JSON")
    parser.set_defaults(handler=lambda args: run_action(command, action, args))


def _add_chosen(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("sequence", nargs="?", type=int, metavar="SEQ", help="as `ledger held` and `trace` show it")
    parser.add_argument("--all", action="store_true", help="every dead letter, instead of SEQ")
    parser.add_argument("--dry-run", action="store_true", help="only count them")


def _add_reason(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--reason", required=True, metavar="TEXT", help="why; it is kept")
    add_yes(parser)


def run_ledger(session: Session, args: argparse.Namespace) -> int:
    """Prints the books."""
    ledger = session.api.get(path_of("ledger"))
    show(args, ledger, format_ledger(ledger))
    return 0 if ledger["balanced"] else UNBALANCED


def run_held(session: Session, args: argparse.Namespace) -> int:
    """Lists the dead letters."""
    letters = list_all(session.api, path_of("held"), "messages")
    return show(args, letters, format_held(letters))


def run_retry(session: Session, args: argparse.Namespace) -> int:
    """Retries; exit code 1 when one stays a dead letter."""
    _check_chosen(args)
    return _tell_change(args, "retry", _change(session, args, {"action": "retry"}))


def run_discard(session: Session, args: argparse.Namespace) -> int:
    """Discards, after a question on a terminal."""
    _check_chosen(args)
    if not args.dry_run and is_asked(args):
        planned = _ask_api(session, {"action": "discard", "reason": args.reason, "dry_run": True}, args.sequence)
        if planned["changed"] and not ask(f"Discard {count_letters(planned['changed'])}?"):
            return 1
    return _tell_change(args, "discard", _change(session, args, {"action": "discard", "reason": args.reason}))


def run_settle(session: Session, args: argparse.Namespace) -> int:
    """Writes off what is missing, after a question on a terminal."""
    body = {"reason": args.reason}
    path = path_of("ledger", "settlements")
    if not args.dry_run and is_asked(args):
        planned = session.api.post(path, {**body, "dry_run": True})
        if not ask(f"{format_settlement(planned)}. Settle this?"):
            return 1
    settled = session.api.post(path, {**body, "dry_run": args.dry_run})
    return show(args, settled, format_settlement(settled))


def _check_chosen(args: argparse.Namespace) -> None:
    if args.all == (args.sequence is not None):
        raise UsageError("--all goes with no SEQ" if args.all else "say SEQ or --all")


def _change(session: Session, args: argparse.Namespace, body: dict[str, object]) -> Any:  # Any: JSON of the API
    """One, or those of now one after the other: many take longer than an answer may."""
    if not args.all or args.dry_run:
        return _ask_api(session, {**body, "dry_run": args.dry_run}, args.sequence)
    changed, failed = 0, []
    for letter in list_all(session.api, path_of("held"), "messages"):
        try:
            done = _ask_api(session, body, letter["stream_sequence"])
        except ApiError as error:
            if error.status != NOT_FOUND:
                raise
            continue  # somebody else was there before
        changed += done["changed"]
        failed += done["failed"]
    return {"changed": changed, "failed": failed, "dry_run": False}


def _ask_api(session: Session, body: dict[str, object], sequence: int | None) -> Any:  # Any: JSON of the API
    chosen: dict[str, object] = {"all": True} if sequence is None else {"stream_sequence": sequence}
    return session.api.post(path_of("held", "actions"), {**body, **chosen})


def _tell_change(args: argparse.Namespace, action: str, result: Any) -> int:
    if args.json:
        print_json(result)
    else:
        print(format_change(action, result))
    return 1 if result["failed"] else 0
