"""The transmitter against foreign servers: Postfix's smtp-sink with its failures on demand, and a whole Postfix as MX

and as smart host with login.
"""

import asyncio
import contextlib
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
import pytest
import uvloop
from prometheus_client import CollectorRegistry

from postbus.contracts.directory import FindRouteRequest, Route
from postbus.contracts.domains import Domain
from postbus.contracts.relay_test import RelayTestRequest
from postbus.contracts.relays import Relay, RelaySecurity
from postbus.core.clock import SystemClock
from postbus.core.ids import QueueId
from postbus.testing.admin_directory import MemoryDirectoryAdmin
from postbus.testing.dns import FakeResolver
from postbus.testing.installation import short_folder
from postbus.testing.postfix import (
    PrivatePostfix,
    free_port,
    has_private_postfix,
    running_dovecot_auth,
    running_postfix,
    running_sink,
)
from postbusd.delivery.outbound.relay_testing import SINGLE_ADDRESS, RelayTrials
from postbusd.delivery.outbound.transmit import SmtpTransmitter
from postbusd.delivery.outbound.values import (
    NextHop,
    Outcome,
    OutgoingMessage,
    OutgoingRecipient,
    RecipientResult,
)
from postbusd.delivery.settings import DeliverySettings
from postbusd.dns_provisioner.authority import make_authority, make_server_certificate

needs_sink = pytest.mark.skipif(shutil.which("smtp-sink") is None, reason="smtp-sink is not installed")
needs_postfix = pytest.mark.skipif(not has_private_postfix(), reason="postfix is not installed, or this is not root")

PEER = NextHop(domain="peer.example")
RELAY_HOST = "relay.demo.example"
CONTENT = (
    b"From: ann@demo.example\r\nDate: Mon, 2 Nov 2026 10:00:00 +0100\r\nMessage-ID: <1@demo.example>\r\n"
    b"Subject: hello\r\n\r\n.\r\n..dots\r\nlast line\r\n"
)
TRIAL_SECONDS = 60.0


class Sender:
    """A transmitter whose DNS leads peer.example and the smart host to loopback."""

    def __init__(self, port: int, ca_file: str = "") -> None:
        self.port = port
        self.ca_file = ca_file
        self.dns = FakeResolver().add_mx("peer.example", (10, "mx.peer.example"))
        self.dns.add_address("mx.peer.example", "127.0.0.1").add_address(RELAY_HOST, "127.0.0.1")
        self.contents: dict[str, bytes] = {}
        self.registry = CollectorRegistry()

    def send(self, *messages: OutgoingMessage, to: NextHop = PEER, loop: str = "uvloop") -> list[RecipientResult]:
        """What became of every recipient."""
        factory = uvloop.new_event_loop if loop == "uvloop" else asyncio.new_event_loop
        with asyncio.Runner(loop_factory=factory) as runner:
            return runner.run(self._send(messages, to))

    def sessions(self, tls: str) -> float:
        """Sessions opened so far."""
        labels = {"outcome": "opened", "to": "mx", "tls": tls}
        return self.registry.get_sample_value("postbus_delivery_sessions_total", labels) or 0.0

    async def _send(self, messages: Sequence[OutgoingMessage], to: NextHop) -> list[RecipientResult]:
        self.registry = CollectorRegistry()
        transmitter = SmtpTransmitter(
            resolver=self.dns,
            settings=DeliverySettings(mx_port=self.port, egress_allow=("127.0.0.0/8",), relay_ca_file=self.ca_file),
            clock=SystemClock(),
            mail_host="mail.demo.example",
            registry=self.registry,
        )
        found: list[RecipientResult] = []

        async def load(message: OutgoingMessage) -> bytes:
            return self.contents.get(message.queue_id, CONTENT)

        async def report(_: OutgoingMessage, results: Sequence[RecipientResult]) -> bool:
            found.extend(results)
            return True

        async with asyncio.timeout(TRIAL_SECONDS):
            await transmitter.transmit(to, messages, load, report)
        return found


def make_message(queue_id: str = "q1", *addresses: str, notify: tuple[str, ...] = ()) -> OutgoingMessage:
    return OutgoingMessage(
        queue_id=QueueId(queue_id),
        reverse_path="ann@demo.example",
        recipients=tuple(
            OutgoingRecipient(address=address, notify=notify) for address in addresses or ("bob@peer.example",)
        ),
        octets=len(CONTENT),
    )


