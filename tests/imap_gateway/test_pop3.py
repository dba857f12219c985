"""POP3 sessions over a connection in memory (RFC 1939, RFC 2449, RFC 5034)."""

import asyncio
import base64
from typing import Any

import pytest

from postbus.contracts.app_passwords import Access
from postbus.contracts.imap_gateway import ListSessionsRequest
from postbus.core.errors import ErrorKind, MailError
from postbus.mailstore.values import Flag
from postbus.testing.transcript import ScriptedWire

FIRST = b"Subject: one\r\nFrom: a@b.example\r\n\r\nHello.\r\n.dot\r\n..\r\nend\r\n"
SECOND = b"Subject: two\r\n\r\nno line end"
PREFIX = b"Received: here\r\n"


async def connect(gateway: Any, *, is_secure: bool = True) -> ScriptedWire:
    wire = ScriptedWire(is_secure=is_secure)
    gateway.server.accept(wire, "pop3s" if is_secure else "pop3")
    assert (await wire.read_line()).startswith(b"+OK mail.demo.example ready")
    return wire


async def ask(wire: ScriptedWire, line: str) -> str:
    wire.send(line.encode() + b"\r\n")
    return (await wire.read_line()).decode()


async def rest(wire: ScriptedWire) -> list[str]:
    """The lines of a long reply after its first, dots undone."""
    lines = []
    while (line := (await wire.read_line()).decode()) != ".":
        assert line or not wire.closed
        lines.append(line.removeprefix("."))
    return lines


async def long(wire: ScriptedWire, line: str) -> list[str]:
    first = await ask(wire, line)
    assert first.startswith("+OK"), first
    return await rest(wire)


async def log_in(gateway: Any) -> ScriptedWire:
    wire = await connect(gateway)
    assert await ask(wire, "USER ann@demo.example") == "+OK"
    assert (await ask(wire, "PASS secret")).startswith("+OK")
    return wire


async def inbox(gateway: Any) -> dict[int, Flag]:
    folders = await gateway.store.list_folders(gateway.mailbox_id)
    packed = await gateway.store.load_entries(gateway.mailbox_id, folders[0].folder_id)
    from postbusd.imap_gateway.views import FolderView

    view = FolderView(gateway.mailbox_id, folders[0].folder_id, packed)
    return {uid: Flag(view.flags[row]) for row, uid in enumerate(view.uids)}


@pytest.fixture
async def filled(gateway: Any) -> Any:
    await gateway.deliver(FIRST, prefix=PREFIX)
    await gateway.deliver(SECOND)
    return gateway


async def test_a_whole_session(filled: Any) -> None:
    wire = await log_in(filled)
    sizes = [len(PREFIX + FIRST), len(SECOND)]
    assert await ask(wire, "STAT") == f"+OK 2 {sum(sizes)}"
    assert await long(wire, "LIST") == [f"1 {sizes[0]}", f"2 {sizes[1]}"]
    assert await ask(wire, "LIST 2") == f"+OK 2 {sizes[1]}"
    ids = await long(wire, "UIDL")
    assert await ask(wire, "UIDL 1") == f"+OK {ids[0]}"
    assert await long(wire, "RETR 1") == (PREFIX + FIRST).decode().split("\r\n")[:-1]
    assert await long(wire, "RETR 2") == ["Subject: two", "", "no line end"]
    assert await long(wire, "TOP 1 0") == ["Received: here", "Subject: one", "From: a@b.example", ""]
    assert await long(wire, "top 1 2") == ["Received: here", "Subject: one", "From: a@b.example", "", "Hello.", ".dot"]
    assert (await ask(wire, "DELE 1")).startswith("+OK")
    for line in ("DELE 1", "RETR 1", "TOP 1 1", "LIST 1", "UIDL 1", "RETR 3", "RETR 0"):
        assert await ask(wire, line) == f"-ERR there is no message {line.split()[1]}"
    assert await ask(wire, "STAT") == f"+OK 1 {sizes[1]}"
    assert await long(wire, "LIST") == [f"2 {sizes[1]}"]
    assert await long(wire, "UIDL") == [ids[1]]
    assert await ask(wire, "RSET") == "+OK"
    assert await ask(wire, "STAT") == f"+OK 2 {sum(sizes)}"
    assert (await ask(wire, "DELE 2")).startswith("+OK")
    assert await inbox(filled) == {1: Flag(0), 2: Flag(0)}
    assert await ask(wire, "QUIT") == "+OK goodbye"
    assert await wire.read_line() == b""
    assert await inbox(filled) == {1: Flag.SEEN}
    again = await log_in(filled)
    assert await long(again, "UIDL") == [ids[0]]


