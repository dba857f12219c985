"""`postbus audit`: who changed what by the API, from where, and how it ended. Secrets are told as `changed`."""

import argparse
import time
from typing import Any

from postbusd.cli.api import path_of
from postbusd.cli.common import add_data_dir, clean, format_json
from postbusd.cli.objects import Session, Subparsers, UsageError, run_action, show
from postbusd.cli.times import format_time, parse_moment

MAX_LIMIT = 100_000
PAGE = 1000
RESULTS = ("done", "refused", "failed", "unknown")
FILTERS = ("actor", "object", "operation", "result")


def add_parser(subparsers: Subparsers) -> None:
    """Registers the command."""
    parser = subparsers.add_parser("audit", help="who changed what", description=__doc__)
    add_data_dir(parser)
    parser.add_argument("--actor", metavar="A", help="only of this actor")
    parser.add_argument("--object", metavar="O", help="only of this object, as domains/example.org; domains/: of all")
    parser.add_argument("--operation", metavar="OP", help="only this operation, as put_domain")
    parser.add_argument("--result", choices=RESULTS, help="only with this result")
    parser.add_argument("--since", metavar="TIME", help="not older than 2h, 3d or 2026-03-01T10:00")
    parser.add_argument("--until", metavar="TIME", help="older than that")
    parser.add_argument("--limit", type=int, default=100, metavar="N", help="the latest N (default 100)")
    parser.add_argument("--changes", action="store_true", help="with the fields that changed")
    parser.add_argument("--json", action="store_true", help="as JSON")
    parser.set_defaults(handler=lambda args: run_action("audit", run_audit, args))


def run_audit(session: Session, args: argparse.Namespace) -> int:
    """Prints the latest requests, the latest first."""
    entries = fetch(session, args)
    lines = [line for entry in entries for line in format_entry(entry, changes=args.changes)]
    return show(args, entries, "\n".join(lines) if lines else "nothing was changed")


def fetch(session: Session, args: argparse.Namespace) -> list[Any]:
    """As many pages as --limit asks for. Raises UsageError."""
    if not 1 <= args.limit <= MAX_LIMIT:
        raise UsageError(f"--limit: 1 to {MAX_LIMIT}")
    query = {name: value for name in FILTERS if (value := getattr(args, name))}
    now_ms = time.time_ns() // 1_000_000
    for name in ("since", "until"):
        if getattr(args, name):
            query[name] = parse_moment(getattr(args, name), now_ms)
    entries: list[Any] = []
    while len(entries) < args.limit:
        page = session.api.get(path_of("audit"), {**query, "limit": str(min(PAGE, args.limit - len(entries)))})
        entries += page["entries"]
        if not page["next_after"]:
            break
        query["after"] = page["next_after"]
    return entries


def format_entry(entry: Any, *, changes: bool) -> list[str]:
    """One line; below it what was refused, and what changed."""
    status = f" {entry['status']}" if entry["status"] is not None else ""
    query = f"?{entry['query']}" if entry["query"] else ""
    what = f"{entry['operation']} {entry['object']}{query}"
    who = f"{entry['actor']} ({entry['token_name']}, {entry['client_address']})"
    head = f"{format_time(entry['at_ms'])}  {entry['result']}{status}  {what}  {who}"
    lines = [head, *([f"    {entry['detail']}"] if entry["detail"] else [])]
    if changes and entry["result"] != "refused":
        lines += [f"    {line}" for line in format_changes(entry)]
    return [clean(line) for line in lines]


def format_changes(entry: Any) -> list[str]:
    """`field: before → after`, and what was written but is never shown."""
    before, after, asked = entry["before"] or {}, entry["after"] or {}, entry["request"] or {}
    names = [name for name in (*after, *before) if after and before.get(name) != after.get(name)]
    lines = [f"{name}: {_short(before.get(name))} → {_short(after.get(name))}" for name in dict.fromkeys(names)]
    return lines + [f"{name}: changed" for name, value in asked.items() if value == "changed" and name not in after]


def _short(value: object) -> str:
    return "–" if value is None else format_json(value)
