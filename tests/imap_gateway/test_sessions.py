"""Sessions: what is told when, what happens when something is away, limits and ends."""

import asyncio
from typing import Any

import pytest

from postbus.contracts.imap_gateway import ListSessionsRequest
from postbus.core.errors import ErrorKind, MailError
from postbus.core.ids import BlobId
from postbus.mailstore.values import Flag, StoreMode, StoreRequest
from postbusd.imap_gateway import fetch_plan
from postbusd.imap_gateway.commands import fetch
from postbusd.imap_gateway.errors import CODES, render_error

PLAIN = b"From: bob@demo.example\r\nSubject: Plain\r\n\r\nText\r\n"
AWAY = MailError(ErrorKind.UNAVAILABLE, "away")


@pytest.mark.parametrize("kind", list(ErrorKind))
def test_every_kind_has_a_reply(kind: ErrorKind) -> None:
    reply = render_error(MailError(kind, "why"))
    assert reply.status == b"NO"
    assert reply.code == CODES[kind][0]
    assert reply.text


def test_who_knows_the_password_is_told_why_it_does_not_open() -> None:
    assert render_error(MailError(ErrorKind.INACTIVE, "this is off")).text == "This is off"
    assert render_error(MailError(ErrorKind.UNAUTHENTICATED, "kim is unknown")).text == "User name or password is wrong"


async def test_expunge_is_not_told_during_commands_by_number(gateway: Any) -> None:
    folder_id = 0
    for _ in range(3):
        folder_id = (await gateway.deliver(PLAIN)).folder_id
    wire = await gateway.log_in("INBOX")
    other = await gateway.log_in("INBOX")
    await gateway.ask(other, "a STORE 2 +FLAGS.SILENT (\\Deleted)")
    assert await gateway.ask(other, "b EXPUNGE") == ["* 2 EXPUNGE", "b OK Done"]
    await gateway.deliver(PLAIN)
    # numbers stand still: 3 is still the third message, 2 is left out, the new one is not told of yet
    assert await gateway.ask(wire, "a FETCH 1:3 UID") == [
        "* 1 FETCH (UID 1)",
        "* 3 FETCH (UID 3)",
        "a OK [EXPUNGEISSUED] Some messages are gone",
    ]
    assert await gateway.ask(wire, "b SEARCH ALL") == ["* SEARCH 1 3", "b OK Done"]
    assert await gateway.ask(wire, "c STORE 3 +FLAGS (\\Seen)") == ["* 3 FETCH (FLAGS (\\Seen))", "c OK Done"]
    assert await gateway.ask(wire, "d UID SEARCH ALL") == ["* SEARCH 1 3", "* 2 EXPUNGE", "* 3 EXISTS", "d OK Done"]
    assert await gateway.ask(wire, "e FETCH 1:* UID") == [
        "* 1 FETCH (UID 1)",
        "* 2 FETCH (UID 3)",
        "* 3 FETCH (UID 4)",
        "e OK Done",
    ]
    assert folder_id


async def test_views_are_shared_and_one_session_hears_of_the_other(gateway: Any) -> None:
    await gateway.deliver(PLAIN)
    first, second = await gateway.log_in("INBOX"), await gateway.log_in("INBOX")
    assert gateway.views.open_views == 1
    assert await gateway.ask(first, "a STORE 1 +FLAGS.SILENT (\\Seen $Note)") == ["a OK Done"]
    assert await gateway.ask(second, "a CHECK") == ["* 1 FETCH (UID 1 FLAGS (\\Seen $Note))", "a OK Done"]
    await gateway.ask(second, "b CLOSE")
    await gateway.ask(first, "b UNSELECT")
    assert gateway.views.open_views == 0
    assert gateway.views.messages == 1


async def test_noop_and_the_sweep_find_what_no_wake_up_told(gateway: Any) -> None:
    wire = await gateway.log_in("INBOX")
    await gateway.deliver(PLAIN, wake=False)
    assert await gateway.ask(wire, "a SEARCH ALL") == ["* SEARCH", "a OK Done"]
    assert await gateway.ask(wire, "b NOOP") == ["* 1 EXISTS", "b OK Done"]
    wire.send(b"c IDLE\r\n")
    assert await wire.read_line() == b"+ idling"
    await gateway.deliver(PLAIN, wake=False)
    await gateway.views.sweep()
    assert await wire.read_line() == b"* 2 EXISTS"


