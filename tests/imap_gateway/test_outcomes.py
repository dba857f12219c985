"""Changes whose answer was lost: the true outcome or BYE, never NO for what has happened (architecture §4)."""

from typing import Any

import pytest

from postbus.core.errors import ErrorKind, MailError
from postbusd.imap_gateway import outcome

PLAIN = b"From: bob@demo.example\r\nSubject: Plain\r\n\r\nText\r\n"
BYE = "* BYE [UNAVAILABLE] The last command may or may not have been done, log in again and look"
APPEND = "a APPEND INBOX {23+}\r\nSubject: x\r\n\r\nA text.\r\n"


STORES = ("a STORE 1 FLAGS (\\Deleted)", "a STORE 1 (UNCHANGEDSINCE 9) FLAGS (\\Deleted)")


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outcome, "FIRST_PAUSE_SECONDS", 0.0)


async def test_append_learns_that_it_was_done(gateway: Any) -> None:
    wire = await gateway.log_in("INBOX")
    validity = (await gateway.store.list_folders(gateway.mailbox_id))[0].uid_validity
    gateway.store.lost_answers = 3
    assert await gateway.ask(wire, APPEND) == ["* 1 EXISTS", f"a OK [APPENDUID {validity} 1] Done"]
    assert await gateway.ask(wire, "b NOOP") == ["b OK Done"]


@pytest.mark.parametrize("verb", ["COPY", "MOVE"])
async def test_copy_and_move_learn_that_they_were_done(gateway: Any, verb: str) -> None:
    await gateway.deliver(PLAIN)
    wire = await gateway.log_in("INBOX")
    gateway.store.lost_answers = 2
    answer = await gateway.ask(wire, f"a {verb} 1 Archive")
    assert "COPYUID" in answer[0]
    assert answer[-1].startswith("a OK")
    folders = {folder.name: folder.messages for folder in await gateway.store.list_folders(gateway.mailbox_id)}
    assert folders["Archive"] == 1
    assert folders["INBOX"] == (1 if verb == "COPY" else 0)


async def test_store_and_expunge_answer_as_if_nothing_had_been(gateway: Any) -> None:
    for _ in range(3):
        await gateway.deliver(PLAIN)
    wire = await gateway.log_in("INBOX")
    other = await gateway.log_in("INBOX")
    gateway.store.lost_answers = 1
    assert await gateway.ask(wire, "a STORE 2 +FLAGS (\\Deleted)") == ["* 2 FETCH (FLAGS (\\Deleted))", "a OK Done"]
    gateway.store.lost_answers = 2
    assert await gateway.ask(wire, "b EXPUNGE") == ["* 2 EXPUNGE", "b OK Done"]
    assert await gateway.ask(other, "a NOOP") == ["* 2 EXPUNGE", "a OK Done"]
    gateway.store.lost_answers = 1
    # what others may have changed in between can't be told apart: the flags are told after all
    told = ["* 1 FETCH (UID 1 FLAGS (\\Deleted))", "c OK Done"]
    assert await gateway.ask(wire, "c STORE 1 +FLAGS.SILENT (\\Deleted)") == told
    gateway.store.lost_answers = 1
    assert await gateway.ask(wire, "d CLOSE") == ["d OK Done"]
    assert (await gateway.store.list_folders(gateway.mailbox_id))[0].messages == 1


@pytest.mark.parametrize("line", [APPEND, "a COPY 1 Archive", "a MOVE 1 Archive", *STORES])
async def test_an_outcome_that_stays_unknown_ends_the_session(make_gateway: Any, line: str) -> None:
    gateway = await make_gateway(outcome_seconds=0.02)
    await gateway.deliver(PLAIN)
    wire = await gateway.log_in("INBOX")
    await gateway.ask(wire, "e ENABLE CONDSTORE")
    gateway.store.lost_answers = 1_000_000
    wire.send(line.encode() + b"\r\n")
    assert (await wire.read_line()).decode() == BYE
    assert not await wire.read_line()
    assert wire.closed