def told(results: Sequence[RecipientResult]) -> list[str]:
    return [f"{result.outcome.value} {result.status}" for result in results]


@pytest.fixture
def folder() -> Iterator[Path]:
    with short_folder() as path:
        path.mkdir(mode=0o755)
        yield path


# smtp-sink


@needs_sink
@pytest.mark.parametrize("options", [(), ("-p",), ("-e",), ("-E", "-N", "-8")])
def test_the_sink_takes_what_was_sent(folder: Path, options: tuple[str, ...]) -> None:
    folder.chmod(0o777)
    with running_sink(*options, folder=folder) as port:
        results = Sender(port).send(
            *(make_message(f"q{number}", "bob@peer.example", "eve@peer.example") for number in range(3))
        )
    assert told(results) == ["sent 2.0.0"] * 6
    taken = [path.read_bytes() for path in folder.glob("taken.*")]
    assert len(taken) == 3
    for text in taken:
        assert text.count(b"X-Rcpt-Args: <") == 2
        assert text.replace(b"\r\n", b"\n").rstrip().endswith(CONTENT.replace(b"\r\n", b"\n").rstrip())


@needs_sink
@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (("-f", "CONNECT"), "deferred 4.3.0"),
        (("-f", "EHLO,HELO"), "deferred 4.3.0"),
        (("-f", "EHLO"), "sent 2.0.0"),
        (("-f", "MAIL"), "failed 5.3.0"),
        (("-f", "RCPT"), "failed 5.3.0"),
        (("-f", "DATA"), "failed 5.3.0"),
        (("-f", "."), "failed 5.3.0"),
        (("-r", "CONNECT"), "deferred 4.3.0"),
        (("-r", "MAIL"), "deferred 4.3.0"),
        (("-r", "RCPT"), "deferred 4.3.0"),
        (("-r", "DATA"), "deferred 4.3.0"),
        (("-r", "."), "deferred 4.3.0"),
        (("-q", "CONNECT"), "deferred 4.4.2"),
        (("-q", "EHLO"), "deferred 4.4.2"),
        (("-q", "MAIL"), "deferred 4.4.2"),
        (("-q", "RCPT"), "deferred 4.4.2"),
        (("-q", "DATA"), "deferred 4.4.2"),
        (("-q", "."), "deferred 4.4.2"),
        (("-Q", "MAIL"), "deferred 4"),
        (("-Q", "."), "deferred 4"),
        (("-A", "0"), "failed 5.0.0"),
        (("-q", "QUIT"), "sent 2.0.0"),
        (("-B", "550 no enhanced code", "-f", "RCPT"), "failed 5.0.0"),
    ],
)
def test_the_sink_fails_on_demand(options: tuple[str, ...], expected: str) -> None:
    with running_sink(*options) as port:
        results = Sender(port).send(make_message("q1"), make_message("q2"))
    assert len(results) == 2
    assert all(expected in text for text in told(results)), results


@needs_sink
def test_the_sink_takes_no_8_bit_text() -> None:
    with running_sink("-8") as port:
        sender = Sender(port)
        sender.contents["q1"] = "Subject: x\r\n\r\ngrün\r\n".encode()
        assert told(sender.send(make_message("q1"), make_message("q2"))) == ["failed 5.6.3", "sent 2.0.0"]


@needs_sink
def test_a_large_message_to_a_slow_sink() -> None:
    with running_sink("-H", "1") as port:
        sender = Sender(port)
        sender.contents["q1"] = b"Subject: large\r\n\r\n" + b".line of text\r\n" * 1_000_000
        assert told(sender.send(make_message())) == ["sent 2.0.0"]


def test_nobody_listens() -> None:
    (result,) = Sender(free_port()).send(make_message())
    assert (result.outcome, result.status, result.remote_host) == (Outcome.DEFERRED, "4.4.1", "")
    assert "refused" in result.reply


@needs_sink
def test_cancelled_in_the_middle() -> None:
    async def stop_halfway(port: int) -> None:
        async with asyncio.TaskGroup() as group:
            task = group.create_task(Sender(port)._send([make_message()], PEER))
            await asyncio.sleep(0.5)
            assert not task.done()
            task.cancel()
        assert len(asyncio.all_tasks()) == 1

    with running_sink("-w", "30") as port, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(stop_halfway(port))


# Postfix


