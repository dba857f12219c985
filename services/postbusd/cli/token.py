"""`postbus token`: API tokens: for programs and people that use the API, each with scopes and an end."""

import argparse
import time
from typing import Any

from postbusd.cli.api import path_of
from postbusd.cli.common import format_facts, format_table
from postbusd.cli.deleting import add_delete
from postbusd.cli.objects import Noun, Session, Subparsers, list_all, print_json, show
from postbusd.cli.times import format_moment, parse_deadline

PLURAL = "tokens"


def add_parser(subparsers: Subparsers) -> None:
    """Registers the commands."""
    noun = Noun(subparsers, "token", "who may use the API, and for what", __doc__ or "")
    add = noun.verb("add", run_add, "make a token", "Prints it once. It can't do more than the token that asks.")
    add.add_argument("name", help="what it is for")
    add.add_argument(
        "--scope",
        action="append",
        required=True,
        metavar="S",
        help="what it may do: admin, read, domains:read, mailboxes:write …; several times for more",
    )
    add.add_argument("--actor", metavar="A", help="whom it speaks for: admin or a username (default: who asks)")
    add.add_argument("--expires", default="never", metavar="TIME", help="90d, 2w or 2026-03-01T10:00 (default: never)")
    noun.verb("list", run_list, "list the tokens")
    noun.verb("show", run_show, "show a token").add_argument("name", help="the token's name")
    rotate = noun.verb("rotate", run_rotate, "make a new text for a token", "The old one ends at once.")
    rotate.add_argument("name", help="the token's name")
    add_delete(noun, "token", PLURAL, "It ends at once.")


def run_add(session: Session, args: argparse.Namespace) -> int:
    """Makes a token."""
    body: dict[str, object] = {
        "name": args.name,
        "scopes": args.scope,
        "actor": args.actor or "",
        "expires_ms": parse_deadline(args.expires, time.time_ns() // 1_000_000),
    }
    return _tell_text(args, session.api.post(path_of(PLURAL), body))


def run_rotate(session: Session, args: argparse.Namespace) -> int:
    """Makes a new text."""
    return _tell_text(args, session.api.post(path_of(PLURAL, args.name, "rotate")))


def run_list(session: Session, args: argparse.Namespace) -> int:
    """Lists the tokens."""
    tokens = list_all(session.api, path_of(PLURAL), PLURAL)
    rows = [
        [
            each["name"],
            each["actor"],
            " ".join(each["scopes"]),
            format_moment(each["expires_ms"]),
            format_moment(each["last_used_ms"]),
        ]
        for each in tokens
    ]
    return show(args, tokens, format_table(["TOKEN", "ACTOR", "SCOPES", "EXPIRES", "LAST USED"], rows))


def run_show(session: Session, args: argparse.Namespace) -> int:
    """Shows a token."""
    token = session.api.get(path_of(PLURAL, args.name))
    return show(args, token, format_facts(_facts(token)))


def _facts(token: Any) -> list[tuple[str, str]]:
    made = f"{format_moment(token['created_ms'])} by {token['created_by'] or 'the host'}"
    return [
        ("token", token["name"]),
        ("id", token["token_id"]),
        ("actor", token["actor"]),
        ("scopes", " ".join(token["scopes"])),
        ("made", made),
        ("expires", format_moment(token["expires_ms"])),
        ("last used", format_moment(token["last_used_ms"])),
    ]


def _tell_text(args: argparse.Namespace, token: Any) -> int:
    if args.json:
        print_json(token)
        return 0
    print(format_facts([*_facts(token), ("text", token["token"])]))
    print("The text is not shown again.")
    return 0
