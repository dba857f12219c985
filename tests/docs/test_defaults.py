"""docs/defaults.md is what the code says, and its commands are commands."""

import argparse
import importlib
import re
from pathlib import Path

import msgspec
import pytest

from postbus.contracts.directory import App, User
from postbus.contracts.domains import Domain
from postbus.contracts.identity_provider import IdentityProviderReply
from postbus.contracts.mailboxes import Mailbox
from postbus.contracts.mailing_lists import MailingList
from postbus.contracts.policy import Policy
from postbus.core.ids import MailboxId
from postbus.runtime.settings import RuntimeSettings
from postbusd.admin_api.settings import AdminApiSettings
from postbusd.cli.main import module_of
from postbusd.cli.policy_dnsbl import format_dnsbls

PAGE = (Path(__file__).resolve().parents[2] / "docs/defaults.md").read_text()
ROWS = {
    cells[0].strip(): (cells[1].strip(), cells[2].strip())
    for line in PAGE.splitlines()
    if line.startswith("| ") and not line.startswith(("| ---", "| what "))
    for cells in [line.strip("|").split(" | ")]
}
DOMAIN, LIST, POLICY, SETTINGS = Domain(name="d"), MailingList(address="a"), Policy(), AdminApiSettings()
USER = User(username="u")
MAILBOX = Mailbox(mailbox_id=MailboxId("m"), address="a")


def switch(value: bool) -> str:
    return "on" if value else "off"


def code_says() -> dict[str, str]:
    """The second column."""
    assert USER.active
    assert App(name="a", address="a").active
    listed = POLICY.blocked_senders or POLICY.welcome_senders or POLICY.blocked_networks
    return {
        "incoming mail of a domain": switch(DOMAIN.incoming),
        "masquerading of a domain": switch(DOMAIN.masquerading),
        "catch-all of a domain": " ".join(DOMAIN.catch_all) or "none",
        "alias domain": DOMAIN.alias_of or "none",
        "suspended domain": "yes" if DOMAIN.suspended else "no",
        "quota of a domain": "unlimited" if DOMAIN.quota_octets is None else str(DOMAIN.quota_octets),
        "POP3 of a mailbox": switch(MAILBOX.pop3),
        "addresses that a mailbox was granted to send as": " ".join(MAILBOX.send_as) or "none",
        "role of a user": "superadmin" if USER.superadmin else " ".join(USER.admin_of) or "user",
        "relay of a domain": "none" if DOMAIN.relay is None else DOMAIN.relay.host,
        "mail server of a domain": DOMAIN.mail_host or "the policy's",
        "signature of a domain": "none" if DOMAIN.signature is None else DOMAIN.signature.text,
        "alternate MX of a domain": " ".join(DOMAIN.alternate_mx) or "none",
        "All Mail, sharing of a domain": switch(DOMAIN.all_mail or DOMAIN.sharing),
        "search of a domain": switch(DOMAIN.search),
        "mail server": POLICY.mail_host or f"the installation's name, {RuntimeSettings().mail_host}",
        "DNSBLs": format_dnsbls(msgspec.to_builtins(POLICY.dnsbls)),
        "spam rules": POLICY.spam_rules or "none",
        "quota of a mailbox": "unlimited" if MAILBOX.quota_octets is None else str(MAILBOX.quota_octets),
        "mailbox": "active" if MAILBOX.active else "inactive",
        "list": f"{'active' if LIST.active else 'inactive'}, {'members' if LIST.members_only else 'anybody'} may post",
        "largest message": f"{POLICY.max_message_octets // (1 << 20)} MiB",
        "spam from a score of": f"{POLICY.required_score:.1f}",
        "DMARC p=reject": POLICY.dmarc_reject.value,
        "messages of a mailbox": f"{POLICY.messages_per_hour} an hour",
        "recipients of a mailbox": f"{POLICY.recipients_per_day} a day",
        "blocked and welcome senders, blocked networks": " ".join(listed) or "none",
        "mail of deleted mailboxes": f"{POLICY.archive_days} days"
        if POLICY.archive_days
        else "kept until it is purged",
        "readers of the event log": "more"
        if POLICY.events_for_users or POLICY.events_for_domain_admins
        else "superadmins",
        "groups of a list": " ".join(LIST.groups) or "none",
        "identity provider": "none" if IdentityProviderReply().provider is None else "one",
        "session of the API, unused": f"{SETTINGS.session_idle_minutes} minutes",
        "session of the API, at most": f"{SETTINGS.session_days} days",
        "event log": f"{SETTINGS.event_days} days",
        "audit log": f"{SETTINGS.audit_days} days",
    }


def test_the_values_are_those_of_the_code() -> None:
    assert {name: value for name, (value, _) in ROWS.items()} == code_says()


@pytest.mark.parametrize("where", [where for _, where in ROWS.values()])
def test_each_can_be_changed_where_it_says(where: str) -> None:
    found = re.fullmatch(r"`([^`]+)`", where)
    assert found is not None
    if found[1].startswith("POSTBUS_"):
        name = found[1].removeprefix("POSTBUS_ADMIN_API_").lower()
        assert name in AdminApiSettings.__struct_fields__
        return
    program, noun, *words = found[1].split()
    assert program == "postbus"
    parser = argparse.ArgumentParser(exit_on_error=False)
    importlib.import_module(f"postbusd.cli.{module_of(noun)}").add_parser(parser.add_subparsers())
    parser.parse_args([noun, *words])
