"""`postbus domain`: mail domains of a running installation, and what they need in DNS."""

import argparse
import sys
from typing import Any

from postbus.runtime.layout import StartError
from postbusd.cli.api import ApiClient, path_of
from postbusd.cli.common import clean, format_amount, format_facts, format_table, on_off, parse_amount
from postbusd.cli.deleting import add_delete
from postbusd.cli.domain_dns import format_plan, run_dns
from postbusd.cli.domain_relay import (
    PLAIN_WARNING,
    add_relay_options,
    add_relay_verbs,
    format_relay,
    relay_change,
    use_preset,
)
from postbusd.cli.domain_server import add_server_options, server_change, server_facts
from postbusd.cli.objects import Noun, Session, Subparsers, add_list, change, list_chosen, show

PLURAL = "domains"
_LIMITS = {
    "quota": "quota_octets",
    "default_quota": "default_quota_octets",
    "max_message": "max_message_octets",
}


def add_parser(subparsers: Subparsers) -> None:
    """Registers the commands."""
    noun = Noun(subparsers, "domain", "mail domains and their DNS", __doc__ or "")
    add = noun.verb(
        "add",
        run_add,
        "add a domain",
        "Prints what is left to do in DNS. Of a domain that is there already only incoming mail is switched.",
    )
    add.add_argument("name", help="the domain's name")
    add.add_argument("--no-incoming", action="store_true", help="don't receive mail for it yet")
    switch = noun.verb(
        "incoming",
        run_incoming,
        "switch incoming mail of a domain on or off",
        "Off: mail to it is refused, our own goes to its MX. On prints what is left to do in DNS.",
    )
    switch.add_argument("state", choices=("on", "off"), help="whether mail is received for it")
    switch.add_argument("name", help="the domain's name")
    change_it = noun.verb("set", run_set, "change a domain", "What is not named stays as it is.")
    change_it.add_argument("name", help="the domain's name")
    change_it.add_argument("--incoming", choices=("on", "off"), help="whether mail is received for it")
    change_it.add_argument(
        "--catch-all", metavar="A[,B]", help="mailboxes that get what nobody else takes; '' for none (then refused)"
    )
    change_it.add_argument(
        "--masquerading", choices=("on", "off"), help="on: its mailboxes may send as any address of it"
    )
    change_it.add_argument(
        "--suspended", choices=("on", "off"), help="on: mail for it is refused, nobody logs in; nothing is deleted"
    )
    for option, what in (
        ("--quota", "what its mailboxes may be granted together"),
        ("--default-quota", "of its mailboxes that have no quota of their own"),
        ("--max-message", "the largest message for it, where the policy allows more"),
    ):
        change_it.add_argument(option, type=parse_amount, metavar="AMOUNT", help=f"{what}: 500M, 5G, none")
    add_server_options(change_it)
    for verb in (add, change_it):
        verb.add_argument(
            "--alias-of", metavar="D", help="every address of it means the same name at this domain; '' for none"
        )
    add_relay_options(change_it)
    noun.verb("show", run_show, "show a domain").add_argument("name", help="the domain's name")
    add_list(noun, run_list, PLURAL, of_domain=False)
    dns = noun.verb(
        "dns", run_dns, "what a domain needs in DNS", "With --check exit code 3 unless everything is there."
    )
    dns.add_argument("name", help="the domain's name")
    how = dns.add_mutually_exclusive_group()
    how.add_argument("--check", action="store_true", help="ask DNS what is there")
    how.add_argument("--zone", action="store_true", help="as a zone file")
    add_relay_verbs(noun)
    add_delete(noun, "domain", PLURAL, "Only one that nothing lives in.")


def run_add(session: Session, args: argparse.Namespace) -> int:
    """Adds a domain and says what to do next."""
    path = path_of(PLURAL, args.name)
    domain = change(session.api, path, {"incoming": not args.no_incoming, **_alias_of(args)})
    show(args, domain, format_domains([domain]))
    if not args.json:
        _print_next_steps(session.api, str(domain["name"]))
    return 0


