"""`postbus user`: people who log in. A mailbox made with a password brings a user of its own."""

import argparse
from typing import Any

from postbusd.cli.api import path_of
from postbusd.cli.common import format_facts, format_table
from postbusd.cli.deleting import add_delete
from postbusd.cli.objects import Noun, Session, Subparsers, add_list, change, list_chosen, print_json, show
from postbusd.cli.secrets_options import add_password_options, make_password, password_changes

PLURAL = "users"


def add_parser(subparsers: Subparsers) -> None:
    """Registers the commands."""
    noun = Noun(subparsers, "user", "people who log in", __doc__ or "")
    add = noun.verb(
        "add", run_add, "add a user", "Without a password the user can't log in. One that is there is changed."
    )
    change_it = noun.verb("set", run_set, "change a user", "What is not named stays as it is.")
    for verb in (add, change_it):
        verb.add_argument("name", help="the username; the login is a mailbox's address, with this user's password")
        verb.add_argument("--display-name", metavar="TEXT", help="as people know them")
        verb.add_argument("--active", choices=("on", "off"), help="off: opens no mailbox")
        verb.add_argument("--superadmin", choices=("on", "off"), help="on: administers everything")
        verb.add_argument(
            "--admin-of", metavar="D[,D]", help="the domains whose objects this user administers; '' for none"
        )
        verb.add_argument(
            "--recovery-address", metavar="ADDRESS", help="where a forgotten password is reset; '' for nowhere"
        )
        add_password_options(verb)
    noun.verb("show", run_show, "show a user").add_argument("name", help="the username")
    add_list(noun, run_list, PLURAL, of_domain=False)
    second = noun.verb(
        "end-second-factor",
        run_end_second_factor,
        "end a user's second factor",
        "For who has lost the app and the recovery codes.",
    )
    second.add_argument("name", help="the username")
    second.add_argument("--dry-run", action="store_true", help="only say what would be ended")
    add_delete(noun, "user", PLURAL, "Only one who owns no mailbox; memberships of groups end.")


def run_add(session: Session, args: argparse.Namespace) -> int:
    """Adds a user."""
    changes, generated = _changes(args)
    return _tell(args, change(session.api, path_of(PLURAL, args.name), changes), generated)


def run_set(session: Session, args: argparse.Namespace) -> int:
    """Changes a user."""
    changes, generated = _changes(args)
    return _tell(args, session.api.patch(path_of(PLURAL, args.name), changes), generated)


def run_show(session: Session, args: argparse.Namespace) -> int:
    """Shows a user."""
    user = session.api.get(path_of(PLURAL, args.name))
    facts = [
        ("user", user["username"]),
        ("name", user["display_name"] or "–"),
        ("state", _state(user)),
        ("role", _role(user)),
        ("recovery", user["recovery_address"] or "–"),
    ]
    return show(args, user, format_facts(facts))


def run_list(session: Session, args: argparse.Namespace) -> int:
    """Lists the users."""
    users = list_chosen(session, args, PLURAL)
    return show(args, users, format_users(users))


def run_end_second_factor(session: Session, args: argparse.Namespace) -> int:
    """Ends it."""
    query = {"dry_run": "true"} if args.dry_run else None
    ended = session.api.delete(path_of(PLURAL, args.name, "second-factor"), query)
    return show(args, ended, f"{'would end' if args.dry_run else 'ended'}: {', '.join(ended['deleted'])}")


def format_users(users: list[Any]) -> str:
    """A table."""
    rows = [[user["username"], user["display_name"] or "–", _state(user), _role(user)] for user in users]
    return format_table(["USER", "NAME", "STATE", "ROLE"], rows)


def _changes(args: argparse.Namespace) -> tuple[dict[str, object], str]:
    """The fields that the options name, and the password that was made up."""
    generated = make_password() if args.generate else ""
    changes = password_changes(args, generated)
    if args.display_name is not None:
        changes["display_name"] = args.display_name
    if args.active is not None:
        changes["active"] = args.active == "on"
    if args.superadmin is not None:
        changes["superadmin"] = args.superadmin == "on"
    if args.admin_of is not None:
        changes["admin_of"] = [name.strip() for name in args.admin_of.split(",") if name.strip()]
    if args.recovery_address is not None:
        changes["recovery_address"] = args.recovery_address
    return changes, generated


def _tell(args: argparse.Namespace, user: Any, generated: str) -> int:
    if args.json:
        print_json({**user, "password": generated} if generated else user)
        return 0
    print(format_users([user]))
    if generated:
        print(f"password: {generated}")
    return 0


def _state(user: Any) -> str:
    return "active" if user["active"] else "inactive"


def _role(user: Any) -> str:
    if user["superadmin"]:
        return "superadmin"
    return f"admin of {', '.join(user['admin_of'])}" if user["admin_of"] else "user"
