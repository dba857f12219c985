"""The transmitter on mail servers in memory: every message is reported once, whatever the servers do."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
import pytest
from prometheus_client import CollectorRegistry

from postbus.contracts.relays import Relay, RelaySecurity
from postbus.core.clock import SystemClock
from postbus.core.errors import ErrorKind, MailError
from postbus.core.ids import QueueId
from postbus.testing.directory import ManualClock
from postbus.testing.dns import FakeResolver
from postbus.testing.smtp_peer import DROP, EXTENSIONS, FakeNetwork, FakePeer
from postbusd.delivery.outbound.transmit import BATCH_SECONDS, SmtpTransmitter
from postbusd.delivery.outbound.values import (
    NextHop,
    Outcome,
    OutgoingMessage,
    OutgoingRecipient,
    RecipientResult,
)
from postbusd.delivery.settings import DeliverySettings

PEER = NextHop(domain="peer.example")
RELAY = Relay(host="relay.demo.example", username="ann", password="secret")
CONTENT = b"Subject: hello\r\n\r\n.dots\r\n"
WITH_TLS = (*EXTENSIONS, "STARTTLS")


class Trial:
    """A transmitter, the servers it can reach, and what it reported."""

    def __init__(self, *peers: FakePeer | str, mail_host: str = "mail.demo.example") -> None:
        names = [f"mx{number}.peer.example" for number in range(1, len(peers) + 1)]
        addresses = [f"8.0.0.{number}" for number in range(1, len(peers) + 1)]
        self.dns = FakeResolver().add_mx("peer.example", *((number, name) for number, name in enumerate(names)))
        for name, address in zip(names, addresses, strict=True):
            self.dns.add_address(name, address)
        self.dns.add_address("relay.demo.example", *addresses)
        self.network = FakeNetwork(dict(zip(addresses, peers, strict=True)))
        self.transmitter = SmtpTransmitter(
            resolver=self.dns,
            settings=DeliverySettings(),
            clock=SystemClock(),
            mail_host=mail_host,
            registry=CollectorRegistry(),
            connector=self.network,
        )
        self.loads: list[str] = []
        self.reports: list[tuple[str, tuple[RecipientResult, ...]]] = []
        self.contents: Mapping[str, bytes | Exception] = {}
        self.lease_ends_after = 1000

    async def send(self, *messages: OutgoingMessage, to: NextHop = PEER) -> list[str]:
        """`queue_id address outcome status` of every recipient."""
        await self.transmitter.transmit(to, messages, self._load, self._report)
        assert self.network.open == 0
        return [
            f"{queue_id} {result.address.partition('@')[0]} {result.outcome.value} {result.status}"
            for queue_id, results in self.reports
            for result in results
        ]

    async def send_one(self, message: OutgoingMessage, to: NextHop = PEER) -> RecipientResult:
        await self.send(message, to=to)
        ((_, (result,)),) = self.reports
        return result

    async def _load(self, message: OutgoingMessage) -> bytes:
        self.loads.append(message.queue_id)
        content = self.contents.get(message.queue_id, CONTENT)
        if isinstance(content, Exception):
            raise content
        return content

    async def _report(self, message: OutgoingMessage, results: Sequence[RecipientResult]) -> bool:
        assert [result.address for result in results] == [recipient.address for recipient in message.recipients]
        self.reports.append((message.queue_id, tuple(results)))
        return len(self.reports) < self.lease_ends_after


def make_message(queue_id: str = "q1", *names: str, reverse_path: str = "ann@demo.example") -> OutgoingMessage:
    return OutgoingMessage(
        queue_id=QueueId(queue_id),
        reverse_path=reverse_path,
        recipients=tuple(OutgoingRecipient(address=f"{name}@peer.example") for name in names or ("bob",)),
        octets=len(CONTENT),
    )


async def test_a_batch_goes_over_one_connection() -> None:
    peer = FakePeer()
    trial = Trial(peer)
    told = await trial.send(make_message("q1"), make_message("q2", "bob", "eve"), make_message("q3", reverse_path=""))
    assert told == [f"{who} sent 2.0.0" for who in ("q1 bob", "q2 bob", "q2 eve", "q3 bob")]
    assert peer.heard[0] == "EHLO mail.demo.example"
    assert peer.heard[1:4] == ["MAIL FROM:<ann@demo.example> SIZE=25", "RCPT TO:<bob@peer.example>", "DATA"]
    assert peer.heard[-3:] == ["RCPT TO:<bob@peer.example>", "DATA", "QUIT"]
    assert "RSET" not in peer.heard
    assert peer.connections == 1
    assert [taken.content for taken in peer.taken] == [CONTENT] * 3
    assert trial.loads == ["q1", "q2", "q3"]


async def test_a_result_says_who_spoke() -> None:
    result = await Trial(FakePeer()).send_one(make_message())
    assert result == RecipientResult(
        address="bob@peer.example",
        outcome=Outcome.SENT,
        reply="250 2.0.0 taken",
        status="2.0.0",
        remote_host="mx1.peer.example",
        remote_address="8.0.0.1",
        is_reply=True,
        dsn_offered=True,
    )


async def test_recipients_are_judged_one_by_one() -> None:
    rules = {
        "RCPT TO:<eve@": "550-5.1.1 no such\r\n550 5.1.1 user",
        "RCPT TO:<joe@": "450 4.2.1 later",
        "RCPT TO:<sue@": "551 gone",
    }
    for extensions in (EXTENSIONS, ("SIZE",)):
        peer = FakePeer(rules=rules, extensions=extensions)
        trial = Trial(peer)
        assert await trial.send(make_message("q1", "bob", "eve", "joe", "sue")) == [
            "q1 bob sent 2.0.0", "q1 eve failed 5.1.1", "q1 joe deferred 4.2.1", "q1 sue failed 5.0.0",
        ]  # fmt: skip
        assert trial.reports[0][1][1].reply == "550 5.1.1 no such user"
        assert peer.taken[0].recipients == ("<bob@peer.example>",)


@pytest.mark.parametrize("data", ["354 go on", "554 5.5.1 no valid recipients"])
@pytest.mark.parametrize("extensions", [EXTENSIONS, ("SIZE",)])
async def test_nobody_accepted(data: str, extensions: Sequence[str]) -> None:
    peer = FakePeer(rules={"RCPT TO:<eve@": "550 5.1.1 no", "DATA": data}, extensions=extensions)
    trial = Trial(peer)
    peer_told = await trial.send(make_message("q1", "eve"), make_message("q2", "eve"))
    assert peer_told == ["q1 eve failed 5.1.1", "q2 eve failed 5.1.1"]
    assert [taken.content for taken in peer.taken] == (
        [b"", b""] if "PIPELINING" in extensions and data[0] == "3" else []
    )
    assert peer.connections == 1


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        ({"MAIL": "550 5.7.1 not you"}, "failed 5.7.1"),
        ({"MAIL": "451 4.7.1 not now"}, "deferred 4.7.1"),
        ({"MAIL": "550 5.7.1 not you", "RCPT": "503 5.5.1 MAIL first", "DATA": "503 5.5.1 MAIL first"}, "failed 5.7.1"),
        ({"DATA": "554 5.6.0 nothing"}, "failed 5.6.0"),
        ({"DATA": "451 4.3.0 not now"}, "deferred 4.3.0"),
        ({".": "554 5.7.1 spam"}, "failed 5.7.1"),
        ({".": "452 4.3.1 full"}, "deferred 4.3.1"),
        ({"RCPT": "552 5.2.2 full"}, "failed 5.2.2"),
        ({"RCPT": "452 4.5.3 too many"}, "deferred 4.5.3"),
    ],
)
@pytest.mark.parametrize("extensions", [EXTENSIONS, ("SIZE",)])
async def test_refusals_at_every_step(rules: Mapping[str, str], expected: str, extensions: Sequence[str]) -> None:
    peer = FakePeer(rules=rules, extensions=extensions)
    assert await Trial(peer).send(make_message("q1"), make_message("q2")) == [
        f"q1 bob {expected}",
        f"q2 bob {expected}",
    ]
    assert peer.connections == 1


async def test_too_many_recipients_go_again_in_the_same_session() -> None:
    for reply in ("452 4.5.3 too many", "552 too many"):
        rules = {"RCPT TO:<c@": [reply, "250 ok"], "RCPT TO:<d@": [reply, reply, "250 ok"]}
        peer = FakePeer(rules=rules)
        told = await Trial(peer).send(make_message("q1", "a", "b", "c", "d"))
        assert told == [f"q1 {name} sent 2.0.0" for name in "abcd"]
        assert [len(taken.recipients) for taken in peer.taken] == [2, 1, 1]
        assert peer.connections == 1


async def test_a_full_mailbox_is_not_too_many() -> None:
    peer = FakePeer(rules={"RCPT TO:<b@": "552 5.2.2 mailbox full"})
    assert await Trial(peer).send(make_message("q1", "a", "b")) == ["q1 a sent 2.0.0", "q1 b failed 5.2.2"]


async def test_no_more_than_a_hundred_recipients_in_a_transaction() -> None:
    peer = FakePeer()
    trial = Trial(peer)
    told = await trial.send(make_message("q1", *(f"u{number}" for number in range(250))))
    assert len(told) == 250
    assert [len(taken.recipients) for taken in peer.taken] == [100, 100, 50]
    assert len(trial.reports) == len(trial.loads) == 1


async def test_parameters_are_given_where_they_are_offered() -> None:
    recipient = OutgoingRecipient(
        address="bob@peer.example", notify=("SUCCESS", "DELAY"), orcpt="rfc822;robert@peer.example"
    )
    message = msgspec.structs.replace(make_message(), recipients=(recipient,), ret="HDRS", envid="abc")
    peer = FakePeer()
    trial = Trial(peer)
    trial.contents = {"q1": "Subject: x\r\n\r\ngrün\r\n".encode()}
    await trial.send(message)
    assert peer.heard[1] == "MAIL FROM:<ann@demo.example> SIZE=21 BODY=8BITMIME RET=HDRS ENVID=abc"
    assert peer.heard[2] == "RCPT TO:<bob@peer.example> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;robert@peer.example"
    bare = FakePeer(extensions=("PIPELINING",))
    result = await Trial(bare).send_one(message)
    assert bare.heard[1:3] == ["MAIL FROM:<ann@demo.example>", "RCPT TO:<bob@peer.example>"]
    assert not result.dsn_offered


@pytest.mark.parametrize(
    ("extensions", "content", "expected"),
    [
        (("SIZE",), "Subject: x\r\n\r\ngrün\r\n", "failed 5.6.3"),
        (("SIZE 25", "8BITMIME"), "Subject: x\r\n\r\nbigger\r\n123456\r\n", "failed 5.3.4"),
        (("8BITMIME",), "Subject: grün\r\n\r\n", "failed 5.6.7"),
        (("8BITMIME",), "Subject: x\r\n\r\ngrün\r\n", "sent 2.0.0"),
        (("8BITMIME", "SMTPUTF8"), "Subject: grün\r\n\r\n", "sent 2.0.0"),
        (EXTENSIONS, "Subject: x\r\n\r\nbare\nline\r\n.\n", "failed 5.6.0"),
        (EXTENSIONS, "Subject: x\r\n\r\nbare\rline\r\n", "failed 5.6.0"),
    ],
)
async def test_what_the_remote_can_not_take_is_a_failure(
    extensions: Sequence[str], content: str, expected: str
) -> None:
    peer = FakePeer(extensions=extensions)
    trial = Trial(peer)
    trial.contents = {"q1": content.encode()}
    message = msgspec.structs.replace(make_message(), smtputf8=True)
    assert await trial.send(message, make_message("q2")) == [f"q1 bob {expected}", "q2 bob sent 2.0.0"]


async def test_8_bit_headers_of_old_programs_go_as_8bitmime() -> None:
    peer = FakePeer(extensions=("8BITMIME",))
    trial = Trial(peer)
    trial.contents = {"q1": b"Subject: gr\xfcn\r\n\r\n"}
    assert await trial.send(make_message()) == ["q1 bob sent 2.0.0"]
    assert peer.heard[1] == "MAIL FROM:<ann@demo.example> BODY=8BITMIME"


async def test_only_recipients_that_need_smtputf8_fail_for_want_of_it() -> None:
    peer = FakePeer(extensions=("8BITMIME",))
    assert await Trial(peer).send(make_message("q1", "jörg", "bob")) == ["q1 jörg failed 5.6.7", "q1 bob sent 2.0.0"]
    able = FakePeer()
    assert await Trial(able).send(make_message("q1", "jörg")) == ["q1 jörg sent 2.0.0"]
    assert able.heard[1] == "MAIL FROM:<ann@demo.example> SIZE=25 SMTPUTF8"
    plain = FakePeer(extensions=("8BITMIME",))
    assert await Trial(plain).send(make_message(reverse_path="jörg@demo.example")) == ["q1 bob failed 5.6.7"]
    assert not any(line.startswith("MAIL") for line in plain.heard)


async def test_malformed_addresses_never_reach_the_wire() -> None:
    peer = FakePeer()
    told = await Trial(peer).send(make_message("q1", "a>\r\nQUIT", "bob"), make_message("q2", reverse_path="a b@c"))
    assert [line.rpartition(" ")[2] for line in told] == ["5.1.3", "2.0.0", "5.1.7"]


async def test_large_messages_go_in_pieces() -> None:
    peer = FakePeer(extensions=("PIPELINING",))
    trial = Trial(peer)
    content = b"Subject: large\r\n\r\n" + b".line\r\n..\r\n" * 100_000
    trial.contents = {"q1": content}
    assert await trial.send(make_message()) == ["q1 bob sent 2.0.0"]
    assert peer.taken[0].content == content


async def test_a_message_that_can_not_be_read_waits_and_the_next_goes() -> None:
    trial = Trial(FakePeer())
    trial.contents = {"q1": MailError(ErrorKind.UNAVAILABLE, "blobs: away"), "q2": RuntimeError("a bug")}
    told = await trial.send(make_message("q1"), make_message("q2"), make_message("q3"))
    assert told == ["q1 bob deferred 4.3.0", "q2 bob deferred 4.3.0", "q3 bob sent 2.0.0"]
    assert "a bug" not in trial.reports[1][1][0].reply


async def test_a_lost_lease_ends_the_batch() -> None:
    peer = FakePeer()
    trial = Trial(peer)
    trial.lease_ends_after = 2
    await trial.send(*(make_message(f"q{number}") for number in range(5)))
    assert len(peer.taken) == len(trial.loads) == 2


async def test_what_report_raises_comes_out_and_nothing_stays_open() -> None:
    trial = Trial(FakePeer())

    async def fail(message: OutgoingMessage, results: Sequence[RecipientResult]) -> bool:
        raise MailError(ErrorKind.UNAVAILABLE, "database: away")

    with pytest.raises(MailError):
        await trial.transmitter.transmit(PEER, [make_message()], trial._load, fail)
    assert trial.network.open == 0


async def test_no_road_is_reported_for_every_message() -> None:
    trial = Trial(FakePeer())
    trial.dns.fail("peer.example")
    assert await trial.send(make_message("q1"), make_message("q2")) == [
        "q1 bob deferred 4.4.3",
        "q2 bob deferred 4.4.3",
    ]
    assert trial.loads == []


async def test_a_relay_takes_everything() -> None:
    peer = FakePeer("relay.demo.example", extensions=(*WITH_TLS, "AUTH LOGIN PLAIN"), valid_for="relay.demo.example")
    trial = Trial(peer)
    result = await trial.send_one(make_message(), to=NextHop(domain="peer.example", relay=RELAY))
    assert result.outcome is Outcome.SENT
    assert result.tls == "TLSv1.3 with cipher FAKE"
    assert trial.network.tried == [("8.0.0.1", 587)]
    assert peer.heard[:4] == [
        "EHLO mail.demo.example",
        "STARTTLS",
        "EHLO mail.demo.example",
        "AUTH PLAIN AGFubgBzZWNyZXQ=",
    ]


async def test_a_relay_may_want_login_instead_of_plain() -> None:
    rules = {"AUTH": "334 VXNlcm5hbWU6", "YW5u": "334 UGFzc3dvcmQ6", "c2VjcmV0": "235 2.7.0 welcome"}
    extensions = ("STARTTLS", "AUTH LOGIN")
    peer = FakePeer(extensions=extensions, rules=rules, valid_for="relay.demo.example")
    assert await Trial(peer).send(make_message(), to=NextHop(domain="x", relay=RELAY)) == ["q1 bob sent 2.0.0"]


async def test_implicit_tls_comes_before_the_banner() -> None:
    relay = msgspec.structs.replace(RELAY, security=RelaySecurity.TLS, username="", port=465)
    peer = FakePeer(valid_for="relay.demo.example")
    trial = Trial(peer)
    await trial.send(make_message(), to=NextHop(domain="x", relay=relay))
    assert peer.heard[0] == "EHLO mail.demo.example"
    assert peer.taken[0].tls


AUTH_TLS = ("STARTTLS", "AUTH PLAIN")


@pytest.mark.parametrize(
    ("peer", "security", "status"),
    [
        (FakePeer(extensions=("AUTH PLAIN",)), RelaySecurity.STARTTLS, "4.7.4"),
        (FakePeer(extensions=AUTH_TLS, valid_for="other.example"), RelaySecurity.STARTTLS, "4.7.5"),
        (FakePeer(extensions=AUTH_TLS, handshake="no shared cipher"), RelaySecurity.STARTTLS, "4.7.5"),
        (FakePeer(extensions=AUTH_TLS, rules={"STARTTLS": "454 4.7.0 not now"}), RelaySecurity.STARTTLS, "4.7.0"),
        (FakePeer(valid_for="other.example"), RelaySecurity.TLS, "4.7.5"),
        (FakePeer(extensions=("STARTTLS",), valid_for="relay.demo.example"), RelaySecurity.STARTTLS, "4.7.4"),
        (
            FakePeer(extensions=AUTH_TLS, valid_for="relay.demo.example", rules={"AUTH": "535 5.7.8 wrong"}),
            RelaySecurity.STARTTLS,
            "4.7.8",
        ),
        (
            FakePeer(extensions=AUTH_TLS, valid_for="relay.demo.example", rules={"AUTH": "334 more"}),
            RelaySecurity.STARTTLS,
            "4.7.0",
        ),
        (FakePeer(extensions=AUTH_TLS), RelaySecurity.NONE, "4.7.4"),
        (FakePeer(rules={"(connect)": "554 5.3.2 no service"}), RelaySecurity.NONE, "4.7.4"),
        ("connection refused", RelaySecurity.STARTTLS, "4.4.1"),
    ],
)
async def test_a_relay_that_is_of_no_use_delays_and_is_blamed(
    peer: FakePeer | str, security: RelaySecurity, status: str
) -> None:
    relay = msgspec.structs.replace(RELAY, security=security)
    result = await Trial(peer).send_one(make_message(), to=NextHop(domain="x", relay=relay))
    assert (result.outcome, result.status, result.relay_failed) == (Outcome.DEFERRED, status, True)
    if isinstance(peer, FakePeer):
        assert peer.taken == []
        assert not any(line.startswith("AUTH") for line in peer.heard) or status in {"4.7.8", "4.7.0"}


async def test_a_relay_that_wants_a_login_is_blamed_not_the_message() -> None:
    relay = Relay(host="relay.demo.example", security=RelaySecurity.NONE)
    peer = FakePeer(rules={"MAIL": "530 5.7.0 authentication required"}, extensions=("PIPELINING",))
    result = await Trial(peer).send_one(make_message(), to=NextHop(domain="x", relay=relay))
    assert (result.outcome, result.status, result.relay_failed) == (Outcome.DEFERRED, "4.7.0", True)
    assert result.reply == "530 5.7.0 authentication required"


async def test_tls_to_an_mx_is_taken_where_it_is_offered_and_proves_nothing() -> None:
    peer = FakePeer(extensions=WITH_TLS, valid_for="other.example")
    result = await Trial(peer).send_one(make_message())
    assert result.tls
    assert peer.heard[:3] == ["EHLO mail.demo.example", "STARTTLS", "EHLO mail.demo.example"]


@pytest.mark.parametrize("rules", [{}, {"EHLO": ["250-x\r\n250 STARTTLS", DROP, "250 x"]}])
async def test_an_mx_whose_tls_fails_gets_plain_text_on_a_new_connection(rules: Mapping[str, str]) -> None:
    peer = FakePeer(extensions=WITH_TLS, handshake="" if rules else "no shared cipher", rules=rules)
    result = await Trial(peer).send_one(make_message())
    assert (result.outcome, result.tls) == (Outcome.SENT, "")
    assert peer.connections == 2
    assert peer.heard.count("STARTTLS") == 1


async def test_an_mx_that_refuses_starttls_gets_plain_text_on_the_same_connection() -> None:
    peer = FakePeer(extensions=WITH_TLS, rules={"STARTTLS": "454 4.7.0 no certificate today"})
    assert (await Trial(peer).send_one(make_message())).outcome is Outcome.SENT
    assert peer.connections == 1


def test_a_ca_file_that_can_not_be_read_is_told_at_the_start(tmp_path: Path) -> None:
    wrong = tmp_path / "ca.pem"
    wrong.write_text("no certificate")
    for path in (wrong, tmp_path / "absent.pem"):
        with pytest.raises(MailError, match="relay_ca_file") as caught:
            SmtpTransmitter(
                resolver=FakeResolver(),
                settings=DeliverySettings(relay_ca_file=str(path)),
                clock=SystemClock(),
                mail_host="mail.demo.example",
                registry=CollectorRegistry(),
            )
        assert caught.value.kind is ErrorKind.INVALID


async def test_a_host_that_takes_its_time_does_not_keep_a_connection_for_ever() -> None:
    """Fifty messages at five minutes each would be four hours: what is left has its turn later."""
    trial = Trial(FakePeer())
    clock = ManualClock()
    trial.transmitter = SmtpTransmitter(
        resolver=trial.dns,
        settings=DeliverySettings(),
        clock=clock,
        mail_host="mail.demo.example",
        registry=CollectorRegistry(),
        connector=trial.network,
    )

    async def report(message: OutgoingMessage, results: Sequence[RecipientResult]) -> bool:
        clock.advance(BATCH_SECONDS / 2)
        return await trial._report(message, results)

    messages = [make_message(f"Q{number}") for number in range(50)]
    await trial.transmitter.transmit(PEER, messages, trial._load, report)
    assert [queue_id for queue_id, _ in trial.reports] == ["Q0", "Q1", "Q2"]
    assert trial.network.open == 0