class Tls(msgspec.Struct, frozen=True):
    """A private CA and a certificate for the smart host's name."""

    ca_file: str
    chain_file: str


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Tls:
    where = tmp_path_factory.mktemp("tls")
    now_ms = SystemClock().now_ms()
    authority = make_authority(RELAY_HOST, now_ms)
    pair = make_server_certificate(authority, (RELAY_HOST,), 30, now_ms)
    (where / "ca.pem").write_bytes(authority.certificate_pem)
    (where / "chain.pem").write_bytes(pair.key_pem + pair.certificate_pem)
    return Tls(str(where / "ca.pem"), str(where / "chain.pem"))


def with_tls(tls: Tls) -> dict[str, str]:
    return {"smtpd_tls_security_level": "may", "smtpd_tls_chain_files": tls.chain_file}


@contextlib.contextmanager
def running_mx(folder: Path, **settings: str) -> Iterator[PrivatePostfix]:
    with running_postfix(folder, {"smtpd_error_sleep_time": "0", **settings}) as postfix:
        yield postfix


@needs_postfix
@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
def test_postfix_as_an_mx_with_tls(folder: Path, tls: Tls, loop: str) -> None:
    with running_mx(folder, **with_tls(tls), smtpd_recipient_limit="2") as postfix:
        sender = Sender(postfix.port)
        addresses = [f"u{number}@peer.example" for number in range(5)]
        results = sender.send(
            make_message("q1", *addresses, "bob@elsewhere.example", notify=("SUCCESS", "FAILURE")),
            make_message("q2"),
            loop=loop,
        )
        assert told(results) == ["sent 2.0.0"] * 5 + ["failed 5.7.1", "sent 2.0.0"]
        assert all(result.tls.startswith("TLSv1.3 with cipher TLS_") for result in results)
        assert results[5].reply == "554 5.7.1 <bob@elsewhere.example>: Recipient address rejected: Access denied"
        assert [result.dsn_offered for result in results] == [True] * 5 + [False, True]
        assert sender.sessions("yes") == 1
        # Six copies, and a DSN for each of the three transactions that wanted one.
        taken = postfix.wait_messages(9)
        assert sum(b"Subject: Successful Mail Delivery Report" in text for text in taken) == 3
        for text in taken:
            if b"\nSubject: hello\n" not in text.partition(b"\n\n")[0]:
                continue
            assert text.endswith(CONTENT.replace(b"\r\n", b"\n"))
            assert b"(using TLSv1.3" in text or b"with ESMTPS id" in text


@needs_postfix
def test_postfix_with_utf8_and_limits(folder: Path) -> None:
    with running_mx(folder, message_size_limit="100000") as postfix:
        sender = Sender(postfix.port)
        sender.contents = {
            "q1": "Subject: grün\r\n\r\nblau\r\n".encode(),
            "q2": b"Subject: x\r\n\r\n" + b"a" * 100_000 + b"\r\n",
            "q3": b"Subject: no last line break",
        }
        first = msgspec.structs.replace(make_message("q1", "jörg@peer.example"), smtputf8=True)
        results = sender.send(first, make_message("q2"), make_message("q3"))
        assert told(results) == ["sent 2.0.0", "failed 5.3.4", "sent 2.0.0"]
        assert not any(result.tls for result in results)
        assert any("Subject: grün".encode() in text for text in postfix.wait_messages(2))


@needs_postfix
def test_an_mx_with_ancient_tls_gets_plain_text(folder: Path, tls: Tls) -> None:
    with running_mx(
        folder, **with_tls(tls), smtpd_tls_protocols="TLSv1", tls_medium_cipherlist="ALL:@SECLEVEL=0"
    ) as postfix:
        (result,) = Sender(postfix.port).send(make_message())
        assert (result.outcome, result.tls) == (Outcome.SENT, "")


@contextlib.contextmanager
def running_relay(folder: Path, tls: Tls, **settings: str) -> Iterator[PrivatePostfix]:
    login = {
        "smtpd_sasl_auth_enable": "yes",
        "smtpd_sasl_type": "dovecot",
        "smtpd_sasl_path": str(folder / "auth"),
        "smtpd_tls_auth_only": "yes",
    }
    with (
        running_dovecot_auth(folder / "auth", {"ann": "s3cret"}),
        running_mx(folder, **with_tls(tls), **login, **settings) as postfix,
    ):
        yield postfix


def via(postfix: PrivatePostfix, password: str = "s3cret", **changes: object) -> NextHop:
    relay = Relay(host=RELAY_HOST, port=postfix.port, username="ann", password=password)
    return NextHop(domain="elsewhere.example", relay=msgspec.structs.replace(relay, **changes))


