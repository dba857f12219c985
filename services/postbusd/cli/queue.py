"""`postbus queue`: what waits to go to other hosts, why, and what may be done about it."""

import argparse
import time
from typing import Any

from postbusd.cli.api import path_of
from postbusd.cli.deleting import add_yes, ask, is_asked
from postbusd.cli.objects import Noun, Session, Subparsers, UsageError, list_all, print_json, show
from postbusd.cli.queue_view import format_entry, format_queue, format_result

ACTIONS = {
    "retry": ("try copies now", ""),
    "hold": ("hold copies back until they are released", ""),
    "release": ("release held copies and try them now", ""),
    "cancel": ("end copies silently", "Nobody is told. Asks on a terminal."),
    "bounce": ("end copies as failed", "The sender is told by a DSN. Asks on a terminal."),
}
FINAL = ("cancel", "bounce")


def add_parser(subparsers: Subparsers) -> None:
    """Registers the commands."""
    noun = Noun(subparsers, "queue", "mail that waits to go out", __doc__ or "")
    listed = noun.verb("list", run_list, "list the queue", "The last column says why a copy is still here.")
    listed.add_argument("--domain", default="", metavar="D", help="only recipients of this domain")
    listed.add_argument("--finished", action="store_true", help="also sent, failed and cancelled copies")
    noun.verb("show", run_show, "show a message's copies").add_argument("queue_id", metavar="QUEUE_ID", help="of it")
    for name, (summary, more) in ACTIONS.items():
        _add_action(noun, name, summary, more)


def _add_action(noun: Noun, name: str, summary: str, more: str) -> None:
    def run(session: Session, args: argparse.Namespace) -> int:
        return run_change(session, args, name)

    verb = noun.verb(name, run, summary, more)
    verb.add_argument("queue_id", nargs="?", default="", metavar="QUEUE_ID", help="copies of this message")
    verb.add_argument("--recipient", default="", metavar="A", help="copies for this address")
    verb.add_argument("--domain", default="", metavar="D", help="copies for recipients of this domain")
    verb.add_argument("--all", action="store_true", help="every copy, instead of a filter")
    verb.add_argument("--dry-run", action="store_true", help="only count them")
    if name in FINAL:
        add_yes(verb)


def run_list(session: Session, args: argparse.Namespace) -> int:
    """Lists the queue."""
    query = {"domain": args.domain} if args.domain else {}
    if args.finished:
        query["finished"] = "true"
    entries = list_all(session.api, path_of("queue"), "entries", query)
    totals = session.api.get(path_of("queue"), {"limit": "1"})
    value = {"entries": entries, "waiting": totals["waiting"], "held": totals["held"]}
    return show(args, value, format_queue(value, _now_ms()))


def run_show(session: Session, args: argparse.Namespace) -> int:
    """Shows the copies of a message, finished ones too."""
    entries = list_all(session.api, path_of("queue"), "entries", {"queue_id": args.queue_id})
    if args.json:
        print_json(entries)
        return 0
    if not entries:
        print("nothing of it went to the queue (where it is: postbus trace QUEUE_ID)")
        return 1
    print("\n\n".join(format_entry(entry, _now_ms()) for entry in entries))
    return 0


def run_change(session: Session, args: argparse.Namespace, action: str) -> int:
    """Applies an action; exit code 1 when the message that was named has no such copy."""
    body: dict[str, object] = {
        "action": action,
        "queue_id": args.queue_id,
        "recipient": args.recipient,
        "domain": args.domain,
        "all": args.all,
    }
    filtered = bool(args.queue_id or args.recipient or args.domain)
    if args.all == filtered:
        raise UsageError("--all goes with no filter" if filtered else "say QUEUE_ID, --recipient, --domain or --all")
    if action in FINAL and not args.dry_run and is_asked(args):
        planned = _change(session, {**body, "dry_run": True})
        if planned["changed"] and not ask(f"{action.capitalize()} {_copies(planned['changed'])}?"):
            return 1
    result = _change(session, {**body, "dry_run": args.dry_run})
    show(args, result, format_result(action, result))
    return 1 if args.queue_id and not result["changed"] and not result["busy"] else 0


def _change(session: Session, body: dict[str, object]) -> Any:  # Any: JSON of the API
    return session.api.post(path_of("queue", "actions"), body)


def _copies(number: int) -> str:
    return "1 copy" if number == 1 else f"{number} copies"


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
