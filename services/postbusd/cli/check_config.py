"""`postbus check-config`: reads all settings as the services would and tells everything that is wrong at once."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from postbusd.cli import remote

if TYPE_CHECKING:
    import msgspec

OTHER_NAMES = frozenset({"POSTBUS_SHARED", *remote.NAMES})
"""Names that are nobody's setting but known: house-style §10, the command line's."""


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Registers the command."""
    parser = subparsers.add_parser("check-config", help="check all settings", description=__doc__)
    parser.add_argument("services", nargs="*", metavar="SERVICE", help="default: all")
    parser.add_argument("--env-file", type=Path, help="a postbus.env, whose lines win over the environment")
    output = parser.add_mutually_exclusive_group()
    output.add_argument("--markdown", action="store_true", help="print docs/configuration.md instead")
    output.add_argument("--template", action="store_true", help="print a commented postbus.env instead")
    parser.set_defaults(handler=check_command)


def setting_kinds(services: list[str]) -> "list[tuple[str, type[msgspec.Struct]]]":
    """The runtime's settings and those of `services` (none: all). Raises ValueError for an unknown service."""
    from postbus.runtime.roster import SERVICES
    from postbus.runtime.settings import RuntimeSettings
    from postbusd.cli.run import load_specs

    specs = load_specs(services or list(SERVICES))
    return [("runtime", RuntimeSettings), *((spec.name, spec.settings) for spec in specs)]


def find_problems(kinds: "list[tuple[str, type[msgspec.Struct]]]", environ: dict[str, str]) -> list[str]:
    """One line a problem; names of no service at all are problems too."""
    from postbus.runtime.roster import SERVICES
    from postbus.runtime.settings import PREFIX, SettingsError, load_settings, variable_prefix

    found: list[str] = []
    for service, kind in kinds:
        try:
            load_settings(kind, service, environ)
        except SettingsError as error:
            found += [str(problem) for problem in error.problems]
    prefixes = tuple(variable_prefix(service) for service in ("runtime", *SERVICES))
    strays = (name for name in environ if name.startswith(PREFIX) and name not in OTHER_NAMES)
    return found + [f"{name}: belongs to no service" for name in sorted(strays) if not name.startswith(prefixes)]


def check_command(args: argparse.Namespace) -> int:
    """0 when everything is as it must be, 78 otherwise."""
    from postbus.runtime.settings import SettingsError, process_environment, read_env_file
    from postbus.runtime.settings_docs import format_configuration, format_env_template

    try:
        kinds = setting_kinds(args.services)
        if args.markdown or args.template:
            print(format_configuration(kinds) if args.markdown else format_env_template(kinds), end="")
            return 0
        environ = process_environment() | (read_env_file(args.env_file) if args.env_file else {})
    except ValueError as error:
        print(f"postbus check-config: {error}", file=sys.stderr)
        return 2
    except SettingsError as error:
        print(error, file=sys.stderr)
        return 78
    problems = find_problems(kinds, environ)
    for problem in problems:
        print(problem, file=sys.stderr)
    if not problems:
        print("settings are in order")
    return 78 if problems else 0
