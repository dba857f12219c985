"""What ends sessions: refusing hosts, lost connections, silence, nonsense, cancellation. Nothing is lost or doubled."""

import asyncio
import logging
from collections.abc import Mapping, Sequence

import pytest
from prometheus_client import CollectorRegistry

from postbus.contracts.relays import Relay, RelaySecurity
from postbus.core.clock import SystemClock
from postbus.core.ids import QueueId
from postbus.smtp.commands import Verb
from postbus.testing.dns import FakeResolver
from postbus.testing.smtp_peer import DROP, HANG, FakeNetwork, FakePeer
from postbusd.delivery.outbound import transmit_dialogue, transmit_opening
from postbusd.delivery.outbound.transmit import SmtpTransmitter
from postbusd.delivery.outbound.values import NextHop, OutgoingMessage, OutgoingRecipient, RecipientResult
from postbusd.delivery.settings import DeliverySettings

PEER = NextHop(domain="peer.example")
CONTENT = b"Subject: hello\r\n\r\n"


class Trial:
    """Servers of falling preference, and what was reported."""

    def __init__(self, *peers: FakePeer | str) -> None:
        self.registry = CollectorRegistry()
        dns = FakeResolver()
        for number in range(1, len(peers) + 1):
            dns.add_mx("peer.example", (number, f"mx{number}.example")).add_address(
                f"mx{number}.example", f"8.0.0.{number}"
            )
            dns.add_address("relay.demo.example", f"8.0.0.{number}")
        self.network = FakeNetwork({f"8.0.0.{number}": peer for number, peer in enumerate(peers, 1)})
        self.transmitter = SmtpTransmitter(
            resolver=dns,
            settings=DeliverySettings(),
            clock=SystemClock(),
            mail_host="mail.demo.example",
            registry=self.registry,
            connector=self.network,
        )
        self.results: list[RecipientResult] = []

    async def send(self, count: int = 1, *names: str, to: NextHop = PEER) -> list[str]:
        """`outcome status host` of every recipient of `count` messages."""
        recipients = tuple(OutgoingRecipient(address=f"{name}@peer.example") for name in names or ("bob",))
        messages = [
            OutgoingMessage(queue_id=QueueId(f"q{number}"), reverse_path="", recipients=recipients, octets=20)
            for number in range(count)
        ]
        try:
            await self.transmitter.transmit(to, messages, self._load, self._report)
        finally:
            assert self.network.open == 0
        assert len(self.results) == count * len(recipients)
        return [
            f"{result.outcome.value} {result.status} {result.remote_host.removesuffix('.example')}".rstrip()
            for result in self.results
        ]

    async def _load(self, _: OutgoingMessage) -> bytes:
        return CONTENT

    async def _report(self, _: OutgoingMessage, results: Sequence[RecipientResult]) -> bool:
        self.results += results
        return True


@pytest.mark.parametrize(
    "first",
    [
        "connection refused",
        FakePeer(rules={"(connect)": "554 5.7.1 go away"}),
        FakePeer(rules={"(connect)": "421 4.3.2 busy"}),
        FakePeer(rules={"(connect)": DROP}),
        FakePeer(rules={"(connect)": "SSH-2.0-OpenSSH_9.2"}),
        FakePeer(rules={"EHLO": "451 4.3.0 not now"}),
        FakePeer(rules={"EHLO": "550 5.7.1 no", "HELO": "550 5.7.1 no"}),
        FakePeer(rules={"MAIL": "421 4.3.2 busy"}),
        FakePeer(rules={"RCPT": DROP}),
    ],
)
async def test_a_host_that_does_not_serve_is_passed_over(first: FakePeer | str) -> None:
    second = FakePeer()
    trial = Trial(first, second)
    assert await trial.send(2) == ["sent 2.0.0 mx2", "sent 2.0.0 mx2"]
    assert len(second.taken) == 2
    assert second.connections == 1


@pytest.mark.parametrize(
    ("peer", "expected"),
    [
        ("connection refused", "deferred 4.4.1"),
        (FakePeer(rules={"(connect)": "554 5.7.1 go away"}), "deferred 4.7.1 mx1"),
        (FakePeer(rules={"EHLO": "550 no", "HELO": "550 no"}), "deferred 4.0.0 mx1"),
        (FakePeer(rules={"(connect)": "nonsense"}), "deferred 4.5.0"),
        (FakePeer(rules={"MAIL": "nonsense"}), "deferred 4.5.0 mx1"),
        (FakePeer(rules={"RCPT": "354 go on"}), "deferred 4.5.0 mx1"),
        (FakePeer(rules={"MAIL": "421 4.3.2 busy"}), "deferred 4.3.2 mx1"),
        (FakePeer(rules={".": "421 4.3.2 busy"}), "deferred 4.3.2 mx1"),
        (FakePeer(rules={".": DROP}), "deferred 4.4.2 mx1"),
        (FakePeer(rules={"DATA": DROP}), "deferred 4.4.2 mx1"),
    ],
)
async def test_the_last_host_is_waited_for(peer: FakePeer | str, expected: str) -> None:
    assert await Trial(peer).send() == [expected]


async def test_what_a_host_said_is_told_rather_than_that_another_is_away() -> None:
    trial = Trial(FakePeer(rules={"(connect)": "554 5.7.1 go away"}), "connection refused")
    assert await trial.send() == ["deferred 4.7.1 mx1"]
    assert trial.results[0].reply == "554 5.7.1 go away"


async def test_a_server_without_ehlo_is_greeted_with_helo() -> None:
    peer = FakePeer(rules={"EHLO": "502 what?"})
    assert await Trial(peer).send(2) == ["sent 2.0.0 mx1"] * 2
    assert peer.heard[:3] == ["EHLO mail.demo.example", "HELO mail.demo.example", "MAIL FROM:<>"]


