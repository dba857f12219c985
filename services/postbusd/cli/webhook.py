"""`postbus webhook`: other systems that are told of events, by signed HTTPS requests."""

import argparse
from typing import Any

from postbus.runtime.layout import StartError
from postbusd.cli.api import path_of
from postbusd.cli.common import clean, format_facts, format_table, on_off
from postbusd.cli.deleting import add_delete
from postbusd.cli.objects import Noun, Session, Subparsers, UsageError, find, list_all, print_json, show
from postbusd.cli.times import format_time

PLURAL = "webhooks"
KEPT = ("url", "types", "domain", "active")
NOT_WELL = 3


def add_parser(subparsers: Subparsers) -> None:
    """Registers the commands."""
    noun = Noun(subparsers, "webhook", "systems that are told of events", __doc__ or "")
    add = noun.verb("add", run_add, "add a webhook", "Prints its secret once; events from now on are posted.")
    add.add_argument("name", help="the webhook's name")
    add.add_argument("--url", required=True, help="where events are posted: https://HOST/PATH")
    _add_options(add)
    change_it = noun.verb("set", run_set, "change a webhook", "What is not named stays as it is.")
    change_it.add_argument("name", help="the webhook's name")
    change_it.add_argument("--url", help="where events are posted")
    _add_options(change_it)
    change_it.add_argument("--active", choices=("on", "off"), help="off: events of that time are not told later")
    for verb, action, summary, more in (
        ("rotate", run_rotate, "make a new secret", "The one until now signs too for a day."),
        ("test", run_test, "send a test request", "Exit code 3 when the receiver does not say 2xx."),
        ("show", run_show, "show a webhook", "And how it is doing."),
    ):
        noun.verb(verb, action, summary, more).add_argument("name", help="the webhook's name")
    noun.verb("list", run_list, "list the webhooks")
    pending = noun.verb("deliveries", run_deliveries, "list events that were given up")
    pending.add_argument("name", help="the webhook's name")
    pending.add_argument("--waiting", action="store_true", help="those that wait for their turn instead")
    for verb, action in (("retry", run_retry), ("discard", run_discard)):
        parser = noun.verb(verb, action, f"{verb} events that were given up")
        parser.add_argument("name", help="the webhook's name")
        parser.add_argument("sequence", nargs="?", type=int, help="only this one, by its place in the event log")
        parser.add_argument("--all", action="store_true", help="every one")
    add_delete(noun, "webhook", PLURAL, "What it has not told is told to nobody.")


def run_add(session: Session, args: argparse.Namespace) -> int:
    """Adds a webhook."""
    path = path_of(PLURAL, args.name)
    if find(session.api, path) is not None:
        raise StartError(f"there is {args.name} already; to change it: postbus webhook set {args.name}")
    return _tell_secret(args, session.api.put(path, _changes(args)))


def run_set(session: Session, args: argparse.Namespace) -> int:
    """Changes a webhook."""
    path = path_of(PLURAL, args.name)
    before = session.api.get(path)
    hook = session.api.put(path, {**{name: before[name] for name in KEPT}, **_changes(args)})
    return show(args, hook, format_webhooks([hook]))


def run_rotate(session: Session, args: argparse.Namespace) -> int:
    """Makes a new secret."""
    return _tell_secret(args, session.api.post(path_of(PLURAL, args.name, "secret")))


def run_test(session: Session, args: argparse.Namespace) -> int:
    """Sends a test request."""
    told = session.api.post(path_of(PLURAL, args.name, "test"))
    text = f"{'told' if told['told'] else 'NOT told'} in {told['milliseconds']} ms: {clean(told['outcome'])}"
    show(args, told, text)
    return 0 if told["told"] else NOT_WELL