async def test_a_folder_closed_and_opened_again_is_up_to_date(gateway: Any) -> None:
    first = await gateway.deliver(PLAIN)
    wire = await gateway.log_in("INBOX")
    await gateway.ask(wire, "a UNSELECT")
    request = StoreRequest(
        mailbox_id=gateway.mailbox_id,
        folder_id=first.folder_id,
        uids=(1,),
        mode=StoreMode.ADD,
        flags=Flag.DELETED,
    )
    await gateway.store.store_flags(request)
    await gateway.store.expunge(gateway.mailbox_id, first.folder_id, None)
    await gateway.deliver(PLAIN)
    await gateway.ask(wire, "b SELECT INBOX")
    assert await gateway.ask(wire, "c FETCH 1:* (UID FLAGS)") == ["* 1 FETCH (UID 2 FLAGS ())", "c OK Done"]


async def test_a_deleted_folder_ends_the_session(gateway: Any) -> None:
    owner = await gateway.log_in()
    await gateway.ask(owner, "a CREATE Old")
    wire = await gateway.log_in("Old")
    await gateway.ask(owner, "b DELETE Old")
    wire.send(b"c NOOP\r\n")
    assert await wire.read_line() == b"* BYE The selected folder is gone"


async def test_text_searches_ask_the_indexer_once(gateway: Any) -> None:
    await gateway.deliver(PLAIN)
    await gateway.deliver(PLAIN.replace(b"Plain", b"Other"), flags=Flag.SEEN)
    await gateway.deliver(PLAIN.replace(b"Text", b"Verse"))
    wire = await gateway.log_in("INBOX")
    assert await gateway.ask(wire, "a SEARCH OR SUBJECT other BODY verse") == ["* SEARCH 2 3", "a OK Done"]
    assert len(gateway.indexer.requests) == 1
    assert await gateway.ask(wire, "b UID SEARCH RETURN (MIN MAX COUNT ALL) UNSEEN NOT TEXT verse") == [
        '* ESEARCH (TAG "b") UID MIN 1 MAX 1 COUNT 1 ALL 1',
        "b OK Done",
    ]
    assert await gateway.ask(wire, "c SEARCH HEADER Subject plain SINCE 1-Jan-2020 SMALLER 500 1:*") == [
        "* SEARCH 1 3",
        "c OK Done",
    ]
    gateway.indexer.fail_with = AWAY
    assert await gateway.ask(wire, "d SEARCH TEXT x") == [
        "d NO [UNAVAILABLE] Texts can't be searched now: the index is away or being made anew"
    ]
    assert await gateway.ask(wire, "e SEARCH SEEN") == ["* SEARCH 2", "e OK Done"]
    assert await gateway.ask(wire, "f SEARCH CHARSET KOI8-R TEXT x") == [
        "f NO [BADCHARSET (US-ASCII UTF-8)] The charset is not known here"
    ]


async def test_flags_and_dates_are_searched_without_a_query(gateway: Any) -> None:
    await gateway.deliver(PLAIN)
    await gateway.deliver(b"Date: Mon, 2 Nov 2026 23:00:00 -0500\r\n\r\nx", flags=Flag.FLAGGED | Flag.DELETED)
    wire = await gateway.log_in("INBOX")
    gateway.store.fail_with = AWAY
    for criteria, found in {
        "FLAGGED": "2",
        "NOT FLAGGED": "1",
        "UNDELETED": "1",
        "SENTON 2-Nov-2026": "2",
        "SENTBEFORE 2-Nov-2026": "",
        "ON 21-Sep-2026": "1 2",
        "BEFORE 21-Sep-2026": "",
        "LARGER 60": "",
        "UID 2": "2",
        "(1 ALL)": "1",
        "NEW": "",
        "OLD": "1 2",
        "KEYWORD x": "",
        "UNKEYWORD x": "1 2",
    }.items():
        answer = await gateway.ask(wire, f"a SEARCH {criteria}")
        assert answer[0].removeprefix("* SEARCH").strip() == found, criteria
    assert await gateway.ask(wire, "b UID FETCH 1:* (FLAGS RFC822.SIZE INTERNALDATE)")
    assert await gateway.ask(wire, "c FETCH 1 ENVELOPE") == ["c NO [UNAVAILABLE] Not available now, try again later"]
    assert await gateway.ask(wire, "d NOOP") == ["d NO [UNAVAILABLE] Not available now, try again later"]


