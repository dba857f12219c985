"""`postbus export`: all mailboxes as CSV or JSON for `import`, or the whole site as YAML for `apply`."""

import argparse
import sys
from pathlib import Path

from postbus.runtime.layout import StartError
from postbusd.cli.api import path_of
from postbusd.cli.apply import fetch_fields, load_site
from postbusd.cli.common import add_data_dir
from postbusd.cli.import_ import MEDIA_TYPES, STDIN
from postbusd.cli.objects import Session, Subparsers, UsageError, run_action
from postbusd.cli.site_document import POLICY, SECTIONS, write_document


def add_parser(subparsers: Subparsers) -> None:
    """Registers the command."""
    parser = subparsers.add_parser("export", help="all mailboxes to a file", description=__doc__)
    parser.add_argument("file", nargs="?", default=STDIN, help="default: standard output")
    parser.add_argument("--format", choices=sorted(MEDIA_TYPES), help="default: as the file is called, else csv")
    parser.add_argument("--domain", metavar="D", help="only those of this domain")
    parser.add_argument(
        "--all",
        action="store_true",
        help="the whole site as YAML: every object and the policy, without secrets",
    )
    add_data_dir(parser)
    parser.set_defaults(handler=lambda args: run_action("export", run_export, args))


def run_export(session: Session, args: argparse.Namespace) -> int:
    """Writes the table, or the document."""
    if args.all:
        if args.format or args.domain:
            raise UsageError("--all writes the whole site as YAML: neither --format nor --domain")
        site = load_site(session.api, (*SECTIONS, POLICY), fetch_fields(session.api))
        write_octets(args.file, write_document(site).encode())
        return 0
    form = args.format or ("json" if args.file.lower().endswith(".json") else "csv")
    octets = session.api.get_octets(
        path_of("mailboxes", "export"), {"format": form, **({"domain": args.domain} if args.domain else {})}
    )
    write_octets(args.file, octets)
    return 0


def write_octets(name: str, octets: bytes) -> None:
    """To a file, or to standard output. Raises StartError."""
    if name == STDIN:
        sys.stdout.buffer.write(octets)
        sys.stdout.buffer.flush()
        return
    try:
        Path(name).write_bytes(octets)
    except OSError as error:
        raise StartError(f"{name}: {error.strerror or error}") from error
