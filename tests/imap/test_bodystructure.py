"""ENVELOPE, BODY and BODYSTRUCTURE as octets (RFC 9051 §7.5.2)."""

import msgspec

from postbus.imap.bodystructure import format_body
from postbus.imap.envelope import EMPTY_ENVELOPE, format_envelope
from postbus.mime.values import Address, Part


def a_part(**changes: object) -> Part:
    part = Part(
        media_type="text",
        subtype="plain",
        params=(("charset", "utf-8"),),
        content_id="",
        description="",
        encoding="8bit",
        header_start=0,
        body_start=100,
        body_end=350,
        lines=7,
        disposition="",
        disposition_params=(),
        language=(),
        location="",
        md5="",
    )
    return msgspec.structs.replace(part, **changes)


def test_an_envelope_of_nothing_is_all_nil() -> None:
    assert format_envelope(EMPTY_ENVELOPE) == b"(NIL NIL NIL NIL NIL NIL NIL NIL NIL NIL)"


def test_an_envelope_quotes_and_escapes() -> None:
    ann = Address(name=b'Ann "A" \\', route=None, mailbox=b"ann", host=b"demo.example")
    envelope = msgspec.structs.replace(EMPTY_ENVELOPE, subject=b"Hi", from_=(ann,), to=(ann, ann))
    one = b'("Ann \\"A\\" \\\\" NIL "ann" "demo.example")'
    assert format_envelope(envelope) == b'(NIL "Hi" (' + one + b") NIL NIL (" + one + one + b") NIL NIL NIL NIL)"


def test_octets_above_127_and_line_breaks_travel_in_literals() -> None:
    envelope = msgspec.structs.replace(EMPTY_ENVELOPE, subject="grün".encode(), message_id=b"a\rb", date=b"x\0y")
    assert format_envelope(envelope) == (b"({2}\r\nxy {5}\r\ngr\xc3\xbcn NIL NIL NIL NIL NIL NIL NIL {3}\r\na\rb)")


def test_a_text_part_says_its_lines() -> None:
    assert format_body(a_part(), extended=False) == b'("text" "plain" ("charset" "utf-8") NIL NIL "8bit" 250 7)'


def test_extended_data_follow() -> None:
    part = a_part(disposition="attachment", disposition_params=(("filename", "a.txt"),), language=("en", "de"))
    assert format_body(part, extended=True).endswith(b' 250 7 NIL ("attachment" ("filename" "a.txt")) ("en" "de") NIL)')


def test_a_multipart_lists_its_parts_without_spaces() -> None:
    part = a_part(media_type="multipart", subtype="mixed", params=(("boundary", "b"),), children=(a_part(), a_part()))
    child = b'("text" "plain" ("charset" "utf-8") NIL NIL "8bit" 250 7)'
    assert format_body(part, extended=False) == b"(" + child + child + b' "mixed")'
    assert format_body(part, extended=True).endswith(b' "mixed" ("boundary" "b") NIL NIL NIL)')


def test_an_enclosed_message_brings_envelope_and_body() -> None:
    part = a_part(media_type="message", subtype="rfc822", params=(), children=(a_part(),), envelope=EMPTY_ENVELOPE)
    text = format_body(part, extended=False)
    assert text.startswith(b'("message" "rfc822" NIL NIL NIL "8bit" 250 (NIL NIL')
    assert text.endswith(b'NIL) ("text" "plain" ("charset" "utf-8") NIL NIL "8bit" 250 7) 7)')


def test_what_the_grammar_can_not_say_gets_a_stand_in() -> None:
    assert format_body(a_part(media_type="multipart", subtype="mixed"), extended=False) == (
        b'(("text" "plain" NIL NIL NIL "7bit" 0 0) "mixed")'
    )
    hollow = format_body(a_part(media_type="message", subtype="rfc822", children=()), extended=False)
    assert b'("text" "plain" NIL NIL NIL "7bit" 0 0)' in hollow
