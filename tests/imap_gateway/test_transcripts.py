"""Golden transcripts on a session with the memory store."""

from collections.abc import Awaitable, Callable
from typing import Any

from postbus.contracts.app_passwords import Access
from postbus.core.errors import ErrorKind, MailError
from postbus.mailstore.values import Flag, StoreMode, StoreRequest

PREFIX = b"X-Spam-Status: No\r\n"
TWO_PARTS = (
    b"From: Bob <bob@demo.example>\r\nTo: ann@demo.example\r\nSubject: Two parts\r\n"
    b"Date: Mon, 2 Nov 2026 10:00:00 +0000\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b1\r\n\r\n"
    b"--b1\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nHello\r\n\r\n"
    b"--b1\r\nContent-Type: message/rfc822\r\n\r\nSubject: Inner\r\n\r\nDeep\r\n\r\n--b1--\r\n"
)
PLAIN = b"From: bob@demo.example\r\nSubject: Plain\r\n\r\nText\r\n"

Play = Callable[..., Awaitable[None]]


async def test_login(gateway: Any, play: Play) -> None:
    await play("login.txt", gateway.connect())
    await gateway.events.flush()
    assert [event.type.value for event in gateway.bus.events] == ["login_failed", "login"]
    assert gateway.bus.events[1].detail == "ann"


async def test_authenticate(gateway: Any, play: Play) -> None:
    await play("authenticate.txt", gateway.connect())


async def test_bearer_tokens(gateway: Any, play: Play) -> None:
    gateway.authenticator.provider = "https://id.demo.example/.well-known/openid-configuration"
    await gateway.provider.check()
    await play("bearer.txt", gateway.connect())
    asked = gateway.authenticator.token_requests
    assert [(each.mailbox, each.token, each.access) for each in asked] == [
        ("ann@demo.example", "other", Access.IMAP),
        ("ann@demo.example", "other", Access.IMAP),
        ("", "a.token", Access.IMAP),
    ]
    await gateway.events.flush()
    assert [event.type.value for event in gateway.bus.events] == ["login_failed", "login_failed", "login"]


async def test_without_a_provider_there_are_no_tokens(gateway: Any) -> None:
    wire = gateway.connect()
    assert b"BEARER" not in await wire.read_line()
    assert await gateway.ask(wire, "a AUTHENTICATE XOAUTH2 AQ==") == ["a NO The mechanism is not offered"]


async def test_a_directory_that_is_away_is_no_wrong_token(gateway: Any) -> None:
    gateway.authenticator.provider = "https://id.demo.example/x"
    await gateway.provider.check()
    gateway.authenticator.fail_with = MailError(ErrorKind.UNAVAILABLE, "away")
    wire = gateway.connect()
    await wire.read_line()
    (line,) = await gateway.ask(
        wire, "a AUTHENTICATE XOAUTH2 dXNlcj1hbm5AZGVtby5leGFtcGxlAWF1dGg9QmVhcmVyIGEudG9rZW4BAQ=="
    )
    assert line.startswith("a NO [UNAVAILABLE]")


async def test_extensions(gateway: Any, play: Play) -> None:
    await gateway.deliver(PLAIN)
    await gateway.deliver(b"Subject: empty\r\n\r\n")

    async def later() -> None:
        gateway.clock.now += 601_000

    await play("extensions.txt", gateway.connect(), later=later)


async def test_starttls(gateway: Any, play: Play) -> None:
    await play("starttls.txt", gateway.connect(is_secure=False))


async def test_folders(gateway: Any, play: Play) -> None:
    await gateway.deliver(PLAIN)
    await play("folders.txt", gateway.connect())


async def test_reading(gateway: Any, play: Play) -> None:
    await gateway.deliver(TWO_PARTS, prefix=PREFIX)
    await play("reading.txt", gateway.connect())


async def test_writing(gateway: Any, play: Play) -> None:
    for _ in range(3):
        await gateway.deliver(PLAIN)
    await play("writing.txt", gateway.connect())


async def test_idle(gateway: Any, play: Play) -> None:
    first = await gateway.deliver(PLAIN)

    async def deliver() -> None:
        await gateway.deliver(PLAIN)

    async def flag() -> None:
        request = StoreRequest(
            mailbox_id=gateway.mailbox_id,
            folder_id=first.folder_id,
            uids=(1,),
            mode=StoreMode.ADD,
            flags=Flag.DELETED | Flag.FLAGGED,
        )
        await gateway.store.store_flags(request)
        await gateway.wake(first.folder_id)

    async def expunge() -> None:
        await gateway.store.expunge(gateway.mailbox_id, first.folder_id, None)
        await gateway.wake(first.folder_id)

    await play("idle.txt", gateway.connect(), deliver=deliver, flag=flag, expunge=expunge)


async def test_habits(gateway: Any, play: Play) -> None:
    for _ in range(3):
        await gateway.deliver(PLAIN)
    await play("habits.txt", gateway.connect())
