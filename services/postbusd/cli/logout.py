"""`postbus logout`: ends the session that `postbus login` has begun."""

import argparse
import contextlib

from postbus.runtime.layout import StartError
from postbus.runtime.settings import process_environment
from postbusd.cli.api import ApiClient, ApiError, HttpsWire, path_of
from postbusd.cli.common import fail
from postbusd.cli.objects import Subparsers
from postbusd.cli.signed_in import forget_signed_in, read_signed_in

UNAUTHENTICATED = 401


def add_parser(subparsers: Subparsers) -> None:
    """Registers the command."""
    parser = subparsers.add_parser("logout", help="sign out", description=__doc__)
    parser.set_defaults(handler=run_logout)


def run_logout(args: argparse.Namespace) -> int:
    """Ends it there, then forgets it here; forgotten it is also where the API can't be reached."""
    environment = process_environment()
    try:
        found = read_signed_in(environment)
    except StartError:  # it is no session
        found = None
    with contextlib.suppress(StartError):
        forget_signed_in(environment)
    if found is None:
        return fail("logout", "nobody is signed in")
    try:
        end_session(ApiClient(HttpsWire(found.url, found.ca_file), found.token))
    except StartError as error:
        return fail("logout", f"forgotten here, but not ended there: {error}")
    print(f"signed out of {found.url}")
    return 0


def end_session(api: ApiClient) -> None:
    """Ends it, where it has not ended. Raises StartError."""
    try:
        api.delete(path_of("session"))
    except ApiError as error:
        if error.status != UNAUTHENTICATED:
            raise