def run_incoming(session: Session, args: argparse.Namespace) -> int:
    """Switches incoming mail, and says what to do next."""
    domain = session.api.patch(path_of(PLURAL, args.name), {"incoming": args.state == "on"})
    show(args, domain, format_domains([domain]))
    if domain["incoming"] and not args.json:
        _print_next_steps(session.api, str(domain["name"]))
    return 0


def run_set(session: Session, args: argparse.Namespace) -> int:
    """Changes a domain."""
    path = path_of(PLURAL, args.name)
    changes: dict[str, object] = {}
    if args.incoming is not None:
        changes["incoming"] = args.incoming == "on"
    if args.catch_all is not None:
        changes["catch_all"] = [address.strip() for address in args.catch_all.split(",") if address.strip()]
    if args.masquerading is not None:
        changes["masquerading"] = args.masquerading == "on"
    if args.suspended is not None:
        changes["suspended"] = args.suspended == "on"
    for option, field in _LIMITS.items():
        if getattr(args, option) is not None:
            changes[field] = getattr(args, option) or None
    changes |= server_change(args, session.api.get(path)["signature"])
    changes |= _alias_of(args)
    use_preset(session.api, args)
    changes |= relay_change(args, session.api.get(path)["relay"])
    domain = session.api.patch(path, changes)
    if changes.get("relay") and domain["relay"]["security"] == "none":
        print(PLAIN_WARNING, file=sys.stderr)
    return show(args, domain, format_domain(domain))


def run_show(session: Session, args: argparse.Namespace) -> int:
    """Shows a domain."""
    domain = session.api.get(path_of(PLURAL, args.name))
    return show(args, domain, format_domain(domain))


def run_list(session: Session, args: argparse.Namespace) -> int:
    """Lists the domains."""
    domains = list_chosen(session, args, PLURAL)
    return show(args, domains, format_domains(domains))


def format_domains(domains: list[Any]) -> str:
    """A table."""
    rows = [
        [
            domain["name"],
            "suspended" if domain["suspended"] else on_off(domain["incoming"]),
            ", ".join(domain["catch_all"]) or "–",
            f"as {domain['alias_of']}" if domain["alias_of"] else format_relay(domain["relay"]),
        ]
        for domain in domains
    ]
    return format_table(["DOMAIN", "INCOMING", "CATCH-ALL", "OUTGOING"], rows)


def format_domain(domain: Any) -> str:
    """One domain's facts."""
    return format_facts(
        [
            ("domain", domain["name"]),
            ("incoming", on_off(domain["incoming"])),
            ("catch-all", ", ".join(domain["catch_all"]) or "none: such mail is refused"),
            ("outgoing", format_relay(domain["relay"])),
            ("masquerading", on_off(domain["masquerading"])),
            *([("alias of", domain["alias_of"])] if domain["alias_of"] else []),
            *([("suspended", "yes: mail and logins are refused")] if domain["suspended"] else []),
            ("quota", format_amount(domain["quota_octets"])),
            ("of a mailbox", format_amount(domain["default_quota_octets"])),
            *(
                [("largest message", format_amount(domain["max_message_octets"]))]
                if domain["max_message_octets"] is not None
                else []
            ),
            *server_facts(domain),
        ]
    )


def _alias_of(args: argparse.Namespace) -> dict[str, object]:
    return {} if args.alias_of is None else {"alias_of": args.alias_of}


def _print_next_steps(api: ApiClient, name: str) -> None:
    """The domain is made; what can't be told now can be asked for later."""
    try:
        plan = api.get(path_of(PLURAL, name, "dns"))
    except StartError as error:
        print(f"\nIts DNS records can't be told now: {clean(str(error))}", file=sys.stderr)
    else:
        print(f"\nTo do: these records in the DNS of {clean(name)}\n\n{format_plan(plan)}\n")
    print(f"Whether they are there: postbus domain dns {clean(name)} --check; as a zone file: --zone")
