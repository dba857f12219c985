"""`postbus events`: what the services told: mail taken, delivered, put off, refused, logins, changes."""

import argparse
import sys
import time
from collections.abc import Callable
from typing import Any

from postbus.runtime.layout import StartError
from postbusd.cli.api import ApiError, path_of
from postbusd.cli.common import add_data_dir, clean, format_json
from postbusd.cli.objects import Session, Subparsers, UsageError, run_action
from postbusd.cli.times import format_time, parse_moment

FOLLOW_SECONDS = 1.0
MAX_LIMIT = 1000
FILTERS = ("type", "queue_id", "domain", "mailbox", "text")
_ABOUT = ("queue_id", "mailbox", "forward_path", "client_address")


def add_parser(subparsers: Subparsers) -> None:
    """Registers the command."""
    parser = subparsers.add_parser("events", help="what happened", description=__doc__)
    add_data_dir(parser)
    parser.add_argument(
        "--type", metavar="T[,T]", help="only of these types: received, delivered, deferred, bounced, login …"
    )
    parser.add_argument("--queue-id", metavar="Q", help="only of this message")
    parser.add_argument("--domain", metavar="D", help="only of this domain")
    parser.add_argument("--mailbox", metavar="A", help="only of the mailbox with this address")
    parser.add_argument("--text", metavar="TEXT", help="only with this text in what is told")
    parser.add_argument("--since", metavar="TIME", help="not older than 2h, 3d or 2026-03-01T10:00")
    parser.add_argument("--until", metavar="TIME", help="older than that")
    parser.add_argument("--limit", type=int, default=100, metavar="N", help="the latest N (default 100, at most 1000)")
    parser.add_argument("-f", "--follow", action="store_true", help="go on as they come")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.set_defaults(handler=lambda args: run_action("events", run_events, args))


def run_events(session: Session, args: argparse.Namespace) -> int:
    """Prints the latest events; with --follow until Ctrl-C."""
    query = make_query(args, time.time_ns() // 1_000_000)
    page = session.api.get(path_of("events"), query)
    tell = _tell_json if args.json else _tell
    after = _print_page(page, tell)
    if args.follow:
        follow(session, {**query, "limit": str(MAX_LIMIT), "after": after}, tell, time.sleep)
    return 0


def make_query(args: argparse.Namespace, now_ms: int) -> dict[str, str]:
    """The options as the API takes them. Raises UsageError."""
    if not 1 <= args.limit <= MAX_LIMIT:
        raise UsageError(f"--limit: 1 to {MAX_LIMIT}")
    if args.follow and args.until:
        raise UsageError("--until does not go with --follow")
    query = {name: value for name in FILTERS if (value := getattr(args, name))}
    for name in ("since", "until"):
        if getattr(args, name):
            query[name] = parse_moment(getattr(args, name), now_ms)
    return {**query, "limit": str(args.limit)}


def follow(
    session: Session, query: dict[str, str], tell: Callable[[Any], None], sleep: Callable[[float], None]
) -> None:
    """Asks for what came later, again and again; an API that is away is waited for."""
    away = False
    while True:
        sleep(FOLLOW_SECONDS)
        try:
            page = session.api.get(path_of("events"), query)
        except ApiError as error:
            if error.status < 500:
                raise
            page = None
        except StartError:
            page = None
        if page is None:
            if not away:
                print("postbus events: the API is away, waiting for it", file=sys.stderr)
            away = True
            continue
        away = False
        query = {**query, "after": _print_page(page, tell)}


def format_event(event: Any) -> str:
    """Time, service, type, summary, and what the summary does not say."""
    summary = event["summary"]
    rest = [event[name] for name in _ABOUT if event[name] and event[name] not in summary]
    if event["detail"] and event["detail"] not in summary:
        rest.append(event["detail"])
    text = f"{summary} ({', '.join(rest)})" if rest else summary
    return clean(f"{format_time(event['at_ms'])}  {event['service']:<15} {event['type']:<13} {text}".rstrip())


def _print_page(page: Any, tell: Callable[[Any], None]) -> str:
    events = page["events"]  # as they came into the log; programs get them so
    for event in events if tell is _tell_json else sorted(events, key=lambda each: each["at_ms"]):
        tell(event)
    sys.stdout.flush()
    return str(page["next_after"])


def _tell(event: Any) -> None:
    print(format_event(event))


def _tell_json(event: Any) -> None:
    print(format_json(event))