def run_show(session: Session, args: argparse.Namespace) -> int:
    """Shows a webhook."""
    hook = session.api.get(path_of(PLURAL, args.name))
    last = f"{format_time(hook['last_ms'])}: {clean(hook['last_outcome'])}" if hook["last_ms"] else "nothing sent yet"
    paused = f", paused until {format_time(hook['paused_until_ms'])}" if hook["failures"] else ""
    facts = [
        ("webhook", hook["name"]),
        ("url", hook["url"]),
        ("events", " ".join(hook["types"]) or "all"),
        ("domain", hook["domain"] or "all"),
        ("active", on_off(hook["active"])),
        ("last", last),
        ("failures", f"{hook['failures']} in a row{paused}"),
        ("waiting", str(hook["waiting"])),
        ("given up", str(hook["dead"])),
    ]
    return show(args, hook, format_facts(facts))


def run_list(session: Session, args: argparse.Namespace) -> int:
    """Lists the webhooks."""
    hooks = list_all(session.api, path_of(PLURAL), PLURAL)
    return show(args, hooks, format_webhooks(hooks))


def run_deliveries(session: Session, args: argparse.Namespace) -> int:
    """Lists what is not told."""
    state = "waiting" if args.waiting else "dead"
    found = list_all(session.api, path_of(PLURAL, args.name, "deliveries"), "deliveries", {"state": state})
    rows = [
        [
            str(each["sequence"]),
            format_time(each["event"]["at_ms"]),
            each["event"]["type"],
            str(each["attempts"]),
            each["outcome"],
            each["event"]["summary"],
        ]
        for each in found
    ]
    text = format_table(["SEQ", "AT", "TYPE", "TRIES", "LAST", "EVENT"], rows, right=frozenset({0, 3}))
    return show(args, found, text if rows else f"no event is {'waiting' if args.waiting else 'given up'}")


def run_retry(session: Session, args: argparse.Namespace) -> int:
    """Tells given up events again."""
    return _change(session, args, retry=True)


def run_discard(session: Session, args: argparse.Namespace) -> int:
    """Discards given up events."""
    return _change(session, args, retry=False)


def format_webhooks(hooks: list[Any]) -> str:
    """A table."""
    head = ["WEBHOOK", "URL", "EVENTS", "DOMAIN", "ACTIVE", "WAITING", "GIVEN UP"]
    rows = [
        [
            hook["name"],
            hook["url"],
            " ".join(hook["types"]) or "all",
            hook["domain"] or "all",
            on_off(hook["active"]),
            str(hook["waiting"]),
            str(hook["dead"]),
        ]
        for hook in hooks
    ]
    return format_table(head, rows, right=frozenset({5, 6}))


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--type", action="append", metavar="TYPE", help="only events of this type; may be repeated")
    parser.add_argument("--all-types", action="store_true", help="events of all types")
    parser.add_argument("--domain", metavar="D", help="only events of this domain; empty: all")


def _changes(args: argparse.Namespace) -> dict[str, object]:
    if args.type and args.all_types:
        raise UsageError("--type and --all-types exclude each other")
    changes: dict[str, object] = {"url": args.url} if args.url else {}
    if args.type or args.all_types:
        changes["types"] = args.type or []
    if args.domain is not None:
        changes["domain"] = args.domain
    if getattr(args, "active", None) is not None:
        changes["active"] = args.active == "on"
    return changes


def _change(session: Session, args: argparse.Namespace, *, retry: bool) -> int:
    if args.all == (args.sequence is not None):
        raise UsageError("name one event, or say --all")
    body: dict[str, object] = {"retry": retry, "all": args.all}
    body |= {} if args.all else {"sequence": args.sequence}
    result = session.api.post(path_of(PLURAL, args.name, "deliveries", "actions"), body)
    number = result["changed"]
    events = "1 event" if number == 1 else f"{number} events"
    return show(args, result, f"{events} {'to be told again' if retry else 'discarded'}")


def _tell_secret(args: argparse.Namespace, hook: Any) -> int:
    if args.json:
        print_json(hook)
        return 0
    print(format_facts([("webhook", hook["name"]), ("url", hook["url"]), ("secret", hook["secret"])]))
    print("The secret is not shown again; requests are signed with it as Standard Webhooks says (docs/webhooks.md).")
    return 0
