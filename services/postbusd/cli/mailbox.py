"""`postbus mailbox`: accounts that store mail.

Several are made in one call: `postbus mailbox add 'u{1..50}@bench.example' --password secret`.
"""

import argparse
from typing import Any

from postbusd.cli.api import path_of
from postbusd.cli.common import DEFAULT_LIMIT, format_amount, format_facts, format_table, on_off, parse_limit
from postbusd.cli.deleting import add_delete
from postbusd.cli.mailbox_add import parse_owner, run_add
from postbusd.cli.mailbox_life import add_life_verbs
from postbusd.cli.objects import Noun, Session, Subparsers, add_list, list_chosen, print_json, show
from postbusd.cli.secrets_options import add_password_options, make_password, password_changes

PLURAL = "mailboxes"
QUOTA_HELP = "limit: 500M, 5G, octets, unlimited, or default (of the domain)"


def add_parser(subparsers: Subparsers) -> None:
    """Registers the commands."""
    noun = Noun(subparsers, "mailbox", "accounts that store mail", __doc__ or "")
    add = noun.verb(
        "add",
        run_add,
        "add mailboxes",
        "Each gets a user of its own, named by its address, unless --owner names one. Of a mailbox that is there only "
        "what is named changes. What fails is told and the rest is made; exit code 1 then.",
    )
    add.add_argument("addresses", nargs="+", metavar="ADDRESS", help="addresses; u{1..50}@D and {a,b}@D are expanded")
    add_password_options(add, each=" for each")
    change_it = noun.verb("set", run_set, "change a mailbox", "What is not named stays as it is.")
    change_it.add_argument("address", help="its address")
    change_it.add_argument("--active", choices=("on", "off"), help="off: no login, mail to it is refused")
    change_it.add_argument("--pop3", choices=("on", "off"), help="whether it may be read by POP3")
    change_it.add_argument(
        "--send-as", metavar="A[,B]", help="addresses of ours that it may send as, besides its own; '' for none"
    )
    add_password_options(change_it)
    for verb in (add, change_it):
        verb.add_argument("--owner", type=parse_owner, metavar="KIND:NAME", help="user:NAME, group:NAME or app:NAME")
        verb.add_argument("--quota", type=parse_limit, metavar="AMOUNT", help=QUOTA_HELP)
    noun.verb("show", run_show, "show a mailbox").add_argument("address", help="its address")
    add_list(noun, run_list, PLURAL, of_domain=True)
    add_life_verbs(noun)
    add_delete(
        noun,
        "mailbox",
        PLURAL,
        "Its aliases end with it; its mail is archived: `mailbox archived`, `mailbox restore`.",
        flag=("purge", {"content": "purge"}, "its mail goes for good"),
    )


def run_set(session: Session, args: argparse.Namespace) -> int:
    """Changes a mailbox."""
    generated = make_password() if args.generate else ""
    changes = password_changes(args, generated)
    if args.active is not None:
        changes["active"] = args.active == "on"
    if args.quota is not None:
        changes["quota_octets"] = None if args.quota == DEFAULT_LIMIT else args.quota
    if args.pop3 is not None:
        changes["pop3"] = args.pop3 == "on"
    if args.send_as is not None:
        changes["send_as"] = [address.strip() for address in args.send_as.split(",") if address.strip()]
    if args.owner is not None:
        changes["owner"] = args.owner
    mailbox = session.api.patch(path_of(PLURAL, args.address), changes)
    if args.json:
        print_json({**mailbox, "password": generated} if generated else mailbox)
        return 0
    print(format_mailboxes([mailbox]))
    if generated:
        print(f"password: {generated}")
    return 0


def run_show(session: Session, args: argparse.Namespace) -> int:
    """Shows a mailbox."""
    mailbox = session.api.get(path_of(PLURAL, args.address))
    facts = [
        ("mailbox", mailbox["address"]),
        ("owner", format_owner(mailbox)),
        ("state", _state(mailbox)),
        ("used", format_amount(mailbox["used_octets"])),
        ("quota", format_quota(mailbox)),
        ("POP3", on_off(mailbox["pop3"])),
        *([("sends as", ", ".join(mailbox["send_as"]))] if mailbox["send_as"] else []),
        ("id", mailbox["mailbox_id"]),
    ]
    return show(args, mailbox, format_facts(facts))


def run_list(session: Session, args: argparse.Namespace) -> int:
    """Lists mailboxes."""
    mailboxes = list_chosen(session, args, PLURAL)
    return show(args, mailboxes, format_mailboxes(mailboxes))


def format_mailboxes(mailboxes: list[Any]) -> str:
    """A table."""
    rows = [
        [
            mailbox["address"],
            _state(mailbox),
            format_owner(mailbox),
            format_amount(mailbox["used_octets"]),
            format_amount(mailbox["effective_quota_octets"]),
        ]
        for mailbox in mailboxes
    ]
    return format_table(["MAILBOX", "STATE", "OWNER", "USED", "QUOTA"], rows, right=frozenset({3, 4}))


def format_quota(mailbox: Any) -> str:
    """What holds, and where it comes from."""
    quota = format_amount(mailbox["effective_quota_octets"])
    return quota if mailbox["quota_octets"] is not None else f"{quota} (of the domain)"


def format_owner(mailbox: Any) -> str:
    """`user:kim`; a dash for a user named by the mailbox's address."""
    owner = mailbox["owner"]
    if owner is None or (owner["kind"], owner["name"]) == ("user", mailbox["address"]):
        return "–"
    return f"{owner['kind']}:{owner['name']}"


def _state(mailbox: Any) -> str:
    return "active" if mailbox["active"] else "inactive"
