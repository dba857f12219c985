"""What a search finds, in the index and in the tail: both must answer the same."""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import pytest

from postbus.contracts.indexer import SearchRequest, TextField, TextTerm
from postbus.core.errors import ErrorKind, MailError
from postbus.core.ids import MailboxId
from postbusd.indexer.analysis import contains_phrase, fold_text

if TYPE_CHECKING:
    from tests.indexer.conftest import World

BOB = MailboxId("0190a000-0000-7000-8000-000000000002")

PLAIN = (
    b"From: =?utf-8?q?J=C3=BCrgen_M=C3=BCller?= <j.mueller@partner.example>\r\n"
    b'To: "Doe, Jane" <jane.doe@demo.example>\r\nCc: list@lists.example\r\n'
    b"Subject: =?utf-8?b?w4ljb2xlIGTigJnDqXTDqQ==?= and the quarterly report\r\n"
    b"X-Ticket: ABC-4711\r\nMessage-ID: <one@partner.example>\r\n"
    b"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
    + "Dear Jane,\r\nthe invoice for Straße 5 is attached. Привет, 日本語の文章です。\r\n".encode()
)
MULTIPART = (
    b"From: shop@shop.example\r\nSubject: order\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n"
    b"--b\r\nContent-Type: text/html; charset=utf-8\r\n\r\n<style>p{color:red}</style><p>Your <b>or</b>der &amp; "
    b"more</p><p>shipped</p>\r\n--b\r\nContent-Type: text/plain\r\nContent-Transfer-Encoding: base64\r\n\r\n"
    b"aGlkZGVuIHRyZWFzdXJl\r\n--b\r\nContent-Type: application/pdf\r\n"
    b'Content-Disposition: attachment; filename="=?utf-8?q?Rechnung_M=C3=A4rz.pdf?="\r\n\r\nxyzzy\r\n'
    b"--b\r\nContent-Type: message/rfc822\r\n\r\nSubject: enclosed thing\r\n\r\ninner words\r\n--b--\r\n"
)

FOUND_IN_PLAIN = [
    ("invoice", TextField.BODY, ""),
    ("INVOICE for", TextField.BODY, ""),
    ("the invoice for str", TextField.BODY, ""),
    ("strasse", TextField.TEXT, ""),
    ("привет", TextField.TEXT, ""),
    ("本語", TextField.BODY, ""),
    ("quarterly rep", TextField.SUBJECT, ""),
    ("ecole d’ete", TextField.SUBJECT, ""),
    ("école", TextField.TEXT, ""),
    ("jurgen", TextField.FROM, ""),
    ("j.mueller@partner.example", TextField.FROM, ""),
    ("mueller", TextField.FROM, ""),
    ("partner.example", TextField.FROM, ""),
    ("jane.doe@demo.example", TextField.TO, ""),
    ("doe, jane", TextField.TO, ""),
    ("list@", TextField.CC, ""),
    ("abc-4711", TextField.HEADER, "x-ticket"),
    ("4711", TextField.HEADER, "X-Ticket"),
    ("", TextField.HEADER, "x-ticket"),
    ("one@partner", TextField.HEADER, "message-id"),
    ("4711", TextField.TEXT, ""),
    ("mail.demo.example", TextField.HEADER, "received"),
    ("", TextField.TEXT, ""),
]
NOT_FOUND_IN_PLAIN = [
    ("quarterly", TextField.BODY, ""),
    ("invoice", TextField.SUBJECT, ""),
    ("for invoice", TextField.BODY, ""),
    ("the for", TextField.BODY, ""),
    ("invoic for", TextField.BODY, ""),
    ("voice", TextField.BODY, ""),
    ("jane", TextField.FROM, ""),
    ("4711", TextField.HEADER, "subject"),
    ("", TextField.HEADER, "x-absent"),
    ("list", TextField.BCC, ""),
    ("---", TextField.TEXT, ""),
    ('invoice" OR body:*', TextField.TEXT, ""),
    ("invoice.*dear", TextField.TEXT, ""),
    (".*", TextField.TEXT, ""),
    ("x" * 200, TextField.TEXT, ""),
]
FOUND_IN_MULTIPART = ["order more", "shipped", "hidden treasure", "Rechnung Marz", "enclosed thing", "inner words"]
NOT_FOUND_IN_MULTIPART = ["color", "xyzzy", "aGlkZGVu"]