async def test_a_conditional_store_is_not_refused_over_its_own_first_run(gateway: Any) -> None:
    """The repetition would find every message changed: its key tells what came of it (RFC 7162 §3.1.3)."""
    for _ in range(3):
        await gateway.deliver(PLAIN)
    wire = await gateway.log_in("INBOX")
    gateway.store.lost_answers = 3
    assert await gateway.ask(wire, "a STORE 1:3 (UNCHANGEDSINCE 3) +FLAGS.SILENT (\\Seen)") == [
        "* OK [HIGHESTMODSEQ 4] Highest mod-sequence",
        "* 1 FETCH (UID 1 MODSEQ (5))",
        "* 2 FETCH (UID 2 MODSEQ (5))",
        "a OK [MODIFIED 3] Conditional STORE failed",
    ]


async def test_a_conditional_store_is_not_done_again_over_the_change_of_another(gateway: Any) -> None:
    await gateway.deliver(PLAIN)
    wire, other = await gateway.log_in("INBOX"), await gateway.log_in("INBOX")
    store_flags = gateway.store.store_flags

    async def lose_and_change(request: Any) -> Any:
        gateway.store.store_flags = store_flags
        try:
            return await store_flags(request)
        finally:
            await gateway.ask(other, "o STORE 1 -FLAGS (\\Seen)")

    gateway.store.store_flags = lose_and_change
    gateway.store.lost_answers = 1
    assert await gateway.ask(wire, "a STORE 1 (UNCHANGEDSINCE 2) +FLAGS (\\Seen)") == [
        "* OK [HIGHESTMODSEQ 2] Highest mod-sequence",
        "* 1 FETCH (UID 1 FLAGS () MODSEQ (4))",
        "a OK Done",
    ]


async def test_a_database_that_stays_away_after_the_loss_ends_the_session(make_gateway: Any) -> None:
    """What was sent first may have been done: a later failure to ask is no NO."""
    gateway = await make_gateway(outcome_seconds=0.02)
    wire = await gateway.log_in("INBOX")
    append = gateway.store.append

    async def lose(appends: Any) -> Any:
        try:
            return await append(appends)
        finally:
            gateway.store.fail_with = MailError(ErrorKind.UNAVAILABLE, "away")

    gateway.store.append = lose
    gateway.store.lost_answers = 1
    wire.send(APPEND.encode() + b"\r\n")
    assert (await wire.read_line()).decode() == BYE


async def test_a_change_that_was_never_sent_is_refused_at_once(gateway: Any) -> None:
    await gateway.deliver(PLAIN)
    wire = await gateway.log_in("INBOX")
    gateway.store.fail_with = MailError(ErrorKind.UNAVAILABLE, "away")
    for line in ("a STORE 1 FLAGS (\\Seen)", "a COPY 1 Archive", APPEND, "a EXPUNGE"):
        assert await gateway.ask(wire, line) == ["a NO [UNAVAILABLE] Not available now, try again later"]


async def test_a_change_is_ok_although_its_news_cannot_be_read(gateway: Any) -> None:
    """The write is the answer; the view follows when the database is back."""
    await gateway.deliver(PLAIN)
    wire = await gateway.log_in("INBOX")
    load_changes = gateway.store.load_changes

    async def fail(*_: Any, **__: Any) -> Any:
        raise MailError(ErrorKind.UNAVAILABLE, "away")

    gateway.store.load_changes = fail
    assert await gateway.ask(wire, "a STORE 1 +FLAGS (\\Deleted)") == ["a OK Done"]
    assert (await gateway.ask(wire, APPEND))[-1].startswith("a OK [APPENDUID")
    assert await gateway.ask(wire, "b EXPUNGE") == ["b OK Done"]
    gateway.store.load_changes = load_changes
    assert await gateway.ask(wire, "c NOOP") == ["* 1 EXPUNGE", "* 1 EXISTS", "c OK Done"]
