"""`postbus mailbox rename|usage|archived|restore|purge`."""

import argparse
from typing import Any

from postbus.runtime.layout import StartError
from postbusd.cli.api import ApiClient, path_of
from postbusd.cli.common import format_amount, format_table
from postbusd.cli.deleting import add_yes, ask, is_asked, print_deletion
from postbusd.cli.mailbox_add import parse_owner
from postbusd.cli.objects import Noun, Session, list_all, show
from postbusd.cli.times import format_moment

ARCHIVED = "archived-mailboxes"
WHICH_HELP = "the address that it had, or its id"


def add_life_verbs(noun: Noun) -> None:
    """Registers the verbs."""
    rename = noun.verb(
        "rename",
        run_rename,
        "give a mailbox another address",
        "Mail, folders, aliases and owner stay; one logs in with the new address.",
    )
    rename.add_argument("address", help="its address")
    rename.add_argument("new", help="the new one")
    rename.add_argument("--keep-alias", action="store_true", help="the old address becomes an alias")
    noun.verb("usage", run_usage, "what a mailbox holds, by folder").add_argument("address", help="its address")
    listed = noun.verb("archived", run_archived, "list deleted mailboxes whose mail is still there")
    listed.add_argument("--domain", default="", metavar="D", help="only those of this domain")
    restore = noun.verb(
        "restore",
        run_restore,
        "bring a deleted mailbox back",
        "Mail, folders and UIDs are as they were.",
    )
    restore.add_argument("which", help=WHICH_HELP)
    restore.add_argument("--address", default="", metavar="A", help="another address")
    restore.add_argument("--owner", type=parse_owner, metavar="KIND:NAME", help="another owner")
    purge = noun.verb("purge", run_purge, "take away the mail of a deleted mailbox", "For good.")
    purge.add_argument("which", help=WHICH_HELP)
    purge.add_argument("--dry-run", action="store_true", help="only say what would go")
    add_yes(purge)


def run_rename(session: Session, args: argparse.Namespace) -> int:
    """Renames a mailbox."""
    mailbox = session.api.post(
        path_of("mailboxes", args.address, "rename"), {"address": args.new, "keep_alias": args.keep_alias}
    )
    kept = f"; {args.address} is an alias of it" if args.keep_alias else ""
    return show(args, mailbox, f"{args.address} is {mailbox['address']} now{kept}")


def run_usage(session: Session, args: argparse.Namespace) -> int:
    """Shows what a mailbox holds."""
    usage = session.api.get(path_of("mailboxes", args.address, "usage"))
    rows = [
        [each["name"], str(each["messages"]), str(each["unseen"]), format_amount(each["octets"])]
        for each in usage["folders"]
    ]
    rows.append(["together", str(usage["messages"]), "", format_amount(usage["octets"])])
    table = format_table(["FOLDER", "MESSAGES", "UNSEEN", "OCTETS"], rows, right=frozenset({1, 2, 3}))
    return show(args, usage, f"{table}\nquota: {format_amount(usage['quota_octets'])}")


def run_archived(session: Session, args: argparse.Namespace) -> int:
    """Lists archived mailboxes."""
    query = {"domain": args.domain} if args.domain else None
    found = list_all(session.api, path_of(ARCHIVED), "archived_mailboxes", query)
    rows = [
        [
            each["address"],
            format_moment(each["deleted_ms"]),
            "purging now" if each["purging"] else format_moment(each["purge_ms"]),
            str(each["messages"]),
            format_amount(each["octets"]),
            each["mailbox_id"],
        ]
        for each in found
    ]
    head = ["MAILBOX", "DELETED", "PURGED", "MESSAGES", "OCTETS", "ID"]
    return show(args, found, format_table(head, rows, right=frozenset({3, 4})))


def run_restore(session: Session, args: argparse.Namespace) -> int:
    """Restores a mailbox."""
    mailbox_id = _find_id(session.api, args.which)
    mailbox = session.api.post(path_of(ARCHIVED, mailbox_id, "restore"), {"address": args.address, "owner": args.owner})
    return show(args, mailbox, f"{mailbox['address']} is back with {format_amount(mailbox['used_octets'])} of mail")


def run_purge(session: Session, args: argparse.Namespace) -> int:
    """Purges a deleted mailbox; asks on a terminal."""
    path = path_of(ARCHIVED, _find_id(session.api, args.which))
    planned = session.api.delete(path, {"dry_run": "true"})
    if args.dry_run:
        return print_deletion(args, planned)
    if is_asked(args) and not ask(f"{planned['deleted'][0]}. Delete this?"):
        return 1
    return print_deletion(args, session.api.delete(path))


def _find_id(api: ApiClient, which: str) -> str:
    """Raises StartError."""
    if "@" not in which:
        return which
    found: list[Any] = list_all(api, path_of(ARCHIVED), "archived_mailboxes", {"address": which})
    if len(found) != 1:
        if not found:
            raise StartError(f"no archived mailbox {which}")
        ids = ", ".join(each["mailbox_id"] for each in found)
        raise StartError(f"{len(found)} archived mailboxes were {which}: say which by id: {ids}")
    return str(found[0]["mailbox_id"])
