"""`postbus me`: whom the API token speaks for; one's own password."""

import argparse
import getpass
import sys
from typing import Any

from postbus.runtime.layout import StartError
from postbusd.cli.api import path_of
from postbusd.cli.common import format_facts
from postbusd.cli.objects import Noun, Session, Subparsers, show
from postbusd.cli.secrets_options import ask_password, read_password_line
from postbusd.cli.times import format_moment


def add_parser(subparsers: Subparsers) -> None:
    """Registers the commands."""
    noun = Noun(subparsers, "me", "whom the token speaks for, the own password", __doc__ or "")
    noun.verb("show", run_show, "show whom the token speaks for")
    change = noun.verb("password", run_password, "change one's own password", "Asks for it on a terminal.")
    change.add_argument(
        "--stdin", action="store_true", help="read the current and the new password from standard input, a line each"
    )


def run_show(session: Session, args: argparse.Namespace) -> int:
    """Shows who one is."""
    me = session.api.get(path_of("me"))
    facts = [
        ("actor", me["actor"]),
        ("role", _role(me)),
        ("mailboxes", ", ".join(me["mailboxes"]) or "–"),
        ("token", me["token_name"]),
        ("scopes", " ".join(me["scopes"])),
        ("expires", format_moment(me["expires_ms"])),
    ]
    return show(args, me, format_facts(facts))


def _role(me: Any) -> str:
    if me["superadmin"]:
        return "superadmin"
    return f"admin of {', '.join(me['admin_of'])}" if me["admin_of"] else "user"


def run_password(session: Session, args: argparse.Namespace) -> int:
    """Changes the own password."""
    if args.stdin:
        current, new = read_password_line(), read_password_line()
    elif sys.stdin.isatty():
        current, new = getpass.getpass("Current password: "), ask_password("the new one")
    else:
        raise StartError("say where the passwords come from: --stdin")
    changed = session.api.put(path_of("me", "password"), {"current_password": current, "new_password": new})
    return show(args, changed, "changed" if changed["changed"] else "it is this one already")
