"""`postbus alias`: further names of mailboxes; `*` in the local part matches zero or more characters."""

import argparse
from typing import Any

from postbusd.cli.api import path_of
from postbusd.cli.common import format_facts, format_table
from postbusd.cli.deleting import add_delete
from postbusd.cli.objects import Noun, Session, Subparsers, add_list, list_chosen, show

PLURAL = "aliases"


def add_parser(subparsers: Subparsers) -> None:
    """Registers the commands."""
    noun = Noun(subparsers, "alias", "further names of mailboxes", __doc__ or "")
    add = noun.verb("add", run_add, "add an alias, or point it to another mailbox")
    add.add_argument("alias", help="its address; quote a wildcard: 'info*@demo.example'")
    add.add_argument("mailbox", help="a mailbox of ours; for other hosts' addresses: postbus list add")
    noun.verb("show", run_show, "show an alias").add_argument("alias", help="its address")
    add_list(noun, run_list, PLURAL, of_domain=True)
    add_delete(noun, "alias", PLURAL, "The mailbox stays.")


def run_add(session: Session, args: argparse.Namespace) -> int:
    """Adds an alias, or changes it."""
    alias = session.api.put(path_of(PLURAL, args.alias), {"mailbox": args.mailbox})
    return show(args, alias, format_aliases([alias]))


def run_show(session: Session, args: argparse.Namespace) -> int:
    """Shows an alias."""
    alias = session.api.get(path_of(PLURAL, args.alias))
    return show(args, alias, format_facts([("alias", alias["address"]), ("mailbox", alias["mailbox"])]))


def run_list(session: Session, args: argparse.Namespace) -> int:
    """Lists the aliases."""
    aliases = list_chosen(session, args, PLURAL)
    return show(args, aliases, format_aliases(aliases))


def format_aliases(aliases: list[Any]) -> str:
    """A table."""
    return format_table(["ALIAS", "MAILBOX"], [[alias["address"], alias["mailbox"]] for alias in aliases])
