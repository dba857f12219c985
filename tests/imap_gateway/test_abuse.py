"""What one session may cost the others of its process."""

import time
from typing import Any

import pytest

from postbus.imap.dates import format_date_time
from postbus.imap.engine import CommandRefused, Engine
from postbus.mime.limits import MAX_HEADER_OCTETS
from postbusd.imap_gateway import searching

PLAIN = b"From: bob@demo.example\r\nSubject: Plain\r\n\r\nText\r\n"


async def test_a_search_of_too_much_work_is_refused(gateway: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(searching, "MAX_TESTS", 100)
    for _ in range(10):
        await gateway.deliver(PLAIN)
    wire = await gateway.log_in("INBOX")
    assert (await gateway.ask(wire, "a SEARCH SEEN LARGER 1 UNFLAGGED"))[0] == "* SEARCH"
    answer = await gateway.ask(wire, "b SEARCH " + " ".join(["UNSEEN"] * 20))
    assert answer == ["b NO [LIMIT] A limit is reached: too many criteria for so many messages"]
    assert await gateway.ask(wire, "c NOOP") == ["c OK Done"]


async def test_fields_are_chosen_from_a_bounded_header(gateway: Any) -> None:
    """A stranger may send a message that is all header: the recipient's program asks for its Subject."""
    message = b"Subject: first\r\n" + b"x:\r\n" * (MAX_HEADER_OCTETS // 2) + b"Subject: last\r\n\r\nx\r\n"
    await gateway.deliver(message)
    wire = await gateway.log_in("INBOX")
    answer = await gateway.ask(wire, "a FETCH 1 BODY.PEEK[HEADER.FIELDS (Subject)]")
    assert answer[1:] == ["Subject: first", "", ")", "a OK Done"]


@pytest.mark.parametrize("flags", [b"a " * 30_000, b"a" + b" " * 60_000, b"a  b " * 10_000])
def test_flags_are_read_in_linear_time(flags: bytes) -> None:
    engine = Engine()
    engine.receive_data(b"a LOGIN a b\r\n")
    engine.next_event()
    engine.complete(ok=True)
    started = time.process_time()
    engine.receive_data(b"a STORE 1 FLAGS " + flags + b"\r\n")
    assert isinstance(engine.next_event(), CommandRefused)
    assert time.process_time() - started < 0.15


@pytest.mark.parametrize("date", ["01-Jan-0001 00:00:00 +2359", "31-Dec-9999 23:59:59 -2359"])
async def test_a_date_beyond_the_calendar_is_refused(gateway: Any, date: str) -> None:
    """Stored, it would break each FETCH of the folder for ever."""
    wire = await gateway.log_in("INBOX")
    wire.send(b'a APPEND INBOX "%b" {%d+}\r\n%b\r\n' % (date.encode(), len(PLAIN), PLAIN))
    assert await wire.read_line() == b"a BAD There is no such time"


@pytest.mark.parametrize(
    ("unix_ms", "shown"),
    [(-(10**15), b'" 1-Jan-0001 22:13:20 +0000"'), (10**15, b'"31-Dec-9999 01:46:40 +0000"')],
)
def test_a_date_that_is_stored_all_the_same_is_shown_as_near_as_can_be(unix_ms: int, shown: bytes) -> None:
    assert format_date_time(unix_ms) == shown