async def _nothing(world: "World") -> None:
    return


async def _index(world: "World") -> None:
    await world.index_all()


@pytest.mark.parametrize("prepare", [_nothing, _index], ids=["tail", "index"])
async def test_fields_words_and_prefixes(world: "World", prepare: Callable[["World"], Awaitable[None]]) -> None:
    wanted = await world.deliver(PLAIN, prefix=b"Received: by mail.demo.example\r\n")
    await prepare(world)
    for value, field, header in FOUND_IN_PLAIN:
        assert await world.find(value, field, header=header) == [wanted], (value, field)
    for value, field, header in NOT_FOUND_IN_PLAIN:
        assert await world.find(value, field, header=header) == [], (value, field)


@pytest.mark.parametrize("prepare", [_nothing, _index], ids=["tail", "index"])
async def test_parts_and_attachments(world: "World", prepare: Callable[["World"], Awaitable[None]]) -> None:
    wanted = await world.deliver(MULTIPART)
    await prepare(world)
    for value in FOUND_IN_MULTIPART:
        assert await world.find(value) == [wanted], value
    for value in NOT_FOUND_IN_MULTIPART:
        assert await world.find(value) == [], value


async def test_mailboxes_are_apart(world: "World") -> None:
    mine = await world.deliver(PLAIN)
    theirs = await world.deliver(PLAIN, BOB)
    for _ in range(2):
        assert await world.find("invoice") == [mine]
        assert await world.find("invoice", mailbox=BOB) == [theirs]
        await world.index_all()


async def test_index_and_tail_are_joined(world: "World") -> None:
    first = await world.deliver(PLAIN)
    await world.index_all()
    second = await world.deliver(PLAIN)
    assert set(await world.find("invoice")) == {first, second}


async def test_a_long_tail_is_indexed_first(world: "World") -> None:
    ids = {await world.deliver(PLAIN) for _ in range(25)}
    assert set(await world.find("invoice")) == ids
    assert world.count("indexed") >= 20
    assert len(await world.store.pending_of((MailboxId("0190a000-0000-7000-8000-000000000001"),), 100)) <= 3


async def test_several_terms_in_one_call(world: "World") -> None:
    await world.deliver(PLAIN)
    await world.index_all()
    terms = tuple(TextTerm(field=TextField.TEXT, value=value) for value in ("invoice", "nowhere", "report"))
    mailbox = MailboxId("0190a000-0000-7000-8000-000000000001")
    reply = await world.searcher.search(SearchRequest(mailbox_ids=(mailbox, mailbox), terms=terms))
    assert [len(hit.email_ids) for hit in reply.hits] == [16, 0, 16]


async def test_a_phrase_with_very_many_completions_is_widened(world: "World") -> None:
    words = " ".join(f"a{number:05d}" for number in range(17_500))
    wanted = await world.deliver(b"Subject: x\r\n\r\nmarker " + words.encode())
    await world.index_all()
    assert await world.find("marker a") == [wanted]


async def test_an_absent_store_is_unavailable(world: "World") -> None:
    world.store.fail_with = MailError(ErrorKind.UNAVAILABLE, "away")
    with pytest.raises(MailError, match="away"):
        await world.find("invoice")


def test_phrases_in_lists_of_words() -> None:
    tokens = ["a", "b", "a", "bc", "d"]
    assert contains_phrase(tokens, ("a", "b"))
    assert contains_phrase(tokens, ("a", "bc", "d"))
    assert contains_phrase(tokens, ("b", "a", "b"))
    assert not contains_phrase(tokens, ("bc", "a"))
    assert not contains_phrase(tokens, ("d", "e"))
    assert contains_phrase(tokens, ("d",))


def test_folding_hides_accents_case_and_invisible_characters() -> None:
    assert fold_text("ΆΣ") == fold_text("ας")
    assert fold_text("e\u0301cole").casefold() == fold_text("ÉCOLE")
    assert fold_text("in\u00advoice") == "invoice"
    assert fold_text("Ａｂｃ") == "abc"
