"""`postbus domain dns`: the records that a domain needs, beside what DNS says."""

import argparse
import sys
from typing import Any

from postbusd.cli.api import path_of
from postbusd.cli.common import clean, clean_lines
from postbusd.cli.objects import Session, UsageError, print_json

NOT_ALL = 3
MARKS = {"ok": "ok", "missing": "MISSING", "differs": "DIFFERS", "unknown": "no answer"}


def run_dns(session: Session, args: argparse.Namespace) -> int:
    """Prints the plan; with --check 3 unless all is well."""
    if args.zone:
        if args.json:
            raise UsageError("--zone is no JSON")
        sys.stdout.write(clean_lines(session.api.get_text(path_of("domains", args.name, "dns", "zone"))))
        return 0
    plan = session.api.get(path_of("domains", args.name, "dns"), {"compare": "true"} if args.check else None)
    if args.json:
        print_json(plan)
    else:
        print(format_plan(plan, checked=args.check))
    return NOT_ALL if args.check and any(record["state"] != "ok" for record in plan["records"]) else 0


def format_plan(plan: Any, *, checked: bool = False) -> str:
    """A block for each record set: name, type, values, what it is for, and what is wrong."""
    return "\n\n".join(_format_record(record, checked) for record in plan["records"])


def _format_record(record: Any, checked: bool) -> str:
    mark = f"  {MARKS.get(record['state'], record['state'])}" if checked else ""
    lines = [f"{record['name']}  {record['type']}{mark}"]
    lines += [f"    {value}" for value in record["values"]]
    lines.append(f"    # {record['purpose']}")
    if checked and record["state"] == "differs":
        lines += [f"    DNS says: {value}" for value in record["live"]]
    if record["advice"]:
        lines.append(f"    -> {record['advice']}")
    return "\n".join(map(clean, lines))