async def test_a_server_that_allows_few_messages_is_called_again() -> None:
    for end in ("421 4.7.0 too many messages", DROP):
        peer = FakePeer(rules={"MAIL": ["250 ok", "250 ok", end, "250 ok", "250 ok", end, "250 ok"]})
        assert await Trial(peer).send(5) == ["sent 2.0.0 mx1"] * 5
        assert peer.connections == 3
        assert len(peer.taken) == 5


async def test_recipients_that_were_judged_are_not_asked_for_again() -> None:
    rules = {"RCPT TO:<eve@": ["250 ok", "550 5.1.1 no"], "DATA": ["354 go", DROP, "354 go"]}
    peer = FakePeer(rules=rules)
    told = await Trial(peer).send(2, "bob", "eve")
    assert told == ["sent 2.0.0 mx1", "sent 2.0.0 mx1", "sent 2.0.0 mx1", "failed 5.1.1 mx1"]
    assert peer.heard.count("RCPT TO:<eve@peer.example>") == 2


async def test_a_message_whose_dot_was_out_is_never_sent_twice() -> None:
    peer = FakePeer(rules={".": ["250 ok", DROP, "250 ok"]})
    assert await Trial(peer, FakePeer()).send(3) == ["sent 2.0.0 mx1", "deferred 4.4.2 mx1", "sent 2.0.0 mx1"]
    assert len(peer.taken) == 2


async def test_one_message_that_breaks_sessions_does_not_hold_the_others() -> None:
    peer = FakePeer(rules={"DATA": [DROP, "354 go"]})
    assert await Trial(peer).send(3) == ["deferred 4.4.2 mx1", "sent 2.0.0 mx1", "sent 2.0.0 mx1"]


async def test_a_host_that_breaks_every_session_is_left_alone() -> None:
    peer = FakePeer(rules={"MAIL": DROP})
    assert await Trial(peer).send(50) == ["deferred 4.4.2 mx1"] * 50
    assert peer.connections == 2


async def test_hosts_that_are_away_are_tried_once_for_a_batch() -> None:
    trial = Trial(*["connection refused"] * 8)
    assert await trial.send(20) == ["deferred 4.4.1"] * 20
    assert [address for address, _ in trial.network.tried] == [f"8.0.0.{number}" for number in range(1, 6)]


async def test_a_host_that_is_ourselves_is_a_loop() -> None:
    peer = FakePeer("Mail.demo.example")
    assert await Trial(peer, FakePeer()).send() == ["failed 5.4.6 mx1"]
    assert not any(line.startswith("MAIL") for line in peer.heard)
    behind = Trial("connection refused", FakePeer("mail.demo.example"), FakePeer())
    assert await behind.send() == ["deferred 4.4.1"]
    assert len(behind.network.tried) == 2
    relay = NextHop(domain="x", relay=Relay(host="relay.demo.example", security=RelaySecurity.NONE))
    assert await Trial(peer).send(to=relay) == ["deferred 4.4.6 relay.demo"]


SILENT: list[tuple[Mapping[str, str], Verb]] = [
    ({"(connect)": HANG}, Verb.CONNECT),
    ({"EHLO": HANG}, Verb.EHLO),
    ({"MAIL": HANG}, Verb.MAIL),
    ({"RCPT": HANG}, Verb.RCPT),
    ({"DATA": HANG, "MAIL": "250 ok"}, Verb.DATA),
    ({".": HANG}, Verb.END),
    ({"QUIT": HANG}, Verb.QUIT),
    ({"EHLO": "250-x\r\n250 STARTTLS", "STARTTLS": HANG}, Verb.STARTTLS),
]


@pytest.mark.parametrize(("rules", "verb"), SILENT)
async def test_silence_has_an_end(monkeypatch: pytest.MonkeyPatch, rules: Mapping[str, str], verb: Verb) -> None:
    monkeypatch.setitem(transmit_dialogue.WAIT_SECONDS, verb, 0.0)
    expected = "sent 2.0.0 mx1" if verb is Verb.QUIT else "deferred 4.4.2"
    assert (await Trial(FakePeer(rules=rules)).send())[0].startswith(expected)


async def test_a_handshake_that_hangs_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transmit_dialogue, "HANDSHAKE_SECONDS", 0.0)
    assert await Trial(FakePeer(extensions=("STARTTLS",), handshake=HANG)).send() == ["sent 2.0.0 mx1"]


async def test_a_connection_that_does_not_come_about_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transmit_opening, "CONNECT_SECONDS", 0.0)
    assert await Trial(HANG).send() == ["deferred 4.4.1"]


@pytest.mark.parametrize(
    "peer",
    [
        HANG,
        *(FakePeer(rules=rules) for rules, _ in SILENT),
        FakePeer(extensions=("STARTTLS",), handshake=HANG),
    ],
)
async def test_cancellation_leaves_nothing_open(peer: FakePeer | str) -> None:
    trial = Trial(peer)
    task = asyncio.create_task(trial.send())
    for _ in range(30):
        await asyncio.sleep(0)
    assert not task.done()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert trial.network.open == 0
    assert len(asyncio.all_tasks()) == 1


async def test_every_session_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "postbusd.delivery")
    trial = Trial("connection refused", FakePeer())
    await trial.send(3)
    told = [
        (record.message, record.__dict__["remote_host"], record.__dict__["transactions"]) for record in caplog.records
    ]
    assert told == [("delivery.session.failed", "mx1.example", 0), ("delivery.session.ended", "mx2.example", 3)]
    counted = {"outcome": "opened", "to": "mx", "tls": "no"}
    assert trial.registry.get_sample_value("postbus_delivery_sessions_total", counted) == 1