async def test_who_leaves_without_quit_has_changed_nothing(filled: Any) -> None:
    wire = await log_in(filled)
    await ask(wire, "DELE 1")
    await long(wire, "RETR 2")
    wire.hang_up()
    assert await wire.read_line() == b""
    assert await inbox(filled) == {1: Flag(0), 2: Flag(0)}
    await log_in(filled)


async def test_new_mail_waits_and_removed_mail_is_told(filled: Any) -> None:
    wire = await log_in(filled)
    await filled.deliver(SECOND)
    assert (await ask(wire, "STAT")).startswith("+OK 2 ")
    other = await filled.log_in("INBOX")
    await filled.ask(other, "a STORE 1 +FLAGS.SILENT (\\Deleted)")
    await filled.ask(other, "b EXPUNGE")
    assert await ask(wire, "RETR 1") == "-ERR [SYS/PERM] the message is gone"
    assert await long(wire, "RETR 2") == ["Subject: two", "", "no line end"]
    assert await ask(wire, "DELE 1") == "+OK goes at QUIT"
    assert await ask(wire, "QUIT") == "+OK goodbye"
    assert set(await inbox(filled)) == {2, 3}


async def test_imap_sessions_see_what_was_removed(filled: Any) -> None:
    other = await filled.log_in("INBOX")
    wire = await log_in(filled)
    await ask(wire, "DELE 1")
    await ask(wire, "QUIT")
    assert "* 1 EXPUNGE" in await filled.ask(other, "a NOOP")


async def test_a_mailbox_is_one_sessions(filled: Any) -> None:
    first, second = await log_in(filled), await connect(filled)
    await ask(second, "USER ann@demo.example")
    assert await ask(second, "PASS secret") == "-ERR [IN-USE] another session reads this mailbox"
    await ask(first, "QUIT")
    await ask(second, "USER ann@demo.example")
    assert (await ask(second, "PASS secret")).startswith("+OK 2 messages")


