"""`postbus group`: users who share mailboxes, each with the own password, and an address that reaches all."""

import argparse
from typing import Any

from postbusd.cli.api import path_of
from postbusd.cli.common import format_facts, format_table
from postbusd.cli.deleting import add_delete
from postbusd.cli.members import add_member_options, changed_members
from postbusd.cli.objects import Noun, Session, Subparsers, add_list, find, list_chosen, show

PLURAL = "groups"


def add_parser(subparsers: Subparsers) -> None:
    """Registers the commands."""
    noun = Noun(subparsers, "group", "users who share mailboxes", __doc__ or "")
    add = noun.verb("add", run_add, "add a group", "Of one that is there only what is named changes.")
    change_it = noun.verb("set", run_set, "change a group", "What is not named stays as it is.")
    for verb in (add, change_it):
        verb.add_argument("name", help="the group's name")
        verb.add_argument("--address", metavar="A", help="mail to it reaches every active member; '' for none")
        add_member_options(verb, "USER")
    noun.verb("show", run_show, "show a group").add_argument("name", help="the group's name")
    add_list(noun, run_list, PLURAL, of_domain=False)
    add_delete(noun, "group", PLURAL, "Only one that owns no mailbox; its members stay.")


def run_add(session: Session, args: argparse.Namespace) -> int:
    """Adds a group, or changes it."""
    return _put(session, args, find(session.api, path_of(PLURAL, args.name)))


def run_set(session: Session, args: argparse.Namespace) -> int:
    """Changes a group."""
    return _put(session, args, session.api.get(path_of(PLURAL, args.name)))


def run_show(session: Session, args: argparse.Namespace) -> int:
    """Shows a group."""
    group = session.api.get(path_of(PLURAL, args.name))
    facts = [("group", group["name"]), ("address", group["address"] or "–")]
    return show(args, group, format_facts([*facts, *[("member", name) for name in group["members"]]]))


def run_list(session: Session, args: argparse.Namespace) -> int:
    """Lists the groups."""
    groups = list_chosen(session, args, PLURAL)
    return show(args, groups, format_groups(groups))


def format_groups(groups: list[Any]) -> str:
    """A table."""
    rows = [[group["name"], group["address"] or "–", ", ".join(group["members"]) or "–"] for group in groups]
    return format_table(["GROUP", "ADDRESS", "MEMBERS"], rows)


def _put(session: Session, args: argparse.Namespace, before: Any) -> int:
    known = before or {"members": [], "address": ""}
    body: dict[str, object] = {
        "members": changed_members(args, known["members"]),
        "address": known["address"] if args.address is None else args.address,
    }
    group = session.api.put(path_of(PLURAL, args.name), body)
    return show(args, group, format_groups([group]))
