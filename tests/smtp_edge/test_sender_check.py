"""Who may send as whom: reverse_path and authors lead to the mailbox that logged in (RFC 6409 §6.1)."""

import msgspec
import pytest

from postbus.contracts.directory import Outcome, Resolution, Via
from postbus.contracts.events import EventType
from postbus.core.errors import ErrorKind
from postbus.testing.smtp_edge import ALICE, AWAY, BOB, Edge, enter, mailbox_resolution, submit
from postbusd.smtp_edge.conversation import ListenerKind

OWN = {Via.MAILBOX, Via.ALIAS, Via.WILDCARD, Via.SUB_ADDRESS}
TO = "bob@demo.example"


def wire(*authors: str) -> bytes:
    return "".join(f"From: {author}\r\n" for author in authors).encode() + b"Subject: x\r\n\r\nx\r\n.\r\n"


def refused(address: str, *, incoming: bool = True, kind: ErrorKind = ErrorKind.REJECTED_POLICY) -> Resolution:
    """An address of alice's that gets no mail now."""
    known = mailbox_resolution(address, ALICE)
    return msgspec.structs.replace(known, outcome=Outcome.REJECT, kind=kind, incoming=incoming)


@pytest.mark.parametrize("via", list(Via))
async def test_only_own_names_are_own(edge: Edge, via: Via) -> None:
    edge.directory.answers["sales@demo.example"] = mailbox_resolution("sales@demo.example", ALICE, via=via)
    async with edge.connect(ListenerKind.SUBMISSIONS) as peer:
        await enter(peer)
        answer = await peer.say("MAIL FROM:<sales@demo.example>")
        # Via.NONE with a mailbox: a directory of the version before, which had own names only.
        if via in OWN or via is Via.NONE:
            assert answer == "250 2.1.0 reverse path accepted"
        else:
            assert answer == (
                "550 5.7.1 reverse path: sales@demo.example is not an address of the mailbox that logged in"
            )


@pytest.mark.parametrize(
    "address", ["bob@demo.example", "ann@remote.example", "nobody@demo.example", "alice@[192.0.2.1]"]
)
async def test_others_addresses_are_refused_at_mail_and_in_from(edge: Edge, address: str) -> None:
    async with edge.connect(ListenerKind.SUBMISSIONS) as peer:
        await enter(peer)
        assert (await peer.say(f"MAIL FROM:<{address}>")).startswith(f"550 5.7.1 reverse path: {address} is not")
        answer = await submit(peer, "alice@demo.example", TO, wire(f"Alice <{address}>"))
        assert answer.startswith("550 5.7.1 ")
        assert address in answer
    assert not edge.bus.mail
    assert not edge.blobs.blobs
    assert not edge.filter.messages
    await edge.events.flush()
    assert [event.type for event in edge.bus.events] == [EventType.LOGIN, EventType.DENIED, EventType.DENIED]
    told = edge.bus.events[1]
    assert (told.summary, told.mailbox, told.reverse_path) == ("sender refused", "alice@demo.example", address)


async def test_a_no_is_confirmed_past_the_caches(edge: Edge) -> None:
    edge.directory.answers["sales@demo.example"] = mailbox_resolution("sales@demo.example", ALICE, via=Via.ALIAS)
    edge.directory.stale["sales@demo.example"] = Resolution(
        forward_path="sales@demo.example", outcome=Outcome.REJECT, kind=ErrorKind.NOT_FOUND
    )
    async with edge.connect(ListenerKind.SUBMISSIONS) as peer:
        await enter(peer)
        assert (await submit(peer, "sales@demo.example", TO, wire("sales@demo.example"))).startswith("250 2.0.0")


@pytest.mark.parametrize(
    "resolution",
    [refused("x@demo.example", kind=ErrorKind.OVER_QUOTA), refused("x@demo.example", incoming=False)],
)
async def test_a_full_mailbox_and_a_domain_without_incoming_mail_may_send(edge: Edge, resolution: Resolution) -> None:
    edge.directory.answers["x@demo.example"] = resolution
    async with edge.connect(ListenerKind.SUBMISSIONS) as peer:
        await enter(peer)
        assert (await submit(peer, "x@demo.example", TO, wire("x@demo.example"))).startswith("250 2.0.0")


