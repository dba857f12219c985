"""`postbus app`: programs that send mail, each with a mailbox and one credential of its own."""

import argparse
from typing import Any

from postbus.runtime.layout import StartError
from postbus.runtime.supervisor_connection import Connection
from postbusd.cli.api import path_of
from postbusd.cli.common import format_facts, format_table
from postbusd.cli.deleting import add_delete
from postbusd.cli.objects import Noun, Session, Subparsers, add_list, find, list_chosen, print_json, show

PLURAL = "apps"


def add_parser(subparsers: Subparsers) -> None:
    """Registers the commands."""
    noun = Noun(subparsers, "app", "programs that send mail", __doc__ or "")
    add = noun.verb("add", run_add, "add an app", "Prints its credential once, with what its program needs to log in.")
    add.add_argument("name", help="the app's name")
    add.add_argument("--domain", required=True, metavar="D", help="the domain that it sends from")
    add.add_argument("--address", metavar="A", help="of its mailbox (default: NAME.app@DOMAIN)")
    change_it = noun.verb("set", run_set, "change an app", "What is not named stays as it is.")
    change_it.add_argument("name", help="the app's name")
    change_it.add_argument("--address", metavar="A", help="of its mailbox")
    change_it.add_argument("--active", choices=("on", "off"), help="off: no login")
    rotate = noun.verb("rotate", run_rotate, "make a new credential", "The old one ends at once.")
    rotate.add_argument("name", help="the app's name")
    noun.verb("show", run_show, "show an app").add_argument("name", help="the app's name")
    add_list(noun, run_list, PLURAL, of_domain=True)
    add_delete(noun, "app", PLURAL, "Its mailbox and credential end with it.")


def run_add(session: Session, args: argparse.Namespace) -> int:
    """Adds an app."""
    path = path_of(PLURAL, args.name)
    if find(session.api, path) is not None:
        raise StartError(f"there is {args.name} already; a new credential: postbus app rotate {args.name}")
    body: dict[str, object] = {"domain": args.domain, **({"address": args.address} if args.address else {})}
    return _tell_credential(session, args, session.api.put(path, body))


def run_set(session: Session, args: argparse.Namespace) -> int:
    """Changes an app."""
    path = path_of(PLURAL, args.name)
    before = session.api.get(path)
    body: dict[str, object] = {"active": before["active"] if args.active is None else args.active == "on"}
    app = session.api.put(path, {**body, **({"address": args.address} if args.address else {})})
    return show(args, app, format_apps([app]))


def run_rotate(session: Session, args: argparse.Namespace) -> int:
    """Makes a new credential."""
    return _tell_credential(session, args, session.api.post(path_of(PLURAL, args.name, "credential")))


def run_show(session: Session, args: argparse.Namespace) -> int:
    """Shows an app and how it logs in."""
    app = session.api.get(path_of(PLURAL, args.name))
    facts = [("app", app["name"]), ("state", _state(app)), *login_facts(app, session.connection)]
    return show(args, app, format_facts(facts))


def run_list(session: Session, args: argparse.Namespace) -> int:
    """Lists the apps."""
    apps = list_chosen(session, args, PLURAL)
    return show(args, apps, format_apps(apps))


def format_apps(apps: list[Any]) -> str:
    """A table."""
    return format_table(["APP", "ADDRESS", "STATE"], [[app["name"], app["address"], _state(app)] for app in apps])


def login_facts(app: Any, connection: Connection) -> list[tuple[str, str]]:
    """What a program needs beside the password."""
    everywhere = "localhost, or from elsewhere this machine's name"
    hosts = {"0.0.0.0": everywhere, "::": everywhere, "127.0.0.1": "localhost"}  # noqa: S104 (compared, not bound)
    ports = [
        f"{connection.ports[name]} ({how})"
        for name, how in (("submissions", "TLS"), ("submission", "STARTTLS"))
        if connection.ports.get(name) is not None
    ]
    return [
        ("SMTP host", hosts.get(connection.host, connection.host)),
        ("port", " or ".join(ports) or "submission is off"),
        ("trust", connection.tls.ca_file or "the certificate that `postbus ca` prints"),
        ("username", app["address"]),
    ]


def _tell_credential(session: Session, args: argparse.Namespace, app: Any) -> int:
    if args.json:
        print_json(app)
        return 0
    print(format_facts([("app", app["name"]), *login_facts(app, session.connection), ("password", app["credential"])]))
    print("The password is not shown again.")
    return 0


def _state(app: Any) -> str:
    return "active" if app["active"] else "inactive"