@needs_postfix
@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
def test_postfix_as_a_smart_host_with_login(folder: Path, tls: Tls, loop: str) -> None:
    with running_relay(folder, tls) as postfix:
        sender = Sender(postfix.port, tls.ca_file)
        messages = [make_message(f"q{number}", "joe@elsewhere.example") for number in range(3)]
        results = sender.send(*messages, to=via(postfix), loop=loop)
        assert told(results) == ["sent 2.0.0"] * 3
        assert results[0].remote_host == RELAY_HOST
        assert len(postfix.wait_messages(3)) == 3

        (refused,) = sender.send(make_message(), to=via(postfix, "wrong"), loop=loop)
        assert (told([refused]), refused.relay_failed) == (["deferred 4.7.8"], True)
        assert refused.reply.startswith("535 5.7.8 ")
        assert "wrong" not in refused.reply

        (unknown,) = Sender(postfix.port).send(make_message(), to=via(postfix), loop=loop)
        assert (told([unknown]), unknown.relay_failed) == (["deferred 4.7.5"], True)
        assert "certificate is not valid" in unknown.reply

        other_name = via(postfix, host="127.0.0.1")
        (other,) = sender.send(make_message(), to=other_name, loop=loop)
        assert (told([other]), other.relay_failed) == (["deferred 4.7.5"], True)

        (anonymous,) = sender.send(make_message("q9", "joe@elsewhere.example"), to=via(postfix, username=""), loop=loop)
        assert told([anonymous]) == ["failed 5.7.1"]


@needs_postfix
@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
def test_postfix_as_a_smart_host_within_tls(folder: Path, tls: Tls, loop: str) -> None:
    with running_relay(folder, tls, smtpd_tls_wrappermode="yes") as postfix:
        (result,) = Sender(postfix.port, tls.ca_file).send(
            make_message("q1", "joe@elsewhere.example"), to=via(postfix, security=RelaySecurity.TLS), loop=loop
        )
        assert told([result]) == ["sent 2.0.0"]
        assert result.tls.startswith("TLSv1.3")


@needs_postfix
def test_postfix_as_a_smart_host_is_tested(folder: Path, tls: Tls) -> None:
    restrictions = "check_sender_access inline:{ {postmaster@demo.example = REJECT not verified} }"
    with running_relay(folder, tls, smtpd_sender_restrictions=restrictions) as postfix:
        stored = via(postfix).relay
        assert stored is not None

        async def test(ca_file: str, relay: Relay | None = None) -> list[tuple[str, bool, str]]:
            settings = DeliverySettings(egress_allow=("127.0.0.0/8",), relay_ca_file=ca_file)
            transmitter = SmtpTransmitter(
                resolver=FakeResolver().add_address(RELAY_HOST, "127.0.0.1"),
                settings=settings,
                clock=SystemClock(),
                mail_host="mail.demo.example",
                registry=CollectorRegistry(),
            )
            trials = RelayTrials(
                directory=MemoryRoutes(stored),
                router=transmitter.router,
                opener=transmitter.opener,
                clock=SystemClock(),
                egress_allow=settings.egress_networks(),
            )
            reply = await trials.test_relay(RelayTestRequest(domain="demo.example", actor="admin", relay=relay))
            return [(step.stage.value, step.ok, step.advice) for step in reply.steps]

        good = [(stage, True, "") for stage in ("address", "connect", "greeting", "tls", "login", "any_sender")]
        assert asyncio.run(test(tls.ca_file)) == [*good, ("postmaster", False, SINGLE_ADDRESS)]
        *passed, last = asyncio.run(test(tls.ca_file, msgspec.structs.replace(stored, password="wrong")))
        assert (passed, last[:2]) == (good[:4], ("login", False))
        *passed, last = asyncio.run(test(""))
        assert (passed, last[:2]) == (good[:3], ("tls", False))
        assert "POSTBUS_DELIVERY_RELAY_CA_FILE" in last[2]


class MemoryRoutes(MemoryDirectoryAdmin):
    """A directory whose one domain has this relay."""

    def __init__(self, relay: Relay) -> None:
        super().__init__()
        self.rows.domains["demo.example"] = Domain(name="demo.example")
        self._relay = relay

    async def find_route(self, request: FindRouteRequest) -> Route:
        return Route(relay=self._relay, signing_domain=request.domain)
