"""The command `postbus`: one module a noun, imported only when it is asked for.

A command's module has `add_parser(subparsers)`, which sets `handler`, a function that takes the parsed arguments and
returns the exit code. Nothing here may import a service, gRPC or a database client: `postbus --help` is to be instant.
"""

import argparse
import importlib
import keyword
import os
import sys
from collections.abc import Sequence

from postbus import __version__

COMMANDS = {
    "up": "start everything on this machine",
    "down": "stop it",
    "status": "services, ports, health, memory",
    "logs": "what the services wrote",
    "domain": "mail domains and their DNS",
    "user": "people who log in",
    "login": "sign in as a user",
    "logout": "sign out",
    "reset-password": "a new password for who has forgotten it",
    "me": "whom the token speaks for, the own password",
    "app-password": "passwords of users for single programs",
    "group": "users who share mailboxes",
    "app": "programs that send mail",
    "mailbox": "accounts that store mail",
    "import": "many mailboxes from a file",
    "export": "all mailboxes, or the whole site, to a file",
    "apply": "bring the site to what a document says",
    "alias": "further names of mailboxes",
    "list": "addresses that many receive",
    "policy": "what holds for all mail",
    "identity-provider": "sign-ins by an OpenID Connect provider",
    "queue": "mail that waits to go out",
    "ledger": "the books of accepted mail, dead letters",
    "token": "who may use the API, and for what",
    "admin": "the administrator's own token",
    "audit": "who changed what",
    "events": "what happened",
    "webhook": "systems that are told of events",
    "trace": "the story of a message",
    "ca": "the private CA's certificate",
    "init": "prepare a folder for docker compose",
    "run": "run one or several services in this process",
    "migrate": "bring the database and the bus up to date",
    "probe": "whether the services here are ready",
    "check-config": "check all settings",
    "completion": "complete commands in a shell",
    "test": "run the tests of this checkout",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command; the exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    parser = argparse.ArgumentParser(prog="postbus", description="Postbus, a self-hosted mail platform.")
    parser.add_argument("--version", action="version", version=f"postbus {__version__}")
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    if words and words[0] in COMMANDS:
        importlib.import_module(f"postbusd.cli.{module_of(words[0])}").add_parser(subparsers)
    else:
        for name, summary in COMMANDS.items():
            subparsers.add_parser(name, help=summary)
    if not words:
        parser.print_help()
        return 2
    args = parser.parse_args(words)
    try:
        return int(args.handler(args))
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141


def module_of(command: str) -> str:
    """The name of a command's module; one that Python keeps for itself gets an underscore (PEP 8)."""
    return f"{command}_" if keyword.iskeyword(command) else command.replace("-", "_")


if __name__ == "__main__":
    sys.exit(main())
