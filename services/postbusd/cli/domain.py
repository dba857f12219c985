"""`postbus domain add|list`: mail domains, by the API of a running installation."""

import argparse
from typing import Any

from postbus.runtime.layout import StartError
from postbusd.cli.common import add_data_dir, fail, format_table
from postbusd.cli.objects import list_all, print_json, running_api


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Registers the commands."""
    parser = subparsers.add_parser("domain", help="mail domains: add, list", description=__doc__)
    verbs = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    add = verbs.add_parser("add", help="add a domain, or change it")
    add.add_argument("name", help="the domain's name")
    add.add_argument("--no-incoming", action="store_true", help="don't receive mail for it yet")
    add.set_defaults(handler=run_add)
    show = verbs.add_parser("list", help="list the domains")
    show.set_defaults(handler=run_list)
    for verb in (add, show):
        add_data_dir(verb)
        verb.add_argument("--json", action="store_true", help="as JSON")


def run_add(args: argparse.Namespace) -> int:
    """Adds or changes a domain."""
    try:
        domain = running_api(args).put(f"/api/v1/domains/{args.name}", {"incoming": not args.no_incoming})
    except StartError as error:
        return fail("domain add", error)
    if args.json:
        print_json(domain)
    else:
        print(_format_domains([domain]))
    return 0


def run_list(args: argparse.Namespace) -> int:
    """Lists the domains."""
    try:
        domains = list_all(running_api(args), "/api/v1/domains", "domains")
    except StartError as error:
        return fail("domain list", error)
    if args.json:
        print_json(domains)
    else:
        print(_format_domains(domains))
    return 0


def _format_domains(domains: list[Any]) -> str:
    rows = [[str(domain["name"]), "on" if domain["incoming"] else "off"] for domain in domains]
    return format_table(["DOMAIN", "INCOMING"], rows)
