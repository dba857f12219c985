"""`postbus ca`: prints the certificate of the private CA, which mail programs and the command line may trust."""

import argparse

from postbusd.cli.api import CA_PATH
from postbusd.cli.common import add_data_dir
from postbusd.cli.objects import Session, run_action


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Registers the command."""
    parser = subparsers.add_parser("ca", help="the private CA's certificate", description=__doc__)
    add_data_dir(parser)
    parser.set_defaults(handler=lambda args: run_action("ca", print_ca, args))


def print_ca(session: Session, args: argparse.Namespace) -> int:
    """Prints it, PEM."""
    print(session.api.get_text(CA_PATH).strip())
    return 0
