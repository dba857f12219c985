"""Mail from outside: transcripts of the smtp door (RFC 5321; promises 1, 3, 4)."""

import asyncio
from pathlib import Path

import msgspec
import pytest

from postbus.contracts import Empty
from postbus.contracts.delivery import PrecheckReply, PrecheckResult
from postbus.contracts.directory import Outcome, Resolution
from postbus.contracts.events import DirectoryChanged, EventType, Origin
from postbus.contracts.filter import CheckConnectionReply, CheckMessageReply, RecipientVerdict, Verdict
from postbus.core.errors import ErrorKind, MailError
from postbus.mime.codec import decode_scan
from postbus.testing.smtp_edge import ALICE, AWAY, BOB, Edge, MemoryStream, Peer, mailbox_resolution
from postbusd.smtp_edge.spool import SpoolMemory

MESSAGE = b"From: x@remote.example\r\nSubject: hello\r\n\r\nfirst\r\n.second\r\n"
WIRE = MESSAGE.replace(b"\r\n.", b"\r\n..") + b".\r\n"


def spooled(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


async def greet(peer: Peer, *lines: str) -> str:
    assert (await peer.listen()).startswith("220 mail.demo.example ESMTP")
    assert (await peer.say("EHLO client.example")).startswith("250-mail.demo.example")
    answer = ""
    for line in lines:
        answer = await peer.say(line)
    return answer


async def send(peer: Peer, *forward_paths: str, wire: bytes = WIRE) -> str:
    """A whole transaction; the answer to the final dot."""
    await greet(peer, "MAIL FROM:<ann@remote.example> BODY=8BITMIME RET=HDRS ENVID=e1")
    for path in forward_paths:
        assert (await peer.say(f"RCPT TO:<{path}> NOTIFY=NEVER")).startswith("250 2.1.5")
    assert (await peer.say("DATA")).startswith("354 ")
    return await peer.say(wire)


async def test_a_message_is_ours_after_250(edge: Edge) -> None:
    async with edge.connect() as peer:
        answer = await send(peer, "alice@demo.example")
        assert (await peer.say("QUIT")) == "221 2.0.0 bye"
        assert peer.has_ended
    (accepted,) = edge.bus.mail
    assert answer == f"250 2.0.0 queued as {accepted.queue_id}"
    assert edge.blobs.blobs[accepted.blob_id] == MESSAGE
    assert accepted.blob_octets == len(MESSAGE)
    assert accepted.origin is Origin.SMTP
    assert accepted.envelope.reverse_path == "ann@remote.example"
    assert (accepted.envelope.body, accepted.envelope.ret, accepted.envelope.envid) == ("8BITMIME", "HDRS", "e1")
    (path,) = accepted.envelope.forward_paths
    assert (path.address, path.notify, path.resolution.targets[0].mailbox_id) == (
        "alice@demo.example",
        ("NEVER",),
        ALICE,
    )
    assert (accepted.client.address, accepted.client.name) == ("192.0.2.1", "client.example")
    assert decode_scan(accepted.scan).octets == len(MESSAGE)
    assert accepted.traceparent.startswith("00-")
    assert accepted.prefix.startswith(b"Received: from client.example (client.example [192.0.2.1])\r\n\tby mail.demo")
    assert b" with ESMTP id " + accepted.queue_id.encode() in accepted.prefix
    assert accepted.prefix.endswith(b"X-Spam-Status: No\r\n")
    (asked,) = edge.filter.messages
    assert (asked.content, asked.queue_id, asked.recipients[0].mailbox_ids) == (MESSAGE, accepted.queue_id, (ALICE,))
    counters = await edge.counters.get_counters(Empty())
    assert (counters.accepted, counters.refused, counters.last_stream_sequence) == (1, 0, 1)
    assert counters.open_sessions == 0


async def test_ehlo_offers_what_is_kept(edge: Edge) -> None:
    async with edge.connect() as peer:
        await peer.listen()
        offered = await peer.say("EHLO client.example")
        keywords = {line[4:].split(" ")[0] for line in offered.split("|")[1:]}
        assert keywords == {"PIPELINING", "SIZE", "8BITMIME", "SMTPUTF8", "DSN", "ENHANCEDSTATUSCODES", "STARTTLS"}
        assert await peer.say("AUTH PLAIN") == "502 5.5.1 command not implemented"
        assert await peer.say("HELO client.example") == "250 mail.demo.example"


async def test_pipelined_recipients_are_resolved_in_one_call(edge: Edge) -> None:
    async with edge.connect() as peer:
        await greet(peer)
        answer = await peer.say(
            b"MAIL FROM:<>\r\nRCPT TO:<alice@demo.example>\r\nRCPT TO:<nobody@demo.example>\r\n"
            b"RCPT TO:<Bob@DEMO.example>\r\nRCPT TO:<bob@demo.example>\r\nDATA\r\n"
        )
    assert [line[:9] for line in answer.split("|")] == [
        "250 2.1.0", "250 2.1.5", "550 5.1.1", "550 5.1.1", "250 2.1.5", "354 end d",
    ]  # fmt: skip
    first, *rest = edge.directory.requests
    assert len(first.forward_paths) == 4
    assert all(request.bypass_cache for request in rest)


async def test_good_answers_are_cached_and_refusals_confirmed(edge: Edge) -> None:
    async with edge.connect() as peer:
        await greet(peer)
        for _ in range(2):
            await peer.say("RSET\r\nMAIL FROM:<>")
            assert (await peer.say("RCPT TO:<alice@demo.example>")).startswith("250")
        assert len(edge.directory.requests) == 1
        await edge.recipients.on_changed(DirectoryChanged(revision=2))
        await peer.say("RSET\r\nMAIL FROM:<>")
        assert (await peer.say("RCPT TO:<alice@demo.example>")).startswith("250")
        assert len(edge.directory.requests) == 2
        edge.directory.stale["bob@demo.example"] = Resolution(
            forward_path="bob@demo.example", outcome=Outcome.REJECT, kind=ErrorKind.NOT_FOUND
        )
        assert (await peer.say("RCPT TO:<bob@demo.example>")).startswith("250")


@pytest.mark.parametrize(
    ("address", "answer"),
    [
        ("nobody@demo.example", "550 5.1.1 no such mailbox here"),
        ("ann@remote.example", "550 5.7.1 relaying denied: the domain is not served here"),
        ("alice@[192.0.2.9]", "550 5.1.2 address literals are not served here"),
        ("alice%remote.example@remote.example", "550 5.7.1 relaying denied: the domain is not served here"),
        ("full@demo.example", "552 5.2.2 mailbox is full"),
        ("closed@demo.example", "550 5.2.1 mailbox is not active"),
        ("later@demo.example", "451 4.3.0 temporary failure, try again later"),
    ],
)
async def test_recipient_is_refused_in_smtp(edge: Edge, address: str, answer: str) -> None:
    answers = edge.directory.answers
    answers["full@demo.example"] = mailbox_resolution("full@demo.example", BOB, over_quota=True)
    answers["closed@demo.example"] = Resolution(
        forward_path="closed@demo.example", outcome=Outcome.REJECT, kind=ErrorKind.INACTIVE
    )
    answers["later@demo.example"] = Resolution(forward_path="later@demo.example", outcome=Outcome.LATER)
    async with edge.connect() as peer:
        await greet(peer, "MAIL FROM:<ann@remote.example>")
        assert await peer.say(f"RCPT TO:<{address}>") == answer
        assert (await peer.say("DATA")).startswith("554 5.5.1")


async def test_an_absent_directory_is_a_delay(edge: Edge) -> None:
    edge.directory.fail_with = AWAY
    async with edge.connect() as peer:
        answer = await greet(peer, "MAIL FROM:<>", "RCPT TO:<alice@demo.example>")
    assert answer == "451 4.3.0 temporary failure, try again later"


async def test_a_full_disk_is_told_at_mail(edge: Edge) -> None:
    edge.blobs.fill_disk()
    async with edge.connect() as peer:
        assert (await greet(peer, "MAIL FROM:<>")).startswith("452 4.3.1")


async def test_size_is_refused_at_mail_and_at_the_end(edge: Edge) -> None:
    edge.set_policy(max_message_octets=100)
    async with edge.connect() as peer:
        assert (await greet(peer, "MAIL FROM:<> SIZE=101")).startswith("552 5.3.4")
        assert (await peer.say("MAIL FROM:<> SIZE=100")).startswith("250")
        await peer.say("RCPT TO:<alice@demo.example>")
        await peer.say("DATA")
        assert (await peer.say(b"x" * 101 + b"\r\n.\r\n")).startswith("552 5.3.4")
    assert not edge.bus.mail
    assert not edge.blobs.blobs


async def test_recipients_have_a_limit(edge: Edge) -> None:
    edge.change(max_recipients=1)
    async with edge.connect() as peer:
        await greet(peer, "MAIL FROM:<>", "RCPT TO:<alice@demo.example>")
        assert (await peer.say("RCPT TO:<bob@demo.example>")).startswith("452 4.5.3")


@pytest.mark.parametrize("part", ["filter", "blobs", "bus"])
async def test_whatever_is_away_before_the_puback_is_451(edge: Edge, part: str) -> None:
    async with edge.connect() as peer:
        await greet(peer, "MAIL FROM:<>", "RCPT TO:<alice@demo.example>", "DATA")
        getattr(edge, part).fail_with = AWAY
        answer = await peer.say(WIRE)
        assert answer.startswith("451 4.3.0")
        getattr(edge, part).fail_with = None
        assert (await peer.say("MAIL FROM:<>")).startswith("250")
    assert not edge.bus.mail
    counters = await edge.counters.get_counters(Empty())
    assert (counters.accepted, counters.deferred) == (0, 1)


async def test_accept_unfiltered_is_a_setting(edge: Edge) -> None:
    edge.change(accept_unfiltered=True)
    edge.filter.fail_with = AWAY
    async with edge.connect() as peer:
        assert (await send(peer, "alice@demo.example")).startswith("250 2.0.0")
    (accepted,) = edge.bus.mail
    assert [test.name for test in accepted.verdict.tests] == ["FILTER_UNAVAILABLE"]


async def test_filter_speaks_through_the_reply(edge: Edge) -> None:
    edge.filter.message = CheckMessageReply(
        verdict=Verdict.REJECT, score=20, required=5, reply_text="DMARC says reject", reply_enhanced="5.7.26"
    )
    async with edge.connect() as peer:
        assert await send(peer, "alice@demo.example") == "550 5.7.26 DMARC says reject"
        edge.filter.message = CheckMessageReply(verdict=Verdict.DEFER, score=0, required=5)
        await peer.say("MAIL FROM:<>")
        await peer.say("RCPT TO:<alice@demo.example>")
        await peer.say("DATA")
        assert (await peer.say(WIRE)).startswith("451 4.7.1")
    assert not edge.bus.mail
    assert [event.type for event in edge.bus.events] == []
    await edge.events.flush()
    assert [event.type for event in edge.bus.events] == [EventType.DENIED]


async def test_one_recipient_that_accepts_is_enough(edge: Edge) -> None:
    edge.filter.message = CheckMessageReply(
        verdict=Verdict.REJECT,
        score=9,
        required=5,
        recipients=(RecipientVerdict(forward_path="bob@demo.example", verdict=Verdict.ACCEPT, score=1),),
    )
    async with edge.connect() as peer:
        assert (await send(peer, "alice@demo.example", "bob@demo.example")).startswith("250")
    assert edge.bus.mail[0].verdict.recipients[0].forward_path == "bob@demo.example"


async def test_precheck_is_asked_only_where_a_script_may_reject(edge: Edge) -> None:
    async with edge.connect() as peer:
        await send(peer, "alice@demo.example")
        assert not edge.prechecker.requests
        edge.directory.answers["bob@demo.example"] = mailbox_resolution("bob@demo.example", BOB, script="h")
        edge.prechecker.reply = PrecheckReply(
            results=(PrecheckResult(forward_path="bob@demo.example", verdict=Verdict.REJECT, reason="go away"),)
        )
        for extra, wanted in (("", "550 5.7.1 go away"), ("RCPT TO:<alice@demo.example>", "250 2.0.0")):
            await peer.say("MAIL FROM:<>")
            await peer.say("RCPT TO:<bob@demo.example>")
            await peer.say(extra or "NOOP")
            await peer.say("DATA")
            assert (await peer.say(WIRE)).startswith(wanted)
    assert len(edge.bus.mail) == 2
    assert edge.prechecker.requests[0].header.endswith(b"Subject: hello\r\n\r\n")


async def test_loops_end(edge: Edge) -> None:
    async with edge.connect() as peer:
        wire = b"Received: from a by b\r\n" * 100 + b"\r\nx\r\n.\r\n"
        assert (await send(peer, "alice@demo.example", wire=wire)).startswith("554 5.4.6")
    async with edge.connect() as peer:
        assert (await send(peer, "alice@demo.example", wire=wire[23:])).startswith("250")


async def test_smuggling_is_refused_and_nothing_smuggled_is_carried_out(edge: Edge) -> None:
    async with edge.connect() as peer:
        wire = b"x\r\n\n.\r\nMAIL FROM:<evil@evil.example>\r\nRCPT TO:<bob@demo.example>\r\nDATA\r\ny\r\n.\r\n"
        answer = await send(peer, "alice@demo.example", wire=wire)
        assert answer == "550 5.6.11 message has bare CR or LF (RFC 5321 2.3.8)"
    assert not edge.bus.mail


async def test_large_messages_are_spooled_and_checked_by_blob_id(edge: Edge, tmp_path: Path) -> None:
    edge.change(memory_octets=1000)
    body = b"Subject: big\r\n\r\n" + b"0123456789abcdef\r\n" * 20_000
    async with edge.connect() as peer:
        await greet(peer, "MAIL FROM:<>", "RCPT TO:<alice@demo.example>", "DATA")
        for start in range(0, len(body), 65_536):
            await peer.say(body[start : start + 65_536])
        assert spooled(tmp_path)
        assert (await peer.say(b".\r\n")).startswith("250 2.0.0")
    (accepted,) = edge.bus.mail
    assert edge.blobs.blobs[accepted.blob_id] == body
    assert (edge.filter.messages[0].content, edge.filter.messages[0].blob_id) == (b"", accepted.blob_id)
    assert decode_scan(accepted.scan).octets == len(body)
    assert not spooled(tmp_path)


async def test_a_spool_is_removed_when_the_client_goes(edge: Edge, tmp_path: Path) -> None:
    edge.change(memory_octets=10)
    async with edge.connect() as peer:
        await greet(peer, "MAIL FROM:<>", "RCPT TO:<alice@demo.example>", "DATA")
        await peer.say(b"0123456789\r\n" * 10)
        assert spooled(tmp_path)
    assert not spooled(tmp_path)
    assert not edge.bus.mail


async def test_a_spool_that_cannot_be_written_is_452_at_the_end(edge: Edge, tmp_path: Path) -> None:
    edge.change(memory_octets=10)
    edge.site = msgspec.structs.replace(edge.site, spool_dir=str(tmp_path / "missing"))
    async with edge.connect() as peer:
        await greet(peer, "MAIL FROM:<>", "RCPT TO:<alice@demo.example>", "DATA")
        assert (await peer.say(b"0123456789\r\n" * 10 + b".\r\n")).startswith("452 4.3.1")
        assert await peer.say("NOOP") == "250 2.0.0 OK"


async def test_a_client_that_hangs_up_after_the_dot_has_sent_its_message(edge: Edge) -> None:
    async with edge.connect() as peer:
        await greet(peer, "MAIL FROM:<>", "RCPT TO:<alice@demo.example>", "DATA")
        peer.stream.incoming.put_nowait(WIRE)
        peer.stream.incoming.put_nowait(b"")
    assert len(edge.bus.mail) == 1


async def test_an_unknown_exception_is_451_with_an_incident(edge: Edge, caplog: pytest.LogCaptureFixture) -> None:
    async with edge.connect() as peer:
        await greet(peer, "MAIL FROM:<>", "RCPT TO:<alice@demo.example>", "DATA")
        edge.filter.messages = None  # type: ignore[assignment]  # to provoke a bug
        answer = await peer.say(WIRE)
        assert answer.startswith("451 4.3.0 internal error, incident ")
        incident = answer.rpartition(" ")[2]
        assert any(getattr(record, "incident", "") == incident for record in caplog.records)
        assert await peer.say("NOOP") == "250 2.0.0 OK"


async def test_a_rejected_client_reaches_postmaster_only(edge: Edge) -> None:
    edge.filter.connection = CheckConnectionReply(verdict=Verdict.REJECT, reply_text="listed at dnsbl.example")
    async with edge.connect() as peer:
        await greet(peer, "MAIL FROM:<>")
        assert await peer.say("RCPT TO:<alice@demo.example>") == "550 5.7.1 listed at dnsbl.example"
        assert (await peer.say("RCPT TO:<postmaster>")).startswith("250")
    async with edge.connect():
        pass
    assert len(edge.filter.connections) == 1


async def test_ipv6_neighbours_share_filters_word_but_not_a_name(edge: Edge) -> None:
    for address in ("2001:db8::1", "2001:db8::2"):
        async with edge.connect(address=address) as peer:
            await send(peer, "alice@demo.example")
    assert len(edge.filter.connections) == 1
    assert [accepted.client.name for accepted in edge.bus.mail] == ["client.example", ""]


async def test_early_talkers_get_no_banner(edge: Edge) -> None:
    stream = MemoryStream("192.0.2.1")
    stream.early = b"EHLO x\r\nMAIL FROM:<>\r\n"
    async with edge.connect(stream=stream) as peer:
        assert await peer.listen() == "554 5.5.0 you spoke before the greeting"
        assert peer.has_ended


async def test_too_many_errors_end_the_session(edge: Edge) -> None:
    edge.change(max_errors=3)
    async with edge.connect() as peer:
        await greet(peer)
        answer = await peer.say(b"FOO\r\nNOOP\n\r\nNOOP\r\n")
        assert [line[:9] for line in answer.split("|")] == ["500 5.5.1", "500 5.5.2", "500 5.5.1", "421 4.7.0"]
        assert peer.has_ended


async def test_refused_recipients_end_the_session(edge: Edge) -> None:
    edge.change(max_refused_recipients=2)
    async with edge.connect() as peer:
        await greet(peer, "MAIL FROM:<>", "RCPT TO:<a@demo.example>")
        assert (await peer.say("RCPT TO:<b@demo.example>")).split("|")[1].startswith("421 4.7.0")


async def test_idle_clients_hear_421(edge: Edge) -> None:
    edge.change(idle_seconds=0.001)
    async with edge.connect() as peer:
        await peer.task
        assert (await peer.listen()).split("|")[1] == "421 4.4.2 idle for too long, closing the connection"


async def test_a_message_may_not_take_forever(edge: Edge) -> None:
    edge.change(data_seconds=0.001)
    async with edge.connect() as peer:
        answer = await greet(peer, "MAIL FROM:<>", "RCPT TO:<alice@demo.example>", "DATA")
        await peer.task
        assert "421 4.4.2 the message takes too long" in answer + await peer.listen()


async def test_sessions_are_limited(edge: Edge) -> None:
    edge.site = msgspec.structs.replace(edge.site, limits=type(edge.site.limits)(2, 1))
    async with edge.connect() as first:
        await first.listen()
        async with edge.connect() as second:
            assert (await second.listen()).startswith("421 4.7.0 too many sessions from your address")
        async with edge.connect(address="192.0.2.2") as third:
            await third.listen()
            async with edge.connect(address="192.0.2.3") as fourth:
                assert (await fourth.listen()).startswith("421 4.3.2")
    async with edge.connect() as again:
        assert (await again.listen()).startswith("220")


async def test_drain_ends_idle_sessions_and_lets_transactions_finish(edge: Edge) -> None:
    async with edge.connect() as idle, edge.connect(address="192.0.2.2") as busy:
        await greet(idle)
        await greet(busy, "MAIL FROM:<>", "RCPT TO:<alice@demo.example>")
        idle.session.drain()
        busy.session.drain()
        await idle.task
        assert (await idle.listen()).startswith("421 4.3.2")
        assert (await busy.say("DATA")).startswith("354")
        assert [line[:3] for line in (await busy.say(WIRE)).split("|")] == ["250", "421"]
        assert busy.has_ended


async def test_starttls_forgets_what_was_said(edge: Edge) -> None:
    async with edge.connect() as peer:
        await greet(peer)
        assert await peer.say(b"STARTTLS\r\nMAIL FROM:<evil@evil.example>\r\n") == "220 2.0.0 ready to start TLS"
        assert (await peer.say("MAIL FROM:<>")).startswith("503 5.5.1")
        assert "STARTTLS" not in await peer.say("EHLO client.example")
        assert (await peer.say("STARTTLS")).startswith("503 5.5.1")
        assert (await peer.say("MAIL FROM:<>")).startswith("250")
        await peer.say("RCPT TO:<alice@demo.example>")
        await peer.say("DATA")
        await peer.say(WIRE)
    (accepted,) = edge.bus.mail
    assert b"with ESMTPS id" in accepted.prefix
    assert accepted.client.tls == "TLSv1.3 with cipher TLS_TEST"


async def test_starttls_without_certificate_and_with_a_bad_handshake(edge: Edge) -> None:
    edge.tls.ready = False
    async with edge.connect() as peer:
        await greet(peer)
        assert (await peer.say("STARTTLS")).startswith("454 4.7.0")
        edge.tls.ready = True
        peer.stream.tls_fails = True
        assert (await peer.say("STARTTLS")).startswith("220")
        await peer.task


async def test_events_are_batched_and_bounded(edge: Edge) -> None:
    async with edge.connect() as peer:
        await send(peer, "alice@demo.example")
    edge.bus.fail_with = AWAY
    with pytest.raises(MailError):
        await edge.events.flush()
    edge.bus.fail_with = None
    await edge.events.flush()
    assert [event.type for event in edge.bus.events] == [EventType.RECEIVED]
    for _ in range(10_001):
        edge.events.note(EventType.DENIED, "x")
    await asyncio.gather(edge.events.flush())
    assert len(edge.bus.events) == 10_001
    assert edge.registry.get_sample_value("postbus_smtp_edge_events_dropped_total") == 1.0


async def test_many_messages_together_are_spooled_early(edge: Edge, tmp_path: Path) -> None:
    edge.site = msgspec.structs.replace(edge.site, memory=SpoolMemory(60_000))
    line = b"0123456789" * 9 + b"\r\n"
    async with edge.connect() as first, edge.connect() as second:
        for peer in (first, second):
            await greet(peer, "MAIL FROM:<>", "RCPT TO:<alice@demo.example>", "DATA")
        await first.say(line * 500)
        assert not spooled(tmp_path)
        await second.say(line * 500)
        assert len(spooled(tmp_path)) == 1
        assert 0 < edge.site.memory.held <= len(line) * 500
        assert (await second.say(b".\r\n")).startswith("250 ")
        assert (await first.say(b".\r\n")).startswith("250 ")
    assert edge.site.memory.held == 0
    assert len(edge.bus.mail) == 2


async def test_pipelined_commands_leave_turns_to_others(edge: Edge) -> None:
    async with edge.connect() as flood, edge.connect() as other:
        await greet(flood), await greet(other)
        flood.stream.incoming.put_nowait(b"NOOP\r\n" * 2000)
        assert await other.say("NOOP") == "250 2.0.0 OK"
        assert not flood.stream.sent