async def test_bodies_away_are_a_delay(gateway: Any) -> None:
    await gateway.deliver(PLAIN)
    wire = await gateway.log_in("INBOX")
    gateway.blobs.fail_with = AWAY
    assert await gateway.ask(wire, "a FETCH 1 BODY[]") == ["a NO [UNAVAILABLE] Not available now, try again later"]
    gateway.blobs.fail_with = None
    gateway.blobs.blobs.clear()
    assert await gateway.ask(wire, "b FETCH 1 BODY[]") == ["b NO [UNAVAILABLE] Not available now, try again later"]
    assert await gateway.ask(wire, "c FETCH 1 FLAGS") == ["* 1 FETCH (FLAGS ())", "c OK Done"]


async def test_large_bodies_are_read_in_part(gateway: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    body = bytes(range(65, 91)) * 8_000
    await gateway.deliver(b"Subject: Large\r\n\r\n" + body, prefix=b"X-A: b\r\n")
    wire = await gateway.log_in("INBOX")
    asked: list[tuple[int, int | None]] = []
    get = gateway.blobs.get

    async def spy(blob_id: Any, start: int = 0, length: int | None = None) -> bytes:
        asked.append((start, length))
        data: bytes = await get(blob_id, start, length)
        return data

    monkeypatch.setattr(gateway.blobs, "get", spy)
    lines = await gateway.ask(wire, "a FETCH 1 BODY.PEEK[]<6.12>")
    assert lines[:2] == ["* 1 FETCH (BODY[]<6> {12}", ""]
    assert lines[2] == "Subject: L)"
    assert asked == [(0, 10)]
    assert (await gateway.ask(wire, "b FETCH 1 BODY.PEEK[TEXT]<26.4>"))[1] == "ABCD)"
    assert asked[1] == (44, 4)


async def test_many_bodies_come_in_bounded_chunks(gateway: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch_plan, "BODY_CHUNK", 3)
    monkeypatch.setattr(fetch_plan, "BODY_CHUNK_OCTETS", 120)
    for _ in range(8):
        await gateway.deliver(PLAIN)
    wire = await gateway.log_in("INBOX")
    lines = await gateway.ask(wire, "a FETCH 1:* (BODY[] ENVELOPE)")
    assert sum(line.startswith("* ") for line in lines) == 8
    assert lines[-1] == "a OK Done"
    assert await gateway.ask(wire, "b SEARCH UNSEEN") == ["* SEARCH", "b OK Done"]


async def test_a_bug_gets_an_incident_and_the_session_goes_on(
    gateway: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    wire = await gateway.log_in("INBOX")

    async def explode(*_: object) -> None:
        raise RuntimeError("secret detail")

    monkeypatch.setattr(gateway.store, "list_folders", explode)
    answer = await gateway.ask(wire, 'a LIST "" *')
    assert answer[0].startswith("a NO [SERVERBUG] Internal error, incident ")
    assert "secret" not in answer[0]
    assert "imap.command.failed" in caplog.text
    assert await gateway.ask(wire, "b NOOP") == ["b OK Done"]


async def test_the_directory_away_is_no_failed_login(make_gateway: Any) -> None:
    gateway = await make_gateway(max_failed_logins=2)
    wire = gateway.connect()
    await wire.read_line()
    gateway.authenticator.fail_with = AWAY
    for tag in "abc":
        assert await gateway.ask(wire, f"{tag} LOGIN ann@demo.example secret") == [
            f"{tag} NO [UNAVAILABLE] Not available now, try again later"
        ]
    gateway.authenticator.fail_with = None
    await gateway.ask(wire, "d LOGIN ann@demo.example x")
    wire.send(b"e LOGIN ann@demo.example x\r\n")
    assert await wire.read_line() == b"* BYE [AUTHENTICATIONFAILED] Too many failed logins"
    assert [request.client_address for request in gateway.authenticator.requests] == ["192.0.2.1"] * 5


async def test_sessions_are_limited_per_mailbox_and_overall(make_gateway: Any) -> None:
    gateway = await make_gateway(max_sessions=2, max_sessions_per_mailbox=1)
    await gateway.log_in()
    second = gateway.connect()
    await second.read_line()
    assert await gateway.ask(second, "a LOGIN ann@demo.example secret") == [
        "a NO [LIMIT] Too many sessions of this mailbox"
    ]
    third = gateway.connect()
    assert await third.read_line() == b"* BYE [UNAVAILABLE] Too many sessions, try again later"
    assert third.closed


async def test_silence_ends_a_session(make_gateway: Any) -> None:
    gateway = await make_gateway(login_seconds=0.01, idle_seconds=0.01)
    wire = gateway.connect()
    await wire.read_line()
    assert await wire.read_line() == b"* BYE [UNAVAILABLE] Nothing came for too long"
    assert await wire.read_line() == b""


async def test_a_peer_that_does_not_read_is_let_go(make_gateway: Any) -> None:
    gateway = await make_gateway(write_seconds=0.01)
    wire = await gateway.log_in()
    wire.stalled = True
    wire.send(b"a NOOP\r\n")
    while not wire.closed:
        await asyncio.sleep(0)


async def test_drain_says_bye_to_everybody(gateway: Any) -> None:
    idle, quiet = await gateway.log_in("INBOX"), await gateway.log_in()
    idle.send(b"a IDLE\r\n")
    assert await idle.read_line() == b"+ idling"
    async with asyncio.timeout(2):
        await gateway.server.drain()
    for wire in (idle, quiet):
        assert await wire.read_line() == b"* BYE Server is going down, come back in a moment"
        assert wire.closed
    late = gateway.connect()
    assert (await late.read_line()).startswith(b"* BYE")


async def test_sessions_are_listed(gateway: Any) -> None:
    await gateway.log_in("INBOX")
    gateway.connect()
    reply = await gateway.server.list_sessions(ListSessionsRequest())
    assert reply.total == 2
    assert [(each.address, each.folder, each.state) for each in reply.sessions] == [
        ("ann@demo.example", "INBOX", "selected"),
        ("", "", "not authenticated"),
    ]
    own = await gateway.server.list_sessions(ListSessionsRequest(mailbox_id=gateway.mailbox_id, limit=0))
    assert (own.total, own.sessions) == (1, ())


async def test_a_peer_that_hangs_up_leaves_nothing_behind(gateway: Any) -> None:
    wire = await gateway.log_in("INBOX")
    wire.hang_up()
    async with asyncio.timeout(2):
        while (await gateway.server.list_sessions(ListSessionsRequest())).total:
            await asyncio.sleep(0)
    assert wire.closed
    assert gateway.views.open_views == 0


async def test_a_failing_clean_up_hurts_nobody_else(gateway: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    wire, other = await gateway.log_in("INBOX"), await gateway.log_in()

    async def explode(*_: object) -> None:
        raise RuntimeError("no")

    monkeypatch.setattr(gateway.views, "close", explode)
    wire.hang_up()
    async with asyncio.timeout(2):
        while (await gateway.server.list_sessions(ListSessionsRequest())).total > 1:
            await asyncio.sleep(0)
    assert await gateway.ask(other, "a NOOP") == ["a OK Done"]


async def test_too_many_errors_end_the_session(gateway: Any) -> None:
    wire = gateway.connect()
    await wire.read_line()
    wire.send(b"\x00\xff\r\n" * 30)
    answers = [await wire.read_line() for _ in range(6)]
    assert answers[:5] == [b"* BAD Expected a tag"] * 5
    assert answers[5] == b"* BYE Too many errors"


async def test_over_quota_is_refused_at_append(gateway: Any) -> None:
    wire = await gateway.log_in()
    await gateway.ask(wire, "a NOOP")
    wire.send(b"b APPEND INBOX {1100000+}\r\n" + b"x" * 1_100_000 + b"\r\n")
    assert await wire.read_line() == b"b NO [OVERQUOTA] The mailbox is full"


async def test_copies_over_quota_are_refused_whole_and_moves_are_not(gateway: Any) -> None:
    """All of a COPY or nothing; a MOVE takes no room."""
    big = b"Subject: Big\r\n\r\n" + b"x" * 300_000
    for _ in range(2):
        await gateway.deliver(big)
    wire = await gateway.log_in("INBOX")
    refused = ["a NO [OVERQUOTA] The mailbox is full"]
    assert await gateway.ask(wire, "a COPY 1:2 Archive") == refused
    assert await gateway.ask(wire, "a UID COPY 1:2 INBOX") == refused
    assert (await gateway.ask(wire, "b STATUS Archive (MESSAGES UIDNEXT)"))[0].endswith("(MESSAGES 0 UIDNEXT 1)")
    assert (await gateway.ask(wire, "c COPY 1 Archive"))[0].startswith("c OK [COPYUID")
    assert (await gateway.ask(wire, "d MOVE 1:2 Trash"))[-1] == "d OK Done"
    assert await gateway.store.usage([gateway.mailbox_id]) == {gateway.mailbox_id: 3 * len(big)}
    counts = [folder.messages for folder in await gateway.store.list_folders(gateway.mailbox_id)]
    assert sum(counts) == 3


async def test_a_quota_that_was_raised_is_in_force_without_a_new_login(gateway: Any) -> None:
    await gateway.deliver(b"Subject: Big\r\n\r\n" + b"x" * 900_000)
    wire = await gateway.log_in("INBOX")
    append = "a APPEND Sent {200000+}\r\n" + "x" * 200_000
    full = ["a NO [OVERQUOTA] The mailbox is full"]
    assert await gateway.ask(wire, append) == full
    gateway.authenticator.fail_with = AWAY
    assert await gateway.ask(wire, append) == full
    gateway.authenticator.fail_with = None
    gateway.authenticator.quota_octets = 1_900_000
    assert (await gateway.ask(wire, append))[-1].startswith("a OK [APPENDUID")
    assert await gateway.ask(wire, "a COPY 1 Sent") == full
    gateway.authenticator.quota_octets = 2_100_000
    assert (await gateway.ask(wire, "a COPY 1 Sent"))[-1].startswith("a OK [COPYUID")
    asked = len(gateway.authenticator.resolved)
    await gateway.ask(wire, "a COPY 1 Nowhere")
    assert len(gateway.authenticator.resolved) == asked


async def test_a_message_asked_for_many_times_is_read_piece_by_piece(
    gateway: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch, "PIECE_OCTETS", 100_000)
    body = bytes(range(32, 96)) * 20_000
    await gateway.deliver(b"Subject: large\r\n\r\n" + body)
    wire = await gateway.log_in("INBOX")
    written: list[int] = []
    write = wire.write

    def keep(data: bytes) -> None:
        written.append(len(data))
        write(data)

    monkeypatch.setattr(wire, "write", keep)
    items = " ".join(f"BODY.PEEK[]<0.{2_000_000 + number}>" for number in range(20))
    answer = "\n".join(
        await gateway.ask(wire, f"a FETCH 1 ({items} BODY.PEEK[TEXT] BODY.PEEK[HEADER.FIELDS (Subject)])")
    )
    assert answer.count("Subject: large") == 21
    assert answer.count(body.decode()) == 21
    assert max(written) <= 200_000

    wire.stalled = True
    before = wire.written
    wire.send(f"b FETCH 1 ({items})\r\n".encode())
    for _ in range(100):
        await asyncio.sleep(0)
    assert 0 < wire.written - before <= 200_000


async def test_a_blob_that_is_lost_within_a_response_ends_the_session(
    gateway: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(fetch, "PIECE_OCTETS", 100_000)
    await gateway.deliver(b"Subject: large\r\n\r\n" + b"x" * 300_000)
    wire = await gateway.log_in("INBOX")
    get = gateway.blobs.get

    async def get_first(blob_id: BlobId, start: int = 0, length: int | None = None) -> bytes:
        if start:
            raise AWAY
        return bytes(await get(blob_id, start, length))

    monkeypatch.setattr(gateway.blobs, "get", get_first)
    wire.send(b"a FETCH 1 BODY.PEEK[]\r\n")
    assert (await wire.read_line()).startswith(b"* 1 FETCH (BODY[] {300018}")
    while await wire.read_line():
        continue
    assert "imap.fetch.cut_short" in caplog.text


async def test_pipelined_commands_leave_turns_to_others(gateway: Any) -> None:
    wire, other = gateway.connect(), gateway.connect()
    await wire.read_line(), await other.read_line()
    wire.send(b"a CAPABILITY\r\n" * 5000)
    await wire.read_line()
    other.send(b"b CAPABILITY\r\n")
    assert await other.read_line()
    assert 60_000 < wire.written < 200_000


async def test_a_session_that_trickles_gets_no_more_time_to_log_in(make_gateway: Any) -> None:
    gateway = await make_gateway(login_seconds=60.0)
    wire = gateway.connect()
    await wire.read_line()
    assert await gateway.ask(wire, "a NOOP") == ["a OK Done"]
    gateway.clock.now += 60_000
    assert await gateway.ask(wire, "b NOOP") == ["b OK Done"]
    assert await wire.read_line() == b"* BYE [UNAVAILABLE] Nothing came for too long"
