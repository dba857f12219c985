"""`postbus login`: signs in as a user; the commands that follow speak for that user until `postbus logout`."""

import argparse
import getpass
import os
import sys
import urllib.parse
from typing import Any

from postbus.runtime.layout import StartError
from postbus.runtime.settings import process_environment
from postbusd.cli.api import ApiClient, ApiError, HttpsWire, path_of
from postbusd.cli.browser import sign_in_by_browser
from postbusd.cli.common import add_data_dir
from postbusd.cli.objects import Session, Subparsers, UsageError, run_action, show
from postbusd.cli.secrets_options import STDIN_HELP, read_password_line
from postbusd.cli.signed_in import SignedIn, write_signed_in
from postbusd.cli.times import format_moment


def add_parser(subparsers: Subparsers) -> None:
    """Registers the command."""
    parser = subparsers.add_parser("login", help="sign in as a user", description=__doc__)
    add_data_dir(parser)
    parser.add_argument("username", nargs="?", help="the user's name")
    parser.add_argument("--browser", action="store_true", help="sign in by the identity provider, in a browser")
    add_where(parser)
    parser.add_argument("--password-stdin", action="store_true", help=STDIN_HELP)
    parser.add_argument("--code", default="", metavar="CODE", help="of the second factor; it is asked for where needed")
    parser.add_argument("--json", action="store_true", help="as JSON")
    parser.set_defaults(handler=lambda args: run_action("login", run_login, args, find=find_api))


def add_where(parser: argparse.ArgumentParser) -> None:
    """Adds --url and --ca-file."""
    parser.add_argument("--url", metavar="URL", help="the API, as https://mail.example.org:8443 (default: this host's)")
    parser.add_argument("--ca-file", metavar="FILE", help="with --url: whom to trust (default: the system's CAs)")


def find_api(args: argparse.Namespace, seconds: float) -> Session | None:
    """The API of --url, without a token; None: no --url. Raises StartError."""
    from postbusd.cli.remote import Remote, describe

    if args.url is None:
        return None
    parts = urllib.parse.urlsplit(args.url)
    if parts.scheme != "https" or not parts.hostname:
        raise StartError("--url must be https://HOST[:PORT]")
    ca_file = os.path.abspath(args.ca_file) if args.ca_file else ""  # noqa: PTH100 (not resolved: links may move)
    remote = Remote(url=args.url, token="", ca_file=ca_file, trusts_itself=False, mail_host=parts.hostname)
    return Session(api=ApiClient(HttpsWire(args.url, ca_file, seconds), ""), connection=describe(remote))


def run_login(session: Session, args: argparse.Namespace) -> int:
    """Signs in and remembers the session."""
    begun = _begin(session, args)
    where = session.connection
    path = write_signed_in(
        process_environment(),
        SignedIn(url=where.admin.url, ca_file=where.tls.ca_file, username=begun["username"], token=begun["token"]),
    )
    told = {name: value for name, value in begun.items() if name != "token"}
    text = (
        f"signed in to {where.admin.url} as {begun['username']}, until {format_moment(begun['expires_ms'])} at most\n"
        f"The session is in {path}; postbus logout ends it."
    )
    return show(args, {**told, "file": str(path)}, text)


def _begin(session: Session, args: argparse.Namespace) -> Any:
    if args.browser != (args.username is None):
        raise UsageError("say a username, or --browser")
    if args.browser:
        return sign_in_by_browser(session.api, lambda text: print(text, file=sys.stderr))
    password = read_password_line() if args.password_stdin else ask_secret("Password: ", "--password-stdin")
    return _sign_in(session, args, password)


def _sign_in(session: Session, args: argparse.Namespace, password: str) -> Any:
    body: dict[str, object] = {"username": args.username, "password": password, "code": args.code}
    try:
        return session.api.post(path_of("session"), body)
    except ApiError as error:
        if error.field != "code" or args.code or not sys.stdin.isatty():
            raise
    return session.api.post(path_of("session"), {**body, "code": ask_secret("Code of the second factor: ", "--code")})


def ask_secret(question: str, otherwise: str) -> str:
    """From a person. Raises StartError without a terminal."""
    if not sys.stdin.isatty():
        raise StartError(f"say where it comes from: {otherwise}")
    return getpass.getpass(question)
