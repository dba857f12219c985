"""`postbus policy`: what holds for all mail: largest message, spam threshold, rates, block and welcome lists."""

import argparse
import sys
import time
from typing import Any

from postbusd.cli.api import path_of
from postbusd.cli.common import clean, format_amount, format_facts, parse_amount
from postbusd.cli.deleting import add_yes, ask, is_asked
from postbusd.cli.objects import Noun, Session, Subparsers, UsageError, list_all, show
from postbusd.cli.policy_dnsbl import add_dnsbl_options, dnsbl_change, format_dnsbls
from postbusd.cli.policy_rules import format_rules, read_rules

DAY_MS = 86_400_000
_LISTS = (
    ("blocked_senders", "blocked", "PATTERN", "senders whose mail is spam: addresses or domains, * and ? in them"),
    ("welcome_senders", "welcome", "PATTERN", "senders whose mail is not"),
    ("blocked_networks", "network", "NETWORK", "networks that are refused on port 25"),
)


def add_parser(subparsers: Subparsers) -> None:
    """Registers the commands."""
    noun = Noun(subparsers, "policy", "what holds for all mail", __doc__ or "")
    noun.verb("show", run_show, "show the policy")
    change = noun.verb("set", run_set, "change the policy", "What is not named stays as it is.")
    change.add_argument("--max-message", type=parse_amount, metavar="SIZE", help="largest message, as 25M")
    change.add_argument("--required-score", type=float, metavar="SCORE", help="from which on mail is spam")
    change.add_argument("--dmarc-reject", choices=("reject", "quarantine"), help="mail that fails DMARC's p=reject")
    change.add_argument("--messages-per-hour", type=int, metavar="N", help="of a mailbox; 0: no limit")
    change.add_argument("--recipients-per-day", type=int, metavar="N", help="of a mailbox; 0: no limit")
    change.add_argument(
        "--archive-days", type=int, metavar="N", help="how long the mail of deleted mailboxes is kept; 0: for ever"
    )
    change.add_argument(
        "--mail-host", metavar="NAME", help="where people connect and MX records point to; '' for our own name"
    )
    change.add_argument(
        "--spam-rules", metavar="FILE", help="rules in SpamAssassin's language, - for stdin; '' for none"
    )
    add_dnsbl_options(change)
    add_yes(change)
    for whom, what in (("domain-admins", "domain admins: of their domains"), ("users", "users: of their mailboxes")):
        change.add_argument(f"--events-for-{whom}", choices=("on", "off"), help=f"event log for {what}")
    for _, option, metavar, what in _LISTS:
        for verb in ("add", "remove"):
            change.add_argument(
                f"--{verb}-{option}",
                action="append",
                default=[],
                metavar=metavar,
                help=f"{'further' if verb == 'add' else 'no more'} {what}; may be repeated",
            )


def run_show(session: Session, args: argparse.Namespace) -> int:
    """Shows the policy."""
    policy = session.api.get(path_of("policy"))
    return show(args, policy, format_policy(policy))


def run_set(session: Session, args: argparse.Namespace) -> int:
    """Changes the policy."""
    before = session.api.get(path_of("policy"))
    changes: dict[str, Any] = {}
    if args.max_message is not None:
        changes["max_message_octets"] = args.max_message
    for field in ("required_score", "dmarc_reject", "messages_per_hour", "recipients_per_day", "archive_days"):
        if getattr(args, field) is not None:
            changes[field] = getattr(args, field)
    for field in ("events_for_domain_admins", "events_for_users"):
        if getattr(args, field) is not None:
            changes[field] = getattr(args, field) == "on"
    changes |= _list_changes(args, before)
    if args.mail_host is not None:
        changes["mail_host"] = args.mail_host
    if args.spam_rules is not None:
        changes["spam_rules"] = read_rules(args.spam_rules)
    changes |= dnsbl_change(args, before["dnsbls"])
    if not changes:
        raise UsageError("say what is to change")
    if not _may_purge(session, args):
        return 1
    policy = session.api.patch(path_of("policy"), changes)
    return show(args, policy, format_policy(policy))


def _list_changes(args: argparse.Namespace, before: Any) -> dict[str, Any]:
    changes: dict[str, Any] = {}
    for field, option, _, _ in _LISTS:
        added, removed = getattr(args, f"add_{option}"), getattr(args, f"remove_{option}")
        gone = {each.lower() for each in removed}
        absent = sorted(gone - set(before[field]))
        if absent:
            raise UsageError(f"--remove-{option}: {absent[0]} is not on the list")
        if added or removed:
            changes[field] = [each for each in before[field] if each not in gone] + added
    return changes


def _readers(policy: Any) -> str:
    admins, users = policy["events_for_domain_admins"], policy["events_for_users"]
    return ", ".join(["superadmins", *(["domain admins"] if admins else []), *(["users"] if users else [])])


def _may_purge(session: Session, args: argparse.Namespace) -> bool:
    """Says what a shorter retention purges at once; asks on a terminal."""
    if not args.archive_days:
        return True
    before_ms = time.time_ns() // 1_000_000 - args.archive_days * DAY_MS
    found = list_all(session.api, path_of("archived-mailboxes"), "archived_mailboxes")
    due = [each for each in found if each["deleted_ms"] < before_ms and not each["purging"]]
    for each in due:
        print(f"  purges now: {clean(each['address'])}, {each['messages']} messages", file=sys.stderr)
    return not due or not is_asked(args) or ask("Purge this?")


def format_policy(policy: Any) -> str:
    """For people."""
    facts = [
        ("largest message", format_amount(policy["max_message_octets"])),
        ("spam from", f"{policy['required_score']:g}"),
        ("DMARC p=reject", policy["dmarc_reject"]),
        ("messages an hour", str(policy["messages_per_hour"] or "no limit")),
        ("recipients a day", str(policy["recipients_per_day"] or "no limit")),
        ("deleted mail", f"{policy['archive_days']} days" if policy["archive_days"] else "kept until it is purged"),
        ("event log for", _readers(policy)),
        ("mail server", policy["mail_host"] or "the installation's own name"),
        ("DNSBLs", format_dnsbls(policy["dnsbls"])),
        ("spam rules", format_rules(policy["spam_rules"])),
        ("blocked senders", " ".join(policy["blocked_senders"]) or "none"),
        ("welcome senders", " ".join(policy["welcome_senders"]) or "none"),
        ("blocked networks", " ".join(policy["blocked_networks"]) or "none"),
    ]
    return format_facts(facts)
