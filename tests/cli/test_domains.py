"""`postbus domain` against the real API over fakes."""

from pathlib import Path

import pytest
from tests.cli.desk import Desk, Say

from postbus.contracts.relay_test import RelayStage, RelayStep, RelayTestReply

PLAIN = {
    "masquerading": False,
    "alias_of": "",
    "suspended": False,
    "quota_octets": None,
    "default_quota_octets": None,
    "max_message_octets": None,
    "mail_host": "",
    "signature": None,
    "alternate_mx": [],
    "all_mail": False,
    "sharing": False,
    "search": True,
}
"""Of a domain that nobody has changed."""


def test_a_domain_is_added_with_what_is_left_to_do(desk: Desk) -> None:
    text = desk.ok("domain", "add", "Demo.example")
    assert "demo.example  on" in text
    assert "_dmarc.demo.example  TXT\n    v=DMARC1; p=none\n    # says what to do with fakes" in text
    assert "postbus domain dns demo.example --check" in text
    added = desk.json("domain", "add", "quiet.example", "--no-incoming")
    assert added == {"name": "quiet.example", "incoming": False, "catch_all": [], "relay": None, **PLAIN}


def test_a_domain_is_added_also_when_its_records_cant_be_told(desk: Desk) -> None:
    desk.installation.dns.away = True
    assert "demo.example" in desk.ok("domain", "add", "demo.example")
    assert "can't be told now" in desk.err


def test_a_domain_is_changed_piece_by_piece(demo: Desk, say: Say) -> None:
    say("hush hush\n")
    demo.ok(
        "domain", "set", "demo.example", "--catch-all", "kim@demo.example", "--relay", "smart.example",
        "--relay-username", "kim", "--relay-password-stdin",
    )  # fmt: skip
    shown = demo.json("domain", "set", "demo.example", "--incoming", "off")
    relay = {"host": "smart.example", "port": 587, "security": "starttls", "username": "kim"}
    expected = {"name": "demo.example", "incoming": False, "catch_all": ["kim@demo.example"], "relay": relay}
    expected |= PLAIN
    assert shown == expected == demo.json("domain", "show", "demo.example")
    assert demo.installation.directory.relay_passwords == {"demo.example": "hush hush"}
    assert "by smart.example:587 (starttls) as kim" in demo.ok("domain", "list")
    demo.ok("domain", "add", "demo.example")
    assert demo.json("domain", "show", "demo.example") == {**expected, "incoming": True}
    demo.ok("domain", "set", "demo.example", "--masquerading", "on")
    demo.ok("domain", "set", "demo.example", "--catch-all", "kim@demo.example")
    assert demo.json("domain", "show", "demo.example") == {**expected, "incoming": True, "masquerading": True}
    demo.ok("domain", "set", "demo.example", "--masquerading", "off")
    demo.ok("domain", "set", "demo.example", "--relay", "[2001:db8::1]:465", "--relay-security", "tls")
    assert demo.ok("domain", "show", "demo.example").endswith(
        "by [2001:db8::1]:465 (tls)\nmasquerading  off\nquota         unlimited\nof a mailbox  unlimited\n"
        "all mail      off\nsharing       off\nsearch        on\n"
    )
    assert demo.run("domain", "set", "demo.example", "--relay-username", "kim") == 2
    assert "--relay-password-stdin" in demo.err
    demo.ok("domain", "set", "demo.example", "--no-relay", "--catch-all", "")
    assert "by MX" in demo.ok("domain", "show", "demo.example")


@pytest.mark.parametrize(
    "words",
    [
        ("--relay-username", "kim"),
        ("--relay-security", "tls"),
        ("--no-relay", "--relay-security", "tls"),
        ("--relay", "smart.example:port"),
        ("--relay", "2001:db8::1"),
        ("--relay", ":25"),
        ("--relay", "a.example", "--no-relay"),
        ("--incoming", "perhaps"),
    ],
)
def test_contradicting_options_are_usage_errors(demo: Desk, words: tuple[str, ...]) -> None:
    assert demo.run("domain", "set", "demo.example", *words) == 2
    assert demo.err


def test_the_dns_of_a_domain(demo: Desk) -> None:
    plain = demo.ok("domain", "dns", "demo.example")
    assert plain.startswith("demo.example  MX\n    10 mail.demo.example.\n")
    assert demo.ok("domain", "dns", "demo.example", "--zone").startswith("demo.example. 3600 IN MX")
    assert demo.run("domain", "dns", "demo.example", "--check") == 3
    assert "MISSING" in demo.out
    assert "-> add this MX record" in demo.out
    demo.installation.dns.live |= {"demo.example", "_dmarc.demo.example"}
    assert "MISSING" not in demo.ok("domain", "dns", "demo.example", "--check")
    assert "no.example" in demo.fails("domain", "dns", "no.example")


def test_a_preset_fills_in_the_relay(demo: Desk, say: Say) -> None:
    assert {"ses", "mailgun"} <= {line.partition(" ")[0] for line in demo.ok("domain", "relay-presets").splitlines()}
    shown = demo.ok("domain", "relay-presets", "ses")
    assert "ses:SendRawEmail" in shown
    say("hush hush\n")
    words = ("--relay-username", "AKIA", "--relay-password-stdin")
    out = demo.ok("domain", "set", "demo.example", "--relay-preset", "ses", "--relay-region", "eu-west-1", *words)
    assert "by email-smtp.eu-west-1.amazonaws.com:587 (starttls) as AKIA" in out
    say("SG.key\n")
    out = demo.ok("domain", "set", "demo.example", "--relay-preset", "sendgrid", "--relay-password-stdin")
    assert "by smtp.sendgrid.net:587 (starttls) as apikey" in out
    assert demo.installation.directory.relay_passwords == {"demo.example": "SG.key"}
    out = demo.ok("domain", "set", "demo.example", "--relay-preset", "office365")
    assert "by demo-example.mail.protection.outlook.com:25 (starttls)\n" in out
    for wrong in (
        ("--relay-preset", "nobody"),
        ("--relay-preset", "mailgun"),
        ("--relay-preset", "office365", "--relay-region", "eu"),
        ("--relay-region", "eu-west-1"),
        ("--relay-preset", "ses", "--relay", "a.example"),
    ):
        assert demo.run("domain", "set", "demo.example", *wrong) == 2, wrong
    assert demo.run("domain", "relay-presets", "nobody") == 2


