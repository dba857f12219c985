"""`postbus app-password`: what a user gives to single programs, for some protocols, perhaps for some time."""

import argparse
import time
from typing import Any

from postbusd.cli.api import path_of
from postbusd.cli.common import format_facts, format_table
from postbusd.cli.deleting import print_deletion
from postbusd.cli.objects import Noun, Session, Subparsers, print_json, show
from postbusd.cli.times import format_moment, parse_deadline

SCOPES = ("imap", "smtp", "pop3", "sieve", "api")


def add_parser(subparsers: Subparsers) -> None:
    """Registers the commands."""
    noun = Noun(subparsers, "app-password", "passwords of users for single programs", __doc__ or "")
    add = noun.verb(
        "add",
        run_add,
        "make an app password",
        "Prints it once. It opens what the user's own password opens, by these protocols alone.",
    )
    add.add_argument("user", help="the username")
    add.add_argument("--name", required=True, metavar="TEXT", help="what it is for")
    add.add_argument(
        "--scope", action="append", required=True, choices=SCOPES, help="a protocol; several times for more"
    )
    add.add_argument("--expires", default="never", metavar="TIME", help="90d, 2w or 2026-03-01T10:00 (default: never)")
    noun.verb("list", run_list, "list the app passwords of a user").add_argument("user", help="the username")
    gone = noun.verb("delete", run_delete, "delete an app password", "It ends at once, with its open sessions.")
    gone.add_argument("user", help="the username")
    gone.add_argument("name", help="its name")
    gone.add_argument("--dry-run", action="store_true", help="only say what would be deleted")


def run_add(session: Session, args: argparse.Namespace) -> int:
    """Makes an app password."""
    made = session.api.post(
        path_of("users", args.user, "app-passwords"),
        {
            "name": args.name,
            "scopes": args.scope,
            "expires_ms": parse_deadline(args.expires, time.time_ns() // 1_000_000),
        },
    )
    if args.json:
        print_json(made)
        return 0
    facts = [
        ("app password", made["name"]),
        ("for", " ".join(made["scopes"])),
        ("expires", format_moment(made["expires_ms"])),
        ("password", made["secret"]),
    ]
    print(format_facts(facts))
    print("The password is not shown again.")
    return 0


def run_list(session: Session, args: argparse.Namespace) -> int:
    """Lists the app passwords of a user."""
    found: list[Any] = session.api.get(path_of("users", args.user, "app-passwords"))["app_passwords"]
    rows = [
        [each["name"], " ".join(each["scopes"]), format_moment(each["expires_ms"]), format_moment(each["last_used_ms"])]
        for each in found
    ]
    return show(args, found, format_table(["APP PASSWORD", "FOR", "EXPIRES", "LAST USED"], rows))


def run_delete(session: Session, args: argparse.Namespace) -> int:
    """Deletes an app password."""
    query = {"dry_run": "true"} if args.dry_run else None
    result = session.api.delete(path_of("users", args.user, "app-passwords", args.name), query)
    return print_deletion(args, result)
