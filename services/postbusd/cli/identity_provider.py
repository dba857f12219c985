"""`postbus identity-provider`: an OpenID Connect provider by which users sign in, and mail programs get tokens."""

import argparse
from typing import Any

from postbusd.cli.api import path_of
from postbusd.cli.common import format_facts
from postbusd.cli.objects import Noun, Session, Subparsers, UsageError, find, show
from postbusd.cli.secrets_options import read_password_line

PATH = path_of("identity-provider")
_KEPT = ("issuer", "client_id", "username_claim", "scopes", "redirect_uris", "audiences")
_OPTIONS = (
    ("issuer", "URL", "its URL, as https://id.example.org/realms/staff"),
    ("client_id", "ID", "of this installation, as the provider has registered it"),
    ("username_claim", "CLAIM", "the claim that has the username (default: preferred_username)"),
)
_LISTS = (
    ("redirect_uris", "redirect-uri", "URL", "where it may send people back to; several times for more"),
    ("audiences", "audience", "NAME", "whom tokens of mail programs may be for; several times for more"),
    ("scopes", "scope", "SCOPE", "asked for at a sign-in; several times for more (default: openid profile)"),
)


def add_parser(subparsers: Subparsers) -> None:
    """Registers the commands."""
    noun = Noun(subparsers, "identity-provider", "sign-ins by an OpenID Connect provider", __doc__ or "")
    noun.verb("show", run_show, "show the provider")
    put = noun.verb("set", run_set, "set the provider", "What is not named stays as it is.")
    for name, metavar, help_text in _OPTIONS:
        put.add_argument(f"--{name.replace('_', '-')}", dest=name, metavar=metavar, help=help_text)
    for name, option, metavar, help_text in _LISTS:
        put.add_argument(f"--{option}", dest=name, action="append", metavar=metavar, help=help_text)
    put.add_argument("--client-secret-stdin", action="store_true", help="read the client secret from standard input")
    delete = noun.verb("delete", run_delete, "remove the provider", "Sessions that it began end.")
    delete.add_argument("--dry-run", action="store_true", help="only say what would be removed")


def run_show(session: Session, args: argparse.Namespace) -> int:
    """Shows it."""
    found = session.api.get(PATH)
    return show(args, found, format_provider(found))


def run_set(session: Session, args: argparse.Namespace) -> int:
    """Sets it."""
    now = find(session.api, PATH) or {}
    body: dict[str, object] = {name: now[name] for name in _KEPT if name in now}
    given = {name: getattr(args, name) for name in _KEPT if getattr(args, name) is not None}
    if not given and not args.client_secret_stdin:
        raise UsageError("say what is to change")
    body.update(given)
    for name in ("issuer", "client_id"):
        if name not in body:
            raise UsageError(f"say --{name.replace('_', '-')}: there is no provider yet")
    if args.client_secret_stdin:
        body["client_secret"] = read_password_line()
    found = session.api.put(PATH, body)
    return show(args, found, format_provider(found))


def run_delete(session: Session, args: argparse.Namespace) -> int:
    """Removes it."""
    gone = session.api.delete(PATH, {"dry_run": "true"} if args.dry_run else None)
    return show(args, gone, f"{'would remove' if args.dry_run else 'removed'}: {', '.join(gone['deleted'])}")


def format_provider(found: Any) -> str:
    """For people."""
    return format_facts(
        [
            ("issuer", found["issuer"]),
            ("client", found["client_id"]),
            ("secret", "set" if found["has_secret"] else "none"),
            ("username", f"claim {found['username_claim']}"),
            ("scopes", " ".join(found["scopes"])),
            ("redirects", " ".join(found["redirect_uris"]) or "–"),
            ("audiences", " ".join(found["audiences"]) or "–"),
        ]
    )