async def test_a_lock_that_is_lost_ends_the_session(filled: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("postbusd.imap_gateway.pop3.session.LOCK_SECONDS", 0.03)
    wire = await log_in(filled)
    filled.store._drops[filled.mailbox_id] = ("another", filled.clock.now_ms() + 60_000)
    assert await wire.read_line() == b"-ERR [IN-USE] another session reads this mailbox"
    assert await wire.read_line() == b""
    assert filled.store._drops[filled.mailbox_id][0] == "another"


async def test_what_can_be_had_before_and_after_tls_and_login(gateway: Any) -> None:
    plain = await connect(gateway, is_secure=False)
    offered = await long(plain, "CAPA")
    assert "STLS" in offered
    assert not any(line.startswith(("SASL", "USER")) for line in offered)
    for line in ("USER ann@demo.example", "PASS secret", "AUTH PLAIN"):
        assert await ask(plain, line) == "-ERR passwords need TLS: STLS first"
    plain.send(b"STLS\r\nUSER mallory@demo.example\r\n")
    assert await plain.read_line() == b"+OK begin"
    assert await ask(plain, "PASS secret") == "-ERR USER first"
    offered = await long(plain, "CAPA")
    assert {"USER", "SASL PLAIN LOGIN", "TOP", "UIDL", "RESP-CODES", "AUTH-RESP-CODE", "PIPELINING"} <= set(offered)
    assert "STLS" not in offered
    assert await ask(plain, "STLS") == "-ERR TLS is on"
    assert await ask(plain, "UTF8") == "+OK"
    assert await long(plain, "AUTH") == ["PLAIN", "LOGIN"]
    for line in ("STAT", "LIST", "RETR 1", "DELE 1", "NOOP", "RSET", "UIDL", "TOP 1 1"):
        assert await ask(plain, line) == "-ERR log in first"
    assert (await ask(plain, "APOP ann 0123")).startswith("-ERR APOP needs")
    assert await ask(plain, "PASS secret") == "-ERR USER first"
    wire = await log_in(gateway)
    for line in ("USER a", "PASS b", "AUTH PLAIN", "STLS", "UTF8"):
        assert await ask(wire, line) == "-ERR you are logged in"
    assert not any(line.startswith(("SASL", "USER", "STLS")) for line in await long(wire, "CAPA"))
    assert await long(wire, "UIDL") == await long(wire, "LIST") == []
    assert await ask(wire, "STAT") == "+OK 0 0"


def encode(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


@pytest.mark.parametrize("initial", [True, False])
async def test_sasl(gateway: Any, initial: bool) -> None:
    response = encode("\0ann@demo.example\0secret")
    wire = await connect(gateway)
    if initial:
        assert (await ask(wire, f"AUTH PLAIN {response}")).startswith("+OK")
    else:
        assert await ask(wire, "auth plain") == "+ "
        assert (await ask(wire, response)).startswith("+OK")
    await ask(wire, "QUIT")
    wire = await connect(gateway)
    assert await ask(wire, "AUTH LOGIN") == f"+ {encode('Username:')}"
    assert await ask(wire, encode("ann@demo.example")) == f"+ {encode('Password:')}"
    assert (await ask(wire, encode("secret"))).startswith("+OK")
    (asked, _) = gateway.authenticator.requests
    assert (asked.access, asked.username) == (Access.POP3, "ann@demo.example")


async def test_sasl_that_goes_wrong(gateway: Any) -> None:
    wire = await connect(gateway)
    assert await ask(wire, "AUTH PLAIN") == "+ "
    assert await ask(wire, "*") == "-ERR Cancelled"
    assert (await ask(wire, "AUTH PLAIN !")).startswith("-ERR The response is not base64")
    assert await ask(wire, "AUTH CRAM-MD5") == "-ERR the mechanism is not offered"
    assert await ask(wire, "AUTH XOAUTH2") == "-ERR the mechanism is not offered"
    assert await ask(wire, f"AUTH PLAIN {encode('bob' + chr(0) + 'ann@demo.example' + chr(0) + 'secret')}") == (
        "-ERR acting for others is not possible"
    )


async def test_tokens(gateway: Any) -> None:
    gateway.authenticator.provider = "https://id.demo.example/x"
    await gateway.provider.check()
    wire = await connect(gateway)
    assert "SASL PLAIN LOGIN OAUTHBEARER XOAUTH2" in await long(wire, "CAPA")
    bad = encode("user=ann@demo.example\x01auth=Bearer other\x01\x01")
    assert (await ask(wire, f"AUTH XOAUTH2 {bad}")).startswith("+ ey")
    assert await ask(wire, "") == "-ERR [AUTH] user name or password is wrong"
    good = encode("n,,\x01auth=Bearer a.token\x01\x01")
    assert (await ask(wire, f"AUTH OAUTHBEARER {good}")).startswith("+OK")
    assert gateway.authenticator.token_requests[1].access is Access.POP3


@pytest.mark.parametrize(
    ("kind", "reply"),
    [
        (ErrorKind.UNAUTHENTICATED, "-ERR [AUTH] user name or password is wrong"),
        (ErrorKind.INACTIVE, "-ERR [AUTH] POP3 is off for this mailbox"),
        (ErrorKind.RATE_LIMITED, "-ERR [SYS/TEMP] too many failed logins, try again later"),
        (ErrorKind.UNAVAILABLE, "-ERR [SYS/TEMP] logins can't be checked now, try again later"),
    ],
)
async def test_refused_logins(gateway: Any, kind: ErrorKind, reply: str) -> None:
    gateway.authenticator.fail_with = MailError(kind, "POP3 is off for this mailbox")
    wire = await connect(gateway)
    await ask(wire, "USER ann@demo.example")
    assert await ask(wire, "PASS secret") == reply
    await gateway.events.flush()
    assert len(gateway.bus.events) == (kind is not ErrorKind.UNAVAILABLE)


async def test_guessing_ends(gateway: Any) -> None:
    wire = await connect(gateway)
    for _ in range(3):
        await ask(wire, "USER ann@demo.example")
        assert (await ask(wire, "PASS wrong")).startswith("-ERR [AUTH]")
    assert await wire.read_line() == b""


async def test_lines_that_are_no_commands(gateway: Any) -> None:
    wire = await connect(gateway)
    assert await ask(wire, "EHLO a.example") == "-ERR unknown command"
    wire.send(b"x" * 20_000 + b"\r\nCAPA\r\n")
    assert await wire.read_line() == b"-ERR the line is too long"
    assert (await wire.read_line()).startswith(b"+OK")
    await rest(wire)
    for _ in range(18):
        assert (await ask(wire, "nonsense")).startswith("-ERR")
    assert await wire.read_line() == b""
    wire = await connect(gateway)
    wire.send(b"x" * 1_100_000)
    assert await wire.read_line() == b"-ERR the line is too long"
    assert await wire.read_line() == b""


async def test_pipelined_commands(filled: Any) -> None:
    wire = await connect(filled)
    wire.send(b"USER ann@demo.example\r\nPASS secret\r\nSTAT\r\nDELE 1\r\nDELE 2\r\nQUIT\r\n")
    answers = [await wire.read_line() for _ in range(6)]
    assert [each[:3] for each in answers] == [b"+OK"] * 6
    assert await wire.read_line() == b""
    assert await inbox(filled) == {}


async def test_a_login_that_ends_and_a_process_that_drains(filled: Any) -> None:
    wire = await log_in(filled)
    await ask(wire, "DELE 1")
    filled.authenticator.ended = True
    await filled.logins.check()
    assert await wire.read_line() == b"-ERR [AUTH] this login has ended, log in again"
    filled.authenticator.ended = False
    assert await wire.read_line() == b""
    wire = await log_in(filled)
    sessions = (await filled.server.list_sessions(ListSessionsRequest())).sessions
    assert [(each.protocol, each.address, each.state) for each in sessions] == [
        ("pop3", "ann@demo.example", "transaction")
    ]
    assert filled.server.end_epoch() == 1
    assert (await wire.read_line()).startswith(b"-ERR [SYS/TEMP] the mail store goes on from an earlier state")
    assert await wire.read_line() == b""
    wire = await connect(filled)
    draining = asyncio.create_task(filled.server.drain())
    assert (await wire.read_line()).startswith(b"-ERR [SYS/TEMP] the server is going down")
    await draining
    assert await inbox(filled) == {1: Flag(0), 2: Flag(0)}


async def test_a_database_that_is_away(filled: Any) -> None:
    wire = await log_in(filled)
    await ask(wire, "DELE 1")
    filled.store.fail_with = MailError(ErrorKind.UNAVAILABLE, "away")
    assert await ask(wire, "RETR 2") == "-ERR [SYS/TEMP] that can't be done now, try again later"
    assert await ask(wire, "QUIT") == "-ERR [SYS/TEMP] some deleted messages may still be there"
    assert await wire.read_line() == b""
    filled.store.fail_with = None
    assert await inbox(filled) == {1: Flag(0), 2: Flag(0)}


async def test_bytes_that_are_missing(filled: Any) -> None:
    wire = await log_in(filled)
    filled.blobs.blobs.clear()
    assert await ask(wire, "RETR 1") == "-ERR [SYS/PERM] the message is gone"


async def test_a_large_message_comes_in_pieces(gateway: Any) -> None:
    lines = [f".{number} {'x' * 60}" for number in range(6_000)]
    await gateway.deliver(b"Subject: large\r\n\r\n" + "\r\n".join(lines).encode() + b"\r\n")
    wire = await log_in(gateway)
    assert await long(wire, "RETR 1") == ["Subject: large", "", *lines]
    assert await long(wire, "TOP 1 5000") == ["Subject: large", "", *lines[:5000]]


async def test_answers_to_many_commands_are_not_held_back(make_gateway: Any) -> None:
    gateway = await make_gateway(write_seconds=0.1)
    await gateway.deliver(FIRST)
    wire = await log_in(gateway)
    written = wire.written
    wire.stalled = True
    wire.send(b"UIDL\r\n" * 100_000)
    async with asyncio.timeout(10):
        while not wire.closed:
            await asyncio.sleep(0.01)
    assert 0 < wire.written - written < 200_000


async def test_what_nobody_expected_ends_one_session(filled: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    wire = await log_in(filled)

    async def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(filled.store, "fetch_messages", broken)
    assert (await ask(wire, "RETR 1")).startswith("-ERR [SYS/TEMP] internal error, incident ")
    assert await wire.read_line() == b""
    monkeypatch.undo()
    await log_in(filled)


async def test_top_counts_lines_by_lf(gateway: Any) -> None:
    await gateway.deliver(b"Subject: x\r\n\r\na\rb\r\nc\r\n")
    wire = await log_in(gateway)
    assert await long(wire, "TOP 1 1") == ["Subject: x", "", "a\rb"]
    assert await long(wire, "TOP 1 99") == ["Subject: x", "", "a\rb", "c"]


async def test_silence_ends_a_session(make_gateway: Any) -> None:
    gateway = await make_gateway(pop3_idle_seconds=0.05, login_seconds=5.0)
    wire = await log_in(gateway)
    assert await wire.read_line() == b"-ERR nothing came for too long"
    assert await wire.read_line() == b""
