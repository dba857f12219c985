"""`postbus trace`: the story of a message by its queue id, or the messages of an address or with a Message-ID.

A story says who said what and when, where the copies are, and what comes next.
"""

import argparse
import time
from collections import Counter
from typing import Any

from postbusd.cli.api import path_of
from postbusd.cli.common import add_data_dir, clean, format_table
from postbusd.cli.objects import Session, Subparsers, UsageError, run_action, show
from postbusd.cli.queue_view import said
from postbusd.cli.times import format_span, format_time, parse_moment

ENDS = {
    "folder": "delivered to mailboxes of ours",
    "queued": "went to the outbound queue",
    "held": "held: a dead letter",
    "dsn": "could not be delivered: the sender was told by a DSN",
    "written_off": "written off: given up by an administrator",
    None: "accepted; delivery has not taken it from the bus yet",
}
MAX_SHOWN_PATHS = 3
_DETAILS = ("client_address", "reverse_path", "forward_path", "mailbox", "detail")


def add_parser(subparsers: Subparsers) -> None:
    """Registers the command."""
    parser = subparsers.add_parser("trace", help="the story of a message", description=__doc__)
    parser.add_argument(
        "queue_id", metavar="QUEUE_ID", nargs="?", help="as our 250 named it, `queue list` or `events` show it"
    )
    parser.add_argument("--address", metavar="A", help="list messages from or to it, the latest first")
    parser.add_argument("--message-id", metavar="ID", help="list messages with this Message-ID")
    parser.add_argument("--since", metavar="TIME", help="not older than 2h, 3d or 2026-03-01T10:00")
    parser.add_argument("--until", metavar="TIME", help="older than that")
    parser.add_argument("--limit", type=int, default=20, metavar="N", help="at most so many (default: 20)")
    add_data_dir(parser)
    parser.add_argument("--json", action="store_true", help="as JSON")
    parser.set_defaults(handler=lambda args: run_action("trace", run_trace, args))


def run_trace(session: Session, args: argparse.Namespace) -> int:
    """Prints the story, or what was found."""
    given = [name for name in ("queue_id", "address", "message_id") if getattr(args, name)]
    if len(given) != 1:
        raise UsageError("give a queue id, --address or --message-id, one of them")
    if given != ["queue_id"]:
        return _list(session, args, given[0])
    message = session.api.get(path_of("messages", args.queue_id))
    return show(args, message, format_message(message, time.time_ns() // 1_000_000))


def format_found(messages: list[Any]) -> str:
    """A table."""
    rows = [
        [
            each["queue_id"],
            format_time(each["first_ms"]),
            each["reverse_path"] or "<>",
            " ".join(each["forward_paths"][:MAX_SHOWN_PATHS] + ["…"] * (len(each["forward_paths"]) > MAX_SHOWN_PATHS)),
            each["last_summary"],
        ]
        for each in messages
    ]
    return format_table(["QUEUE ID", "AT", "FROM", "FOR", "LAST"], rows) if rows else "no message is found"


def _list(session: Session, args: argparse.Namespace, by: str) -> int:
    now_ms = time.time_ns() // 1_000_000
    query = {by: getattr(args, by), "limit": str(args.limit)}
    query |= {name: parse_moment(getattr(args, name), now_ms) for name in ("since", "until") if getattr(args, name)}
    page = session.api.get(path_of("messages"), query)
    text = format_found(page["messages"])
    more = "\nthere are more: say --limit or --until" if page["next_after"] else ""
    return show(args, page["messages"], text + more)


def format_message(message: Any, now_ms: int) -> str:
    """Head, story, and where the copies are."""
    blocks = ["\n".join(_head(message, now_ms))]
    if message["story"]:
        told: set[str] = set()
        blocks.append("\n".join(line for event in message["story"] for line in _event_lines(event, told)))
    where = _places(message, now_ms)
    if where:
        blocks.append("\n".join(["Where it is:", *[f"  {line}" for line in where]]))
    return "\n\n".join(blocks)


def _head(message: Any, now_ms: int) -> list[str]:
    ends = clean(_end(message))
    lines = [f"{clean(message['queue_id'])}: {ends}"]
    if message["accepted_ms"]:
        age = format_span(now_ms - message["accepted_ms"])
        lines.append(f"taken {format_time(message['accepted_ms'])}, {age} ago")
    facts = (("message id", _message_id(message)), ("trace", _trace_id(message)), ("note", message["detail"]))
    for name, text in facts:
        if text:
            lines.append(f"{name} {clean(text)}")
    if message["accounted"] == "held":
        lines.append(f"try it again with postbus ledger held retry {message['stream_sequence']}")
    if message["story_cut"]:
        lines.append("the story is longer than what is shown: postbus events --queue-id")
    return lines


def _end(message: Any) -> str:
    """How it ended; what went to the queue by the states of its copies."""
    states = Counter(copy["state"] for copy in message["outgoing"])
    if message["accounted"] != "queued" or not states:
        return ENDS.get(message["accounted"], str(message["accounted"]))
    copies = ", ".join(f"{number} {state}" for state, number in sorted(states.items()))
    return f"outbound {'copy' if states.total() == 1 else 'copies'}: {copies}"


def _message_id(message: Any) -> str:
    named = [each["message_id"] for each in (*message["outgoing"], *message["story"])]
    return next((text for text in named if text), "")


def _trace_id(message: Any) -> str:
    """For the tool that shows traces; retries of the queue have their own, linked to it."""
    named = [each["traceparent"] for each in (message, *message["story"])]
    return next((text.split("-")[1] for text in named if text.count("-") > 1), "")


def _event_lines(event: Any, told: set[str]) -> list[str]:
    """One line, and below it what neither it nor an earlier event says; `told` grows."""
    at = format_time(event["at_ms"], milliseconds=True)
    summary = event["summary"]
    more = []
    for name in _DETAILS:
        value = event[name]
        fact = str(value) if name == "detail" else f"{name.replace('_', ' ')} {value}"
        if value and value not in summary and (name == "detail" or fact not in told):
            more.append(fact)
            told.add(fact)
    lines = [f"{at}  {event['service']:<11} {event['type']:<13} {summary}"]
    if more:
        lines.append(f"{'':23}  {'; '.join(more)}")
    return [clean(line.rstrip()) for line in lines]


def _places(message: Any, now_ms: int) -> list[str]:
    """Its copies: in folders, and on the way."""
    lines = [f"{each['folder']} of {each['address']} (UID {each['uid']})" for each in message["placements"]]
    for copy in message["outgoing"]:
        tls = f" [{copy['tls']}]" if copy["tls"] else ""
        lines.append(
            f"for {copy['recipient']}: {copy['state']}, {_tries(copy['attempts'])}, {_when(copy, now_ms)}{tls}"
        )
        if copy["last_reply"]:
            lines.append(f"  {said(copy)}")
    return [clean(line) for line in lines]


def _when(copy: Any, now_ms: int) -> str:
    if copy["state"] == "held":
        return "until an administrator releases it"
    if copy["state"] != "waiting":
        return f"ended {format_time(copy['due_ms'])}"
    if copy["due_ms"] <= now_ms:
        return "is tried now"
    next_try = f"next try {format_time(copy['due_ms'])} (in {format_span(copy['due_ms'] - now_ms)})"
    return f"{next_try}, given up {format_time(copy['expires_ms'])}"


def _tries(number: int) -> str:
    return "not tried yet" if number == 0 else f"tried {'once' if number == 1 else f'{number} times'}"
