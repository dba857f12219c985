"""Tests of smart hosts: every way that they can fail, told with advice; no mail leaves unless it was asked for."""

import asyncio
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from postbus.contracts.directory import (
    FindRouteRequest,
    PutUserRequest,
    Route,
    User,
)
from postbus.contracts.domains import Domain, PutDomainRequest
from postbus.contracts.relay_test import RelayStage, RelayTestReply, RelayTestRequest
from postbus.contracts.relays import Relay, RelaySecurity
from postbus.core.clock import SystemClock
from postbus.core.errors import ErrorKind
from postbus.smtp.relay_presets import RELAY_PRESETS, advise
from postbus.testing.admin_directory import MemoryDirectoryAdmin
from postbus.testing.directory_office import ADMIN, refused
from postbus.testing.dns import FakeResolver
from postbus.testing.smtp_peer import DROP, EXTENSIONS, HANG, FakeNetwork, FakePeer
from postbusd.delivery.outbound import relay_testing
from postbusd.delivery.outbound.relay_testing import SINGLE_ADDRESS, RelayTrials
from postbusd.delivery.outbound.transmit import SmtpTransmitter
from postbusd.delivery.settings import DeliverySettings

HOST = "relay.demo.example"
OFFERS = (*EXTENSIONS, "STARTTLS", "AUTH PLAIN LOGIN")
PLAIN = Relay(host=HOST, port=25, security=RelaySecurity.NONE)
LOGIN = Relay(host=HOST, port=587, username="me", password="a relay secret")
ALL = ["address", "connect", "greeting", "tls", "login", "any_sender", "postmaster"]


class Directory(MemoryDirectoryAdmin):
    """With the route of each domain."""

    async def find_route(self, request: FindRouteRequest) -> Route:
        found = self.rows.domains[request.domain].relay
        password = self.relay_passwords.get(request.domain, "")
        relay = found and Relay(
            host=found.host, port=found.port, security=found.security, username=found.username, password=password
        )
        return Route(relay=relay, signing_domain=request.domain)


class Trial:
    """A domain with a relay, and the peer that it leads to."""

    def __init__(self, peer: FakePeer | str, *, address: str = "8.0.0.1", egress_allow: tuple[str, ...] = ()) -> None:
        self.directory = Directory()
        self.peer = peer
        self.network = FakeNetwork({address: peer})
        dns = FakeResolver().add_address(HOST, address)
        settings = DeliverySettings(egress_allow=egress_allow)
        transmitter = SmtpTransmitter(
            resolver=dns,
            settings=settings,
            clock=SystemClock(),
            mail_host="mail.demo.example",
            registry=CollectorRegistry(),
            connector=self.network,
        )
        self.trials = RelayTrials(
            directory=self.directory,
            router=transmitter.router,
            opener=transmitter.opener,
            clock=SystemClock(),
            egress_allow=settings.egress_networks(),
        )

    async def put(self, relay: Relay | None) -> None:
        domain = Domain(name="demo.example", relay=relay)
        await self.directory.put_domain(PutDomainRequest(domain=domain, actor=ADMIN))

    async def test(self, relay: Relay | None = None, **fields: Any) -> RelayTestReply:
        request = RelayTestRequest(domain="demo.example", relay=relay, **{"actor": ADMIN, **fields})
        try:
            return await self.trials.test_relay(request)
        finally:
            assert self.network.open == 0


def stages(reply: RelayTestReply) -> list[str]:
    return [step.stage.value for step in reply.steps]


async def test_a_good_relay_is_gone_through_and_sends_nothing() -> None:
    peer = FakePeer(extensions=OFFERS, valid_for=HOST)
    trial = Trial(peer)
    await trial.put(LOGIN)
    reply = await trial.test()
    assert stages(reply) == ALL
    assert all(step.ok and not step.advice for step in reply.steps), reply
    assert (reply.host, reply.port, reply.sent, peer.taken) == (HOST, 587, 0, [])
    senders = [line for line in peer.heard if line.startswith("MAIL")]
    assert senders[0].startswith("MAIL FROM:<postbus-test-")
    assert "@demo.example>" in senders[0]
    assert senders[1].startswith("MAIL FROM:<postmaster@demo.example>")
    assert [line for line in peer.heard if line.startswith("RCPT")] == ["RCPT TO:<postmaster@demo.example>"] * 2
    assert "DATA" not in peer.heard
    assert "a relay secret" not in repr(reply)


async def test_with_a_recipient_both_senders_send() -> None:
    peer = FakePeer()
    trial = Trial(peer)
    await trial.put(PLAIN)
    reply = await trial.test(recipient="friend@example.org")
    assert (stages(reply), reply.sent) == (["address", "connect", "greeting", "any_sender", "postmaster"], 2)
    assert [taken.recipients for taken in peer.taken] == [("<friend@example.org>",)] * 2
    assert b"\r\nAuto-Submitted: auto-generated\r\n" in peer.taken[0].content