def test_a_relay_in_plain_text_comes_with_a_warning(demo: Desk) -> None:
    demo.ok("domain", "set", "demo.example", "--relay", "smart.example", "--relay-security", "none")
    assert "plain text" in demo.err
    demo.ok("domain", "set", "demo.example", "--relay", "smart.example", "--relay-security", "tls")
    assert demo.err == ""


def test_a_relay_is_tested_with_a_line_a_stage(demo: Desk) -> None:
    steps = [
        RelayStep(stage=RelayStage.CONNECT, ok=True, milliseconds=12),
        RelayStep(stage=RelayStage.ANY_SENDER, ok=False, reply="550 no\x1b", advice="verify it", milliseconds=3),
        RelayStep(stage=RelayStage.POSTMASTER, ok=False, reply="550 no", advice="verify it", milliseconds=3),
    ]
    demo.installation.relays.reply = RelayTestReply(host="smart.example", port=587, steps=tuple(steps))
    assert demo.run("domain", "relay-test", "demo.example", "--recipient", "a@b.example") == 3
    assert [line.split()[0] for line in demo.out.splitlines()] == [
        "STAGE",
        "connect",
        "any",
        "postmaster",
        "verify",
        "not",
    ]
    assert demo.out.count("verify it") == 1
    assert "\x1b" not in demo.out
    assert demo.installation.relays.requests[0].recipient == "a@b.example"
    demo.installation.relays.reply = RelayTestReply(host="smart.example", port=587, steps=tuple(steps[:1]))
    assert "all is well" in demo.ok("domain", "relay-test", "demo.example")
    assert "none.example" in demo.fails("domain", "relay-test", "none.example")


def test_incoming_mail_is_switched(demo: Desk) -> None:
    assert demo.ok("domain", "incoming", "off", "demo.example").splitlines()[1].split()[:2] == ["demo.example", "off"]
    out = demo.ok("domain", "incoming", "on", "demo.example")
    assert out.splitlines()[1].split()[:2] == ["demo.example", "on"]
    assert "these records in the DNS of demo.example" in out
    assert demo.installation.directory.domains["demo.example"].incoming
    assert "none.example" in demo.fails("domain", "incoming", "on", "none.example")
    assert demo.run("domain", "incoming", "maybe", "demo.example") == 2


def test_what_the_mail_server_does_for_a_domain(demo: Desk, say: Say, tmp_path: Path) -> None:
    page = tmp_path / "signature.html"
    page.write_text("<p>Demo Ltd.</p>\n")
    say("-- \nDemo Ltd.\nconfidential\n")
    shown = demo.json(
        "domain", "set", "demo.example", "--mail-host", "mx.demo.example", "--signature", "-",
        "--signature-html", str(page), "--alternate-mx", "in.filter.example, 192.0.2.0/24",
        "--all-mail", "on", "--sharing", "on", "--search", "off",
    )  # fmt: skip
    assert isinstance(shown, dict)
    assert shown["signature"] == {"text": "-- \nDemo Ltd.\nconfidential", "html": "<p>Demo Ltd.</p>"}
    assert (shown["mail_host"], shown["alternate_mx"]) == ("mx.demo.example", ["192.0.2.0/24", "in.filter.example"])
    assert (shown["all_mail"], shown["sharing"], shown["search"]) == (True, True, False)
    text = demo.ok("domain", "show", "demo.example")
    assert "signature     Demo Ltd. …, HTML too\n" in text
    assert "mail server   mx.demo.example\n" in text
    assert "search        off\n" in text
    changed = demo.json("domain", "set", "demo.example", "--signature-html", "")
    assert isinstance(changed, dict)
    assert changed["signature"] == {"text": "-- \nDemo Ltd.\nconfidential", "html": ""}
    plain = demo.json(
        "domain", "set", "demo.example", "--mail-host", "", "--signature", "", "--alternate-mx", "",
        "--all-mail", "off", "--sharing", "off", "--search", "on",
    )  # fmt: skip
    assert isinstance(plain, dict)
    assert {name: plain[name] for name in PLAIN} == PLAIN


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--signature-html", "x"), "a signature needs a text too"),
        (("--signature", "", "--signature-html", "x"), "a signature needs a text too"),
        (("--signature", "/nowhere/x"), "--signature: /nowhere/x: No such file"),
        (("--search", "perhaps"), "invalid choice"),
    ],
)
def test_settings_that_make_no_sense(demo: Desk, words: tuple[str, ...], told: str) -> None:
    assert demo.run("domain", "set", "demo.example", *words) == 2
    assert told in demo.err


def test_a_signature_that_is_no_text(demo: Desk, tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"\xff\xfe")
    assert demo.run("domain", "set", "demo.example", "--signature", str(path)) == 2
    assert "is not UTF-8" in demo.err
    path.write_text("<html>")
    words = ("--signature", str(path), "--signature-html", str(path))
    assert "signature.html: is put into the body" in demo.fails("domain", "set", "demo.example", *words)