async def test_the_null_reverse_path_is_allowed_but_not_for_another_author(edge: Edge) -> None:
    async with edge.connect(ListenerKind.SUBMISSIONS) as peer:
        await enter(peer)
        assert (await submit(peer, "", TO, wire("Alice <ALICE@demo.example>"))).startswith("550 5.7.1 From: ALICE@")
        edge.directory.answers["ALICE@demo.example"] = mailbox_resolution("alice@demo.example", ALICE)
        assert (await submit(peer, "", TO, wire("Alice <ALICE@demo.example>"))).startswith("250 2.0.0")
        assert (await submit(peer, "", TO, wire("bob@demo.example"))).startswith("550 5.7.1 From: bob@demo.example is")


@pytest.mark.parametrize(
    ("authors", "answer"),
    [
        ((), "250 2.0.0 queued as "),
        (("Undisclosed:;",), "550 5.7.1 the From field has no address"),
        (("alice",), "550 5.7.1 the From field has a malformed address: alice"),
        (("alice@demo.example",) * 2, "550 5.7.1 the message has more than one From field"),
        (("alice@demo.example, bob@demo.example",), "550 5.7.1 From: bob@demo.example is not an address"),
        (("alice@demo.example, " * 60,), "550 5.7.1 the From field has too many addresses"),
        (("alice@demo.example, Sales <sales@demo.example>",), "250 2.0.0 queued as "),
    ],
)
async def test_from_is_read_strictly(edge: Edge, authors: tuple[str, ...], answer: str) -> None:
    edge.directory.answers["sales@demo.example"] = mailbox_resolution("alice@demo.example", ALICE, via=Via.ALIAS)
    async with edge.connect(ListenerKind.SUBMISSIONS) as peer:
        await enter(peer)
        assert (await submit(peer, "alice@demo.example", TO, wire(*authors))).startswith(answer)


@pytest.mark.parametrize("filler", [b"X-A: b\r\n" * 1000, b"X-A: " + b"b" * 1000 + b"\r\n" + b" c\r\n" * 300_000])
async def test_a_from_cannot_hide_behind_a_long_header(edge: Edge, filler: bytes) -> None:
    async with edge.connect(ListenerKind.SUBMISSIONS) as peer:
        await enter(peer)
        hidden = b"From: alice@demo.example\r\n" + filler + b"From: bob@demo.example\r\n\r\nx\r\n.\r\n"
        answer = await submit(peer, "alice@demo.example", TO, hidden)
        assert answer == "550 5.7.1 the header section is too long to find the author"


async def test_an_absent_directory_is_a_delay(edge: Edge) -> None:
    async with edge.connect(ListenerKind.SUBMISSIONS) as peer:
        await enter(peer)
        edge.directory.fail_with = AWAY
        assert (await peer.say("MAIL FROM:<alice@demo.example>")).startswith("451 4.3.0")
        edge.directory.fail_with = None
        for line in ("MAIL FROM:<alice@demo.example>", f"RCPT TO:<{TO}>", "DATA"):
            await peer.say(line)
        edge.recipients.drop()
        edge.directory.fail_with = AWAY
        assert (await peer.say(wire("alice@demo.example"))).startswith("451 4.3.0")
        edge.directory.fail_with = None
        later = Resolution(forward_path="alice@demo.example", outcome=Outcome.LATER)
        edge.directory.answers["alice@demo.example"] = later
        assert (await peer.say("MAIL FROM:<alice@demo.example>")).startswith("451 4.3.0")


async def test_mail_from_outside_has_any_author(edge: Edge) -> None:
    async with edge.connect() as peer:
        await peer.listen()
        await peer.say("EHLO client.example")
        assert (await submit(peer, "ann@remote.example", TO, wire())).startswith("250 2.0.0")
    assert edge.bus.mail[0].envelope.forward_paths[0].resolution.targets[0].mailbox_id == BOB
