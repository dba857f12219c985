"""What the administrator's nouns share: verbs, the API of a running installation, pages, JSON output.

Exit codes: 0 done, 1 refused or failed (one line on standard error), 2 wrong command line, 3 not all of it is well.
"""

import argparse
import sys
from collections.abc import Callable
from typing import Any, TypeAlias

import msgspec

from postbus.runtime.layout import StartError
from postbus.runtime.settings import process_environment
from postbus.runtime.supervisor_connection import Connection, read_connection
from postbusd.cli.api import NOT_FOUND, ROOT, TIMEOUT_SECONDS, ApiClient, ApiError, connect_api
from postbusd.cli.common import add_data_dir, escape_json, fail, layout_from
from postbusd.cli.remote import describe, find_remote, open_wire

MAX_PAGES = 10_000
PAGE = "1000"
USAGE = 2

Subparsers: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


class UsageError(Exception):
    """The command line contradicts itself."""


class Session(msgspec.Struct, frozen=True, kw_only=True):
    """The installation that a command speaks to."""

    api: ApiClient
    connection: Connection


Action = Callable[[Session, argparse.Namespace], int]


class Noun:
    """A command with verbs; without one it prints its help."""

    def __init__(self, subparsers: Subparsers, name: str, summary: str, description: str) -> None:
        self._name = name
        self._parser = subparsers.add_parser(name, help=summary, description=description)
        self._parser.set_defaults(handler=self._print_help)
        self._verbs = self._parser.add_subparsers(title="commands", metavar="COMMAND")

    def verb(
        self, name: str, action: Action, summary: str, more: str = "", *, seconds: float = TIMEOUT_SECONDS
    ) -> argparse.ArgumentParser:
        """Adds a verb; `action` gets the session and the arguments and returns the exit code."""
        parser = self._verbs.add_parser(
            name, help=summary, description=f"{summary[0].upper()}{summary[1:]}. {more}".strip()
        )
        add_data_dir(parser)
        parser.add_argument("--json", action="store_true", help="as JSON")
        parser.set_defaults(handler=lambda args: run_action(f"{self._name} {name}", action, args, seconds))
        return parser

    def _print_help(self, args: argparse.Namespace) -> int:
        self._parser.print_help()
        return USAGE


def run_action(
    command: str,
    action: Action,
    args: argparse.Namespace,
    seconds: float = TIMEOUT_SECONDS,
    find: Callable[[argparse.Namespace, float], Session | None] = lambda args, seconds: None,
) -> int:
    """Runs a verb; its exit code. Each answer is waited for so long. `find`: where it may speak to besides."""
    try:
        return action(find(args, seconds) or open_session(args, seconds), args)
    except StartError as error:
        return fail(command, error)
    except UsageError as error:
        fail(command, error)
        return USAGE


def open_session(args: argparse.Namespace, seconds: float = TIMEOUT_SECONDS) -> Session:
    """The installation in --data-dir, or that of POSTBUS_API_URL; each answer is waited for so long.

    Raises StartError.
    """
    remote = find_remote(args, process_environment())
    if remote is not None:
        return Session(api=ApiClient(open_wire(remote, seconds), remote.token), connection=describe(remote))
    connection = read_connection(layout_from(args))
    api = connect_api(connection.admin.url, connection.admin.token, connection.tls.ca_file, seconds)
    return Session(api=api, connection=connection)


def list_all(api: ApiClient, path: str, key: str, query: dict[str, str] | None = None) -> list[Any]:
    """All pages of a list. Raises StartError."""
    found: list[Any] = []
    after = ""
    for _ in range(MAX_PAGES):
        page = api.get(path, {"limit": PAGE, **(query or {}), **({"after": after} if after else {})})
        found += page[key]
        after = page.get("next_after", "")
        if not after:
            return found
    raise StartError("the list does not end")


def add_list(noun: Noun, action: Action, plural: str, *, of_domain: bool) -> None:
    """Adds the verb `list`."""
    verb = noun.verb("list", action, f"list the {plural}")
    verb.add_argument("text", nargs="?", default="", metavar="TEXT", help="only names with this in them")
    verb.add_argument("--reverse", action="store_true", help="from the last name to the first")
    if of_domain:
        verb.add_argument("--domain", default="", metavar="D", help="only those of this domain")


def list_chosen(session: Session, args: argparse.Namespace, plural: str) -> list[Any]:
    """What `add_list` was asked for. Raises StartError."""
    query = {name: value for name in ("text", "domain") if (value := getattr(args, name, ""))}
    query |= {"sort": "-name"} if args.reverse else {}
    return list_all(session.api, f"{ROOT}/{plural}", plural, query)


def find(api: ApiClient, path: str) -> Any | None:  # Any: JSON, read by the caller
    """An object, None when there is none. Raises StartError."""
    try:
        return api.get(path)
    except ApiError as error:
        if error.status == NOT_FOUND:
            return None
        raise


def change(api: ApiClient, path: str, changes: dict[str, object]) -> Any:
    """Makes an object, or changes of the one that is there what `changes` says."""
    if find(api, path) is None:
        return api.put(path, changes)
    return api.patch(path, changes)


def show(args: argparse.Namespace, value: object, text: str) -> int:
    """Prints a result as --json asks; exit code 0."""
    if args.json:
        print_json(value)
    else:
        print(text)
    return 0


def print_json(value: object) -> None:
    """Prints a value as indented JSON."""
    sys.stdout.flush()
    text = escape_json(msgspec.json.format(msgspec.json.encode(value)).decode())
    sys.stdout.buffer.write(f"{text}\n".encode())
    sys.stdout.buffer.flush()
