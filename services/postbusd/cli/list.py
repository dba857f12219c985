"""`postbus list`: addresses that many receive; members are addresses of ours or of others, and groups."""

import argparse
from typing import Any

from postbusd.cli.api import path_of
from postbusd.cli.common import format_facts, format_table
from postbusd.cli.deleting import add_delete
from postbusd.cli.members import add_member_options, changed_members
from postbusd.cli.objects import Noun, Session, Subparsers, add_list, find, list_chosen, show

PLURAL = "lists"
NEW = {"members": [], "active": True, "members_only": False, "groups": []}


def add_parser(subparsers: Subparsers) -> None:
    """Registers the commands."""
    noun = Noun(subparsers, "list", "addresses that many receive", __doc__ or "")
    add = noun.verb("add", run_add, "add a list", "Of one that is there only what is named changes.")
    change_it = noun.verb("set", run_set, "change a list", "What is not named stays as it is.")
    for verb in (add, change_it):
        verb.add_argument("address", help="its address")
        add_member_options(verb, "ADDRESS")
        add_member_options(verb, "NAME", "group")
        who = verb.add_mutually_exclusive_group()
        who.add_argument("--members-only", action="store_true", default=None, help="only members may post")
        who.add_argument("--anybody", action="store_false", dest="members_only", default=None, help="everybody may")
        verb.add_argument("--active", choices=("on", "off"), help="off: mail to it is refused")
    noun.verb("show", run_show, "show a list").add_argument("address", help="its address")
    add_list(noun, run_list, PLURAL, of_domain=True)
    add_delete(noun, "list", PLURAL, "Its members stay.")


def run_add(session: Session, args: argparse.Namespace) -> int:
    """Adds a list, or changes it."""
    return _put(session, args, find(session.api, path_of(PLURAL, args.address)) or NEW)


def run_set(session: Session, args: argparse.Namespace) -> int:
    """Changes a list."""
    return _put(session, args, session.api.get(path_of(PLURAL, args.address)))


def run_show(session: Session, args: argparse.Namespace) -> int:
    """Shows a list."""
    found = session.api.get(path_of(PLURAL, args.address))
    facts = [("list", found["address"]), ("state", _state(found)), ("posts", _posts(found))]
    facts += [("group", name) for name in found["groups"]]
    return show(args, found, format_facts([*facts, *[("member", address) for address in found["members"]]]))


def run_list(session: Session, args: argparse.Namespace) -> int:
    """Lists the lists."""
    lists = list_chosen(session, args, PLURAL)
    return show(args, lists, format_lists(lists))


def format_lists(lists: list[Any]) -> str:
    """A table."""
    rows = [
        [each["address"], _state(each), _posts(each), str(len(each["members"])), " ".join(each["groups"]) or "–"]
        for each in lists
    ]
    return format_table(["LIST", "STATE", "MAY POST", "MEMBERS", "GROUPS"], rows, right=frozenset({3}))


def _put(session: Session, args: argparse.Namespace, before: Any) -> int:
    body: dict[str, object] = {
        "members": changed_members(args, before["members"]),
        "active": before["active"] if args.active is None else args.active == "on",
        "groups": changed_members(args, before["groups"], "group"),
        "members_only": before["members_only"] if args.members_only is None else args.members_only,
    }
    found = session.api.put(path_of(PLURAL, args.address), body)
    return show(args, found, format_lists([found]))


def _state(found: Any) -> str:
    return "active" if found["active"] else "inactive"


def _posts(found: Any) -> str:
    return "members" if found["members_only"] else "anybody"
