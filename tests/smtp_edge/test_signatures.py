"""The signature of the author's domain goes under what is submitted, before anything else sees it."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from postbus.contracts.domains import FindSignatureRequest, Signature, SignatureReply
from postbus.contracts.events import DirectoryChanged
from postbus.core.errors import ErrorKind, MailError
from postbus.mime.codec import encode_scan
from postbus.mime.scanner import scan_message
from postbus.testing.smtp_edge import AWAY, Edge, FakeDirectory, Peer, enter
from postbusd.smtp_edge.conversation import ListenerKind
from postbusd.smtp_edge.spool import Spool

FROM = b"From: alice@demo.example\r\n"
SIGNED = b"\r\nx\r\n\r\n-- \r\nDemo Ltd.\r\n"


@pytest.fixture
async def peer(edge: Edge) -> AsyncIterator[Peer]:
    edge.directory.signatures["demo.example"] = Signature(text="-- \nDemo Ltd.")
    async with edge.connect(ListenerKind.SUBMISSIONS) as peer:
        await enter(peer)
        yield peer


async def send(peer: Peer, content: bytes) -> str:
    for line in ("MAIL FROM:<alice@demo.example>", "RCPT TO:<bob@demo.example>", "DATA"):
        assert (await peer.say(line))[0] in "23"
    return await peer.say(content + b".\r\n")


def stored(edge: Edge, position: int = -1) -> bytes:
    return edge.blobs.blobs[edge.bus.mail[position].blob_id]


def spooled(folder: Path) -> list[Path]:
    return list(folder.rglob("*.spool"))


async def test_it_is_part_of_the_message(edge: Edge, peer: Peer) -> None:
    assert (await send(peer, FROM + b"\r\nx\r\n")).startswith("250 2.0.0")
    (accepted,) = edge.bus.mail
    content = stored(edge)
    assert content == FROM + SIGNED
    assert accepted.blob_octets == len(content)
    assert accepted.scan == encode_scan(scan_message(content))
    (asked,) = edge.filter.messages
    assert (asked.content, asked.size_octets, asked.scan) == (content, len(content), accepted.scan)


async def test_a_large_message_goes_by_file(edge: Edge, peer: Peer, tmp_path: Path) -> None:
    lines = b"y" * 70 + b"\r\n"
    text = lines * (edge.settings.memory_octets // len(lines) + 10)
    assert (await send(peer, FROM + b"\r\n" + text)).startswith("250 2.0.0")
    assert stored(edge) == FROM + b"\r\n" + text + b"\r\n-- \r\nDemo Ltd.\r\n"
    assert not spooled(tmp_path)
    big = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nx\r\n--b\r\nContent-Type: image/png\r\n\r\n"
    attachment = lines * 60_000
    assert (await send(peer, FROM + big + attachment + b"--b--\r\n")).startswith("250 2.0.0")
    assert stored(edge) == FROM + big.replace(b"x\r\n", b"x\r\n\r\n-- \r\nDemo Ltd.\r\n") + attachment + b"--b--\r\n"
    assert not spooled(tmp_path)
    assert edge.site.memory.held == 0


async def test_what_is_sealed_or_has_no_signature_stays_as_it_came(edge: Edge, peer: Peer) -> None:
    sealed = FROM + b"\r\n-----BEGIN PGP MESSAGE-----\r\n"
    await send(peer, sealed)
    assert stored(edge) == sealed
    edge.directory.signatures.clear()
    await edge.signatures.on_changed(DirectoryChanged(revision=2))
    edge.directory.revision = 2
    await send(peer, FROM + b"\r\nx\r\n")
    assert stored(edge) == FROM + b"\r\nx\r\n"
    assert edge.site.memory.held == 0


async def test_it_is_of_the_authors_domain(edge: Edge, peer: Peer) -> None:
    edge.directory.answers["me@other.example"] = edge.directory.answers["alice@demo.example"]
    edge.directory.signatures["other.example"] = Signature(text="Other Ltd.")
    await send(peer, b"From: me@Other.example\r\n\r\nx\r\n")
    assert stored(edge).endswith(b"x\r\n\r\nOther Ltd.\r\n")
    await send(peer, b"Subject: nobody\r\n\r\nx\r\n")
    assert stored(edge).endswith(SIGNED)


async def test_mail_from_outside_gets_none(edge: Edge) -> None:
    edge.directory.signatures["elsewhere.example"] = Signature(text="x")
    async with edge.connect() as peer:
        await peer.listen()
        for line in ("EHLO a.example", "MAIL FROM:<a@elsewhere.example>", "RCPT TO:<bob@demo.example>", "DATA"):
            await peer.say(line)
        assert (await peer.say(b"From: a@elsewhere.example\r\n\r\nx\r\n.\r\n")).startswith("250")
    assert stored(edge).endswith(b"\r\n\r\nx\r\n")
    assert not edge.directory.signatures_asked


async def test_it_is_asked_for_once_until_something_changes(edge: Edge, peer: Peer) -> None:
    for _ in range(3):
        await send(peer, FROM + b"\r\nx\r\n")
    assert edge.directory.signatures_asked == ["demo.example"]
    edge.directory.signatures["demo.example"] = Signature(text="New Ltd.")
    edge.directory.revision = 2
    await edge.signatures.on_changed(DirectoryChanged(revision=2))
    await send(peer, FROM + b"\r\nx\r\n")
    assert stored(edge).endswith(b"New Ltd.\r\n")
    edge.directory.revision = 1  # a replica that is behind
    await edge.signatures.on_reconnect()
    for _ in range(2):
        await send(peer, FROM + b"\r\nx\r\n")
    assert len(edge.directory.signatures_asked) == 4


async def test_without_directory_nothing_leaves_unsigned(
    edge: Edge, peer: Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    await send(peer, FROM + b"\r\nx\r\n")
    await edge.signatures.on_reconnect()

    async def away(self: FakeDirectory, request: FindSignatureRequest) -> SignatureReply:
        raise AWAY

    with monkeypatch.context() as patched:
        patched.setattr(FakeDirectory, "find_signature", away)
        assert (await send(peer, FROM + b"\r\nx\r\n")).startswith("451 4.")
    assert len(edge.bus.mail) == 1
    assert (await send(peer, FROM + b"\r\nx\r\n")).startswith("250")


async def test_a_full_disk_is_told_and_leaves_nothing(
    edge: Edge, peer: Peer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Full(Spool):
        async def write(self, chunk: bytes) -> None:
            await super().write(chunk)
            raise MailError(ErrorKind.LIMIT, "spool: no space left on device")

    monkeypatch.setattr("postbusd.smtp_edge.undersigning.Spool", Full)
    assert (await send(peer, FROM + b"\r\nx\r\n")).startswith("452 4.3.1")
    assert not spooled(tmp_path)
    assert edge.site.memory.held == 0
    assert not edge.bus.mail