@pytest.mark.parametrize(
    ("rules", "oks", "advice"),
    [
        ({"MAIL FROM:<postbus": "550 5.7.1 not yours"}, (False, True), SINGLE_ADDRESS),
        ({"MAIL FROM:<postmaster": "550 5.7.1 not yours"}, (True, False), SINGLE_ADDRESS),
        (
            {"MAIL": "550 The from address does not match a verified Sender Identity."},
            (False, False),
            "SendGrid knows a single sender at most: authenticate the whole domain.",
        ),
        (
            {"RCPT": "550 5.7.64 TenantAttribution; Relay Access Denied"},
            (False, False),
            "Microsoft 365 has no connector",
        ),
        ({".": "554 Message rejected: Email address is not verified."}, (False, False), "SES does not know the sender"),
        ({"DATA": "554 5.7.1 no"}, (False, False), SINGLE_ADDRESS),
    ],
)
async def test_a_relay_that_takes_not_every_sender_is_found(
    rules: dict[str, str], oks: tuple[bool, bool], advice: str
) -> None:
    trial = Trial(FakePeer(rules=rules))
    await trial.put(PLAIN)
    reply = await trial.test(recipient="friend@example.org" if {".", "DATA"} & set(rules) else "")
    assert tuple(step.ok for step in reply.steps[-2:]) == oks
    assert reply.sent == 0
    assert all(step.advice.startswith(advice) for step in reply.steps if not step.ok)


@pytest.mark.parametrize(
    ("peer", "relay", "failed", "said"),
    [
        (
            "connection refused",
            LOGIN,
            "connect",
            "no connection to relay.demo.example[8.0.0.1]:587: conn",
        ),
        (FakePeer(rules={"(connect)": "554 5.7.1 go away"}), LOGIN, "greeting", "554 5.7.1 go away"),
        (FakePeer(rules={"(connect)": DROP}), LOGIN, "greeting", "lost the connection"),
        (FakePeer(rules={"(connect)": "SSH-2.0-OpenSSH_9.2"}), LOGIN, "greeting", "relay.demo.example"),
        (FakePeer(), LOGIN, "tls", "relay.demo.example[8.0.0.1]:587 offers no STARTTLS"),
        (FakePeer(extensions=OFFERS, handshake="wrong version"), LOGIN, "tls", "no TLS with"),
        (FakePeer(extensions=OFFERS, valid_for="other.example"), LOGIN, "tls", "no TLS with"),
        (
            FakePeer(extensions=OFFERS, valid_for=HOST, rules={"AUTH": "535 5.7.8 Username and Password not accepted"}),
            LOGIN,
            "login",
            "535 5.7.8",
        ),
        (FakePeer(extensions=(*EXTENSIONS, "STARTTLS"), valid_for=HOST), LOGIN, "login", "relay.demo.example"),
        (FakePeer(rules={"MAIL": DROP}), PLAIN, "any_sender", "lost the connection"),
        (FakePeer(rules={"MAIL FROM:<postmaster": "421 4.3.2 bye"}), PLAIN, "postmaster", "421 4.3.2 bye"),
    ],
)
async def test_what_fails_is_told_and_ends_the_test(peer: FakePeer | str, relay: Relay, failed: str, said: str) -> None:
    trial = Trial(peer)
    await trial.put(relay)
    reply = await trial.test()
    last = reply.steps[-1]
    assert (last.stage.value, last.ok) == (failed, False)
    assert last.reply.startswith(said)
    assert all(step.ok for step in reply.steps[:-1])


async def test_a_host_without_an_address_is_told() -> None:
    trial = Trial("unused")
    await trial.put(Relay(host="absent.demo.example", port=25, security=RelaySecurity.NONE))
    (step,) = (await trial.test()).steps
    assert (step.stage, step.ok, step.reply) == (
        RelayStage.ADDRESS,
        False,
        "smart host absent.demo.example has no address",
    )


@pytest.mark.parametrize(
    ("peer", "stage"),
    [
        (HANG, "connect"),
        (FakePeer(rules={"(connect)": HANG}), "greeting"),
        (FakePeer(rules={"RCPT": HANG}), "any_sender"),
    ],
)
async def test_silence_has_an_end(peer: FakePeer | str, stage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay_testing, "RELAY_TEST_SECONDS", 0.2)
    trial = Trial(peer)
    await trial.put(PLAIN)
    last = (await trial.test()).steps[-1]
    assert (last.stage.value, last.ok) == (stage, False)
    assert last.reply.startswith("no answer within")


