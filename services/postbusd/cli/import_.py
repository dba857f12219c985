"""`postbus import`: mailboxes with their owners and aliases, from a CSV or JSON file."""

import argparse
import sys
from pathlib import Path
from typing import Any

from postbus.runtime.layout import StartError
from postbusd.cli.api import path_of
from postbusd.cli.common import add_data_dir, clean, format_table
from postbusd.cli.objects import Session, Subparsers, print_json, run_action

MEDIA_TYPES = {"csv": "text/csv", "json": "application/json"}
IMPORT_SECONDS = 180.0
STDIN = "-"


def add_parser(subparsers: Subparsers) -> None:
    """Registers the command."""
    parser = subparsers.add_parser(
        "import",
        help="many mailboxes from a file",
        description="Brings each mailbox to what its row says: owner, aliases (exactly these), active. CSV has the "
        "columns name, domain, owner, owner type and perhaps aliases and active. Repeating it changes nothing more.",
    )
    parser.add_argument("file", help="a .csv or .json file; -: standard input")
    parser.add_argument("--format", choices=sorted(MEDIA_TYPES), help="default: as the file is called, else csv")
    parser.add_argument("--atomic", action="store_true", help="write nothing when any row is refused")
    parser.add_argument("--plan", action="store_true", help="only say what would be done")
    add_data_dir(parser)
    parser.add_argument("--json", action="store_true", help="as JSON")
    parser.set_defaults(handler=lambda args: run_action("import", run_import, args, IMPORT_SECONDS))


def run_import(session: Session, args: argparse.Namespace) -> int:
    """Exit code 1 when a row was refused."""
    form = args.format or (args.file.rpartition(".")[2].lower() if args.file != STDIN else "")
    query = "&".join(f"{name}=true" for name in ("atomic", "plan") if getattr(args, name))
    path = path_of("mailboxes", "import") + (f"?{query}" if query else "")
    report = session.api.post_octets(path, MEDIA_TYPES.get(form, MEDIA_TYPES["csv"]), read_octets(args.file))
    if args.json:
        print_json(report)
    else:
        print(format_report(report, plan=args.plan))
    return 1 if report["refused"] else 0


def read_octets(name: str) -> bytes:
    """Of a file, or of standard input. Raises StartError."""
    try:
        return sys.stdin.buffer.read() if name == STDIN else Path(name).read_bytes()
    except OSError as error:
        raise StartError(f"{name}: {error.strerror or error}") from error


def format_report(report: Any, *, plan: bool = False) -> str:
    """What was refused, and the sums."""
    refused = [each for each in report["rows"] if each["action"] == "refused"]
    rows = [[str(each["number"]), clean(each["address"]), clean(each["detail"])] for each in refused]
    table = f"{format_table(['ROW', 'ADDRESS', 'REFUSED'], rows)}\n" if refused else ""
    counts = ", ".join(f"{report[name]} {name}" for name in ("created", "changed", "unchanged", "refused"))
    if report["written"]:
        return f"{table}{counts}"
    return f"{table}Nothing was written. It would be: {counts}" if plan else f"{table}Nothing was written: {counts}"
