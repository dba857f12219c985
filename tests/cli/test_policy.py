"""`postbus policy` against the real API over fakes."""

from pathlib import Path

import msgspec
from tests.cli.desk import Desk, Say


def test_the_policy_is_shown_and_changed(desk: Desk) -> None:
    assert "largest message   25M" in desk.ok("policy", "show")
    words = (
        "--max-message",
        "10M",
        "--required-score",
        "4.5",
        "--add-blocked",
        "*.SPAM.example",
        "--add-blocked",
        "a@b.c",
    )
    changed = desk.json("policy", "set", *words, "--add-network", "192.0.2.0/24", "--dmarc-reject", "quarantine")
    assert isinstance(changed, dict)
    assert (changed["max_message_octets"], changed["required_score"]) == (10 << 20, 4.5)
    assert changed["blocked_senders"] == ["*.spam.example", "a@b.c"]
    assert "*.spam.example" not in desk.ok("policy", "set", "--remove-blocked", "*.SPAM.example")
    kept = desk.json("policy", "show")
    assert isinstance(kept, dict)
    assert (kept["blocked_networks"], kept["dmarc_reject"]) == (["192.0.2.0/24"], "quarantine")
    assert desk.run("policy", "set") == 2
    assert desk.run("policy", "set", "--remove-welcome", "nobody@x.example") == 2
    assert "max_message_octets" in desk.fails("policy", "set", "--max-message", "1K")
    assert "everybody" in desk.fails("policy", "set", "--add-blocked", "*@*")


def test_a_shorter_retention_says_what_it_purges(demo: Desk, terminal: Say) -> None:
    demo.ok("mailbox", "delete", "kim@demo.example", "--yes")
    rows = demo.installation.directory.rows.deleted_mailboxes
    ((mailbox_id, (archived, mailbox)),) = rows.items()
    rows[mailbox_id] = (msgspec.structs.replace(archived, deleted_ms=1), mailbox)
    terminal("n\n")
    assert demo.run("policy", "set", "--archive-days", "30") == 1
    assert "purges now: kim@demo.example, 0 messages" in demo.err
    assert demo.installation.directory.rows.policy.archive_days == 0
    terminal("y\n")
    demo.ok("policy", "set", "--archive-days", "30")
    assert demo.installation.directory.rows.policy.archive_days == 30
    assert demo.ok("policy", "set", "--archive-days", "0", "--yes")
    assert "purges" not in demo.err


def test_dnsbls_are_added_changed_and_removed(desk: Desk) -> None:
    assert "zen.spamhaus.org refuses" in desk.ok("policy", "show")
    words = ("--add-dnsbl", "BL.example", "--dnsbl-mode", "refuse", "--dnsbl-lookup", "https://bl.example/{address}")
    desk.ok("policy", "set", *words)
    out = desk.ok(
        "policy", "set", "--add-dnsbl", "psbl.example", "--dnsbl-score", "1.5", "--remove-dnsbl", "ZEN.spamhaus.org"
    )
    assert "DNSBLs            bl.example refuses, psbl.example adds 1.5\n" in out
    changed = desk.json("policy", "set", "--add-dnsbl", "bl.example", "--mail-host", "mail.example.org")
    assert isinstance(changed, dict)
    assert changed["dnsbls"][0] == {"zone": "bl.example", "mode": "score", "score": 2.0, "lookup_url": ""}
    assert changed["mail_host"] == "mail.example.org"
    assert desk.run("policy", "set", "--remove-dnsbl", "none.example") == 2
    assert "none.example is not on the list" in desk.err
    assert "dnsbls.zone" in desk.fails("policy", "set", "--add-dnsbl", "bl")
    assert "DNSBLs            none\n" in desk.ok(
        "policy", "set", "--remove-dnsbl", "bl.example", "--remove-dnsbl", "psbl.example"
    )


def test_spam_rules_come_from_a_file(desk: Desk, tmp_path: Path) -> None:
    path = tmp_path / "rules.cf"
    path.write_text("header A Subject =~ /x/\nloadplugin X\nbody __B /y/\n")
    out = desk.ok("policy", "set", "--spam-rules", str(path))
    assert "spam rules        2, 1 of them shown in X-Spam-Status\n" in out
    assert desk.err == f"{path}: line 2: there are no plugins\n"
    path.write_text("body A /x")
    assert "spam_rules: line 1: the closing / is missing" in desk.fails("policy", "set", "--spam-rules", str(path))
    assert "spam rules        2," in desk.ok("policy", "show")
    assert "spam rules        none\n" in desk.ok("policy", "set", "--spam-rules", "")
