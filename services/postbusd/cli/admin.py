"""`postbus admin reset-token`: a new administrator's token, on the host: when the old one is lost or others know it.

Who may write the secrets folder is the administrator: nothing is asked of the API. The running service takes the new
token with the next request, the old one ends with that.
"""

import argparse
from pathlib import Path

import msgspec

from postbus.core.api_token import new_api_token
from postbus.runtime.compose import find_folder
from postbus.runtime.embedded.secrets import ADMIN_TOKEN
from postbus.runtime.layout import Layout, StartError, write_private
from postbus.runtime.supervisor_connection import read_connection, write_connection
from postbusd.cli.common import add_data_dir, fail, layout_from
from postbusd.cli.objects import Subparsers, print_json

USAGE = 2


def add_parser(subparsers: Subparsers) -> None:
    """Registers the commands."""
    parser = subparsers.add_parser("admin", help="the administrator's own token", description=__doc__)
    parser.set_defaults(handler=lambda _: print_help(parser))
    verbs = parser.add_subparsers(title="commands", metavar="COMMAND")
    reset = verbs.add_parser("reset-token", help="make a new administrator's token", description=__doc__)
    add_data_dir(reset)
    reset.add_argument("--dir", type=Path, metavar="DIR", help="the folder of a docker compose installation instead")
    reset.add_argument("--json", action="store_true", help="as JSON")
    reset.set_defaults(handler=run_reset)


def print_help(parser: argparse.ArgumentParser) -> int:
    """What there is."""
    parser.print_help()
    return USAGE


def run_reset(args: argparse.Namespace) -> int:
    """Writes a new token and says where it is; the token itself is printed with --json only."""
    text = new_api_token()
    try:
        path = _reset_compose(args.dir, text) if args.dir is not None else reset_token(layout_from(args), text)
    except StartError as error:
        return fail("admin reset-token", error)
    except OSError as error:
        return fail("admin reset-token", f"{error.filename}: {error.strerror}")
    if args.json:
        print_json({"file": str(path), "token": text})
        return 0
    print(f"The administrator's new token is in {path}; the old one ends now.")
    if args.dir is not None:
        print("The container has the old file until: docker compose restart admin-api")
    return 0


def reset_token(layout: Layout, text: str) -> Path:
    """Replaces the token of a data folder, mode 600, and in connection.json for the command line. Raises StartError."""
    path = layout.secrets / ADMIN_TOKEN
    if not path.parent.is_dir():
        raise StartError(f"there is no installation in {layout.root}")
    write_private(path, text.encode("ascii") + b"\n")
    if layout.connection_file.exists():
        connection = read_connection(layout)
        admin = msgspec.structs.replace(connection.admin, token=text)
        write_connection(layout, msgspec.structs.replace(connection, admin=admin))
    return path


def _reset_compose(folder: Path, text: str) -> Path:
    """The same for compose, with the mode that its secrets have: containers of other users read the file."""
    path = find_folder(folder).secrets / ADMIN_TOKEN
    if not path.exists():
        raise StartError(f"there is no {path}: run postbus init first")
    write_private(path, text.encode("ascii") + b"\n", path.stat().st_mode & 0o777)
    return path
