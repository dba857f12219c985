"""`postbus mailbox add|list`: mailboxes, by the API of a running installation."""

import argparse
import getpass
import secrets
import sys
from typing import Any

from postbus.runtime.layout import StartError
from postbusd.cli.common import add_data_dir, fail, format_table
from postbusd.cli.objects import list_all, print_json, running_api

PASSWORD_OCTETS = 12


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Registers the commands."""
    parser = subparsers.add_parser("mailbox", help="mailboxes: add, list", description=__doc__)
    verbs = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    add = verbs.add_parser("add", help="add a mailbox, or change it")
    add.add_argument("address", help="the mailbox's address")
    add.add_argument("--password-stdin", action="store_true", help="read the password from standard input")
    add.add_argument("--generate", action="store_true", help="make up a password and print it")
    add.add_argument("--quota", type=int, metavar="OCTETS", help="limit of what it stores")
    add.set_defaults(handler=run_add)
    show = verbs.add_parser("list", help="list the mailboxes")
    show.add_argument("--domain", default="", help="only those of this domain")
    show.set_defaults(handler=run_list)
    for verb in (add, show):
        add_data_dir(verb)
        verb.add_argument("--json", action="store_true", help="as JSON")


def run_add(args: argparse.Namespace) -> int:
    """Adds or changes a mailbox; asks for the password unless told where it comes from."""
    try:
        api = running_api(args)
        generated = secrets.token_urlsafe(PASSWORD_OCTETS) if args.generate else ""
        password = generated or _read_password(args)
        body: dict[str, object] = {"password": password}
        if args.quota is not None:
            body["quota_octets"] = args.quota
        mailbox = api.put(f"/api/v1/mailboxes/{args.address}", body)
    except StartError as error:
        return fail("mailbox add", error)
    if args.json:
        print_json({**mailbox, "password": generated} if generated else mailbox)
        return 0
    print(_format_mailboxes([mailbox]))
    if generated:
        print(f"password: {generated}")
    return 0


def run_list(args: argparse.Namespace) -> int:
    """Lists mailboxes."""
    try:
        query = {"domain": args.domain} if args.domain else {}
        mailboxes = list_all(running_api(args), "/api/v1/mailboxes", "mailboxes", query)
    except StartError as error:
        return fail("mailbox list", error)
    if args.json:
        print_json(mailboxes)
    else:
        print(_format_mailboxes(mailboxes))
    return 0


def _read_password(args: argparse.Namespace) -> str:
    """The password, from standard input or asked for twice. Raises StartError."""
    if args.password_stdin:
        return sys.stdin.readline().rstrip("\r\n")
    if not sys.stdin.isatty():
        raise StartError("say where the password comes from: --password-stdin or --generate")
    password = getpass.getpass(f"Password for {args.address}: ")
    if password != getpass.getpass("Once more: "):
        raise StartError("the passwords differ")
    return password


def _format_mailboxes(mailboxes: list[Any]) -> str:
    rows = []
    for mailbox in mailboxes:
        quota = mailbox.get("quota_octets")
        state = "active" if mailbox.get("active", True) else "inactive"
        rows.append([str(mailbox["address"]), state, "unlimited" if quota is None else str(quota)])
    return format_table(["MAILBOX", "STATE", "QUOTA"], rows)
