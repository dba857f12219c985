"""`postbus run SERVICE…`: hosts one or several services in this process until SIGTERM."""

import argparse
import importlib
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from postbus.runtime.service import ServiceSpec


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Registers the command."""
    parser = subparsers.add_parser(
        "run", help="run one or several services in this process", description="Runs services in the foreground."
    )
    parser.add_argument("services", nargs="+", metavar="SERVICE", help="as smtp-edge, filter, delivery …")
    parser.set_defaults(handler=run_command)


def load_specs(names: Sequence[str]) -> "list[ServiceSpec]":
    """The entry points of these services: nothing else of `postbusd` is imported. Raises ValueError."""
    from postbus.runtime.roster import SERVICES

    unknown = [name for name in names if name not in SERVICES]
    if unknown:
        raise ValueError(f"no such service: {', '.join(unknown)} (there are: {', '.join(SERVICES)})")
    if len(set(names)) != len(names):
        raise ValueError("a service was named twice")
    return [importlib.import_module(f"postbusd.{name.replace('-', '_')}.app").SPEC for name in names]


def run_command(args: argparse.Namespace) -> int:
    """Runs until the process is told to stop; 78 for wrong settings, 2 for a wrong command line."""
    from postbus.runtime.host import run_services

    try:
        specs = load_specs(args.services)
    except ValueError as error:
        print(f"postbus run: {error}", file=sys.stderr)
        return 2
    return run_services(specs)
