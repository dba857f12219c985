"""`postbus reset-password`: a new password for who has forgotten it, by a code that goes to the recovery address."""

import argparse
import sys

from postbus.runtime.layout import StartError
from postbusd.cli.api import path_of
from postbusd.cli.common import add_data_dir
from postbusd.cli.login import add_where, ask_secret, find_api
from postbusd.cli.objects import Session, Subparsers, UsageError, run_action, show
from postbusd.cli.secrets_options import STDIN_HELP, ask_password, read_password_line


def add_parser(subparsers: Subparsers) -> None:
    """Registers the command."""
    parser = subparsers.add_parser(
        "reset-password", help="a new password for who has forgotten it", description=__doc__
    )
    add_data_dir(parser)
    parser.add_argument("username", nargs="?", help="asks for a code for this user")
    add_where(parser)
    parser.add_argument("--code", metavar="CODE", help="sets the password by this code")
    parser.add_argument("--password-stdin", action="store_true", help=STDIN_HELP)
    parser.add_argument("--json", action="store_true", help="as JSON")
    parser.set_defaults(handler=lambda args: run_action("reset-password", run_reset, args, find=find_api))


def run_reset(session: Session, args: argparse.Namespace) -> int:
    """Asks for a code, or sets the password by one."""
    if (args.username is None) == (args.code is None):
        raise UsageError("say a username, for a code, or --code, for the password")
    path = path_of("password-reset")
    if args.code is not None:
        new = read_password_line() if args.password_stdin else ask_password("the user whose code it is")
        done = session.api.put(path, {"code": args.code, "new_password": new})
        return show(args, done, f"{done['username']} has a new password")
    begun = session.api.post(path, {"username": args.username})
    minutes = begun["valid_seconds"] // 60
    text = f"Where {args.username} has a recovery address, a code is on its way; it holds {minutes} min."
    if args.json or not sys.stdin.isatty():
        return show(args, begun, text)
    print(text)
    code = ask_secret("Code: ", "--code")
    if not code:
        raise StartError("no code: postbus reset-password --code CODE sets the password")
    done = session.api.put(path, {"code": code, "new_password": ask_password(args.username)})
    print(f"{done['username']} has a new password")
    return 0