async def test_a_relay_can_be_tried_before_it_is_saved() -> None:
    peer = FakePeer(extensions=OFFERS, valid_for=HOST)
    trial = Trial(peer)
    await trial.put(None)
    with refused(ErrorKind.NOT_FOUND, "relay: demo.example has none"):
        await trial.test()
    with refused(ErrorKind.INVALID, "relay.password"):
        await trial.test(Relay(host=HOST, username="me"))
    with refused(ErrorKind.INVALID, "relay.security"):
        await trial.test(Relay(host=HOST, username="me", password="x", security=RelaySecurity.NONE))
    with refused(ErrorKind.INVALID, "recipient"):
        await trial.test(LOGIN, recipient="nobody")
    assert stages(await trial.test(LOGIN)) == ALL
    await trial.put(LOGIN)
    assert stages(await trial.test(Relay(host=HOST, port=2587, username="me"))) == ALL
    assert trial.network.tried[-1] == ("8.0.0.1", 2587)


async def test_one_test_of_a_domain_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay_testing, "RELAY_TEST_SECONDS", 0.2)
    trial = Trial(HANG)
    await trial.put(PLAIN)
    first = asyncio.create_task(trial.test())
    await asyncio.sleep(0.05)
    with refused(ErrorKind.CONFLICT, "the relay of demo.example is being tested"):
        await trial.trials.test_relay(RelayTestRequest(domain="demo.example", actor=ADMIN))
    await first
    await trial.test()


async def test_a_domain_admin_tests_own_domains_and_no_network_inside() -> None:
    inside = Trial(FakePeer(), address="10.0.0.1")
    await inside.put(PLAIN)
    for user in (User(username="ann", admin_of=("demo.example",)), User(username="pat")):
        await inside.directory.put_user(PutUserRequest(user=user, actor=ADMIN))
    with refused(ErrorKind.FORBIDDEN, ""):
        await inside.test(actor="pat")
    (step,) = (await inside.test(actor="ann")).steps
    assert (step.ok, inside.network.tried) == (False, [])
    assert "private address" in step.reply
    assert (await inside.test()).steps[-1].ok
    allowed = Trial(FakePeer(), address="10.0.0.1", egress_allow=("10.0.0.0/8",))
    await allowed.put(PLAIN)
    await allowed.directory.put_user(PutUserRequest(user=User(username="ann", admin_of=("demo.example",)), actor=ADMIN))
    assert (await allowed.test(actor="ann")).steps[-1].ok


def test_presets_are_whole() -> None:
    assert [preset.name for preset in RELAY_PRESETS] == [
        "ses",
        "sendgrid",
        "postmark",
        "mailgun",
        "google",
        "office365",
    ]
    for preset in RELAY_PRESETS:
        assert preset.steps
        assert "{" not in preset.host_for("example.org")
    hosts = {preset.name: preset.host_for("mail.example.org") for preset in RELAY_PRESETS}
    assert hosts["office365"] == "mail-example-org.mail.protection.outlook.com"
    assert RELAY_PRESETS[0].host_for("x.org", "eu-west-3") == "email-smtp.eu-west-3.amazonaws.com"
    assert [RELAY_PRESETS[3].host_for("x.org", region) for region in ("", "eu.")] == [
        "smtp.mailgun.org",
        "smtp.eu.mailgun.org",
    ]


@pytest.mark.parametrize(
    ("reply", "word"),
    [
        ("554 Message rejected: Email address is not verified. The following identities failed the check", "SES"),
        ("554 Access denied: User `arn:aws:iam::1:user/x' is not authorized to perform `ses:SendRawEmail'", "IAM"),
        ("535 Authentication Credentials Invalid", "SES"),
        ("454 Throttling failure: Daily message quota exceeded.", "limit"),
        ("534-5.7.14 Please log in via your web browser and then try again.", "app password"),
        ("534-5.7.9 Application-specific password required.", "app password"),
        ("535-5.7.8 Username and Password not accepted.", "app password"),
        ("550-5.7.1 Invalid credentials for relay [192.0.2.1].", "Admin"),
        ("550 The from address does not match a verified Sender Identity.", "SendGrid"),
        ("451 Authentication failed: Maximum credits exceeded", "SendGrid"),
        ("554 Sandbox subdomains are for test purposes only.", "Mailgun"),
        ("550 5.7.64 TenantAttribution; Relay Access Denied", "connector"),
        ("535 5.7.139 Authentication unsuccessful, SmtpClientAuthentication is disabled for the Tenant.", "connector"),
        ("535 5.7.8 bad", "wrong"),
        ("no TLS with x[1.2.3.4]:587: certificate is not valid: self-signed", "RELAY_CA_FILE"),
        ("x[1.2.3.4]:465 offers no STARTTLS", "465"),
        ("no connection to x[1.2.3.4]:25: out of time", "port 25"),
        ("550 5.1.1 no such user", ""),
        ("", ""),
    ],
)
def test_known_refusals_have_advice(reply: str, word: str) -> None:
    assert bool(advise(reply)) is bool(word)
    assert word in advise(reply)
