"""Notifications: read back by our scanner and by the standard library, with hostile replies, and in UTF-8."""

import email
import email.policy
from email.message import EmailMessage
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from postbus.dsn.report import FailedRecipient, Report, build_report
from postbus.mime.parts import find_part
from postbus.mime.scanner import scan_message

HEADER = (
    b"From: Anna <anna@example.com>\r\nTo: ben@example.net\r\nSubject: =?utf-8?q?Gr=C3=BC=C3=9Fe?= from\r\n Berlin\r\n"
    b"Message-ID: <one@example.com>\r\n\r\n"
)
BEN = FailedRecipient(
    final_recipient="ben@example.net",
    original_recipient="rfc822;Ben+2Bx@example.net",
    status="5.1.1",
    diagnostic="550 5.1.1 no such user",
    remote_mta="mx.example.net",
    last_attempt_ms=1_790_000_400_000,
)
REPORT = Report(
    to="anna@example.com",
    from_address="postmaster@mail.example.com",
    reporting_mta="mail.example.com",
    envelope_id="QQ+2B1",
    arrival_ms=1_790_000_000_000,
    now_ms=1_790_000_500_000,
    message_id="<dsn@mail.example.com>",
    queue_id="01M0000000000000000000000A",
    recipients=(BEN,),
    original_header=HEADER,
)


def build(**changes: Any) -> bytes:
    return build_report(msgspec.structs.replace(REPORT, **changes))


def build_of(**changes: Any) -> bytes:
    return build(recipients=(msgspec.structs.replace(BEN, **changes),))


def read(content: bytes) -> EmailMessage:
    message = email.message_from_bytes(content, policy=email.policy.default)
    assert isinstance(message, EmailMessage)
    return message


def parts(content: bytes) -> list[EmailMessage]:
    found = read(content).get_payload()
    assert isinstance(found, list)
    return found  # type: ignore[return-value]


def blocks(content: bytes) -> list[dict[str, str]]:
    """The field groups of the delivery-status part."""
    found = parts(content)[1].get_payload()
    assert isinstance(found, list)
    return [{name: " ".join(str(value).split()) for name, value in block.items()} for block in found]  # type: ignore[union-attr]


def check_form(content: bytes) -> None:
    """What holds for every notification."""
    lines = content.split(b"\r\n")
    assert lines[-1] == b""
    assert all(len(line) <= 998 and b"\r" not in line and b"\n" not in line and b"\0" not in line for line in lines)
    scan = scan_message(content)
    assert scan.defects == ()
    assert (scan.root.media_type, scan.root.subtype) == ("multipart", "report")
    assert dict(scan.root.params)["report-type"] == "delivery-status"
    assert [part.media_type for part in scan.root.children][:2] == ["text", "message"]
    head = content[: scan.body_start].lower()
    body_is_7bit = content[scan.body_start :].isascii()
    assert (b"\r\ncontent-transfer-encoding: 8bit" in head) is not body_is_7bit
    for part in scan.root.children:
        octets = content[part.body_start : part.body_end]
        assert octets.isascii() or part.encoding == "8bit"


def test_the_header_says_who_and_that_nobody_should_answer() -> None:
    content = build()
    check_form(content)
    message = read(content)
    assert message["To"] == "anna@example.com"
    assert message["From"] == "Mail Delivery System <postmaster@mail.example.com>"
    assert message["Auto-Submitted"] == "auto-replied"
    assert message["Message-ID"] == "<dsn@mail.example.com>"
    assert message["In-Reply-To"] == message["References"] == "<one@example.com>"
    assert message["Subject"] == "Undelivered mail"
    assert content.isascii()
    assert message.defects == []


def test_the_part_for_programs_has_the_fields_of_both_rfcs() -> None:
    first, second = blocks(build())
    assert first == {
        "Original-Envelope-Id": "QQ+1",
        "Reporting-MTA": "dns; mail.example.com",
        "Arrival-Date": "Mon, 21 Sep 2026 14:13:20 +0000",
        "X-Postbus-Queue-ID": "01M0000000000000000000000A",
    }
    assert second == {
        "Original-Recipient": "rfc822; Ben+x@example.net",
        "Final-Recipient": "rfc822; ben@example.net",
        "Action": "failed",
        "Status": "5.1.1",
        "Remote-MTA": "dns; mx.example.net",
        "Diagnostic-Code": "smtp; 550 5.1.1 no such user",
        "Last-Attempt-Date": "Mon, 21 Sep 2026 14:20:00 +0000",
    }


def test_the_part_for_people_fits_a_screen_and_names_all_that_matters() -> None:
    text = parts(build())[0].get_content()
    assert len(text.splitlines()) <= 24
    assert max(len(line) for line in text.splitlines()) <= 76
    for wanted in (
        "mail.example.com",
        "<ben@example.net>",
        "The address does not exist.",
        "mx.example.net said: 550 5.1.1 no such user",
        "Check the address",
        "Grüße from Berlin",
        "01M0000000000000000000000A",
    ):
        assert wanted in text


def test_the_own_reason_goes_before_the_general_one() -> None:
    text = parts(build_of(reason="The domain example.net does not exist.", diagnostic="", remote_mta=""))[
        0
    ].get_content()
    assert "The domain example.net does not exist." in text
    assert "The address does not exist." not in text
    assert "said:" not in text


@pytest.mark.parametrize(
    ("reason", "shown"),
    [
        ("the domain example.net does not exist", "The domain example.net does not exist."),
        ("mx.example.net has no address", "mx.example.net has no address."),
    ],
)
def test_a_reason_is_shown_as_a_sentence(reason: str, shown: str) -> None:
    assert shown in parts(build_of(reason=reason, diagnostic="", remote_mta=""))[0].get_content()


def test_nobody_is_sent_to_an_other_side_that_was_never_asked() -> None:
    asked, unasked = (
        parts(build_of(status="5.7.1", diagnostic=text, reason="Returned."))[0].get_content()
        for text in (BEN.diagnostic, "")
    )
    assert "the other side objects to" in asked
    assert "the other side objects to" not in unasked
    assert "ask your postmaster" in unasked


def test_a_reason_that_repeats_the_reply_is_not_shown_twice() -> None:
    text = parts(build_of(reason=BEN.diagnostic))[0].get_content()
    assert text.count("no such user") == 1
    assert "The address does not exist." in text


def test_a_delay_says_until_when() -> None:
    content = build_of(action="delayed", status="5.4.1", retry_until_ms=1_790_400_000_000)
    assert blocks(content)[1]["Action"] == "delayed"
    assert blocks(content)[1]["Status"] == "4.4.1"
    assert blocks(content)[1]["Will-Retry-Until"] == "Sat, 26 Sep 2026 05:20:00 +0000"
    text = parts(content)[0].get_content()
    assert "You need not do anything" in " ".join(text.split())
    assert "Sat, 26 Sep 2026 05:20:00 +0000" in text
    assert "What you can do" not in text
    assert str(read(content)["Subject"]).startswith("Delayed mail")


def test_a_confirmation_is_no_failure() -> None:
    content = build_of(action="relayed", status="2.0.0", diagnostic="250 ok")
    assert (blocks(content)[1]["Action"], blocks(content)[1]["Status"]) == ("relayed", "2.0.0")
    assert "could not" not in parts(content)[0].get_content()


@pytest.mark.parametrize(
    ("status", "shown"),
    [
        ("5.1.1", "5.1.1"),
        ("4.4.7", "4.4.7"),
        ("2.0.0", "5.0.0"),
        ("", "5.0.0"),
        ("5.1", "5.0.0"),
        ("5.1.1\r\nX: y", "5.0.0"),
    ],
)
def test_status_codes_are_well_formed_and_of_the_right_class(status: str, shown: str) -> None:
    assert blocks(build_of(status=status))[1]["Status"] == shown


@pytest.mark.parametrize(
    ("orcpt", "shown"),
    [
        ("", None),
        ("nonsense", None),
        ("rfc822;a+2Bb+40x@example.net", "rfc822; a+b@x@example.net"),
        ("rfc822;a+0D+0AAction:+20delivered", "rfc822; a Action: delivered"),
        ("utf-8;b\\x{E4}n@example.net", "utf-8; b\\x{E4}n@example.net"),
    ],
)
def test_the_original_recipient_is_decoded_and_harmless(orcpt: str, shown: str | None) -> None:
    content = build_of(original_recipient=orcpt)
    check_form(content)
    assert blocks(content)[1].get("Original-Recipient") == shown
    assert len(blocks(content)) == 2


def test_many_recipients_are_all_reported_and_few_are_shown() -> None:
    many = tuple(msgspec.structs.replace(BEN, final_recipient=f"user{number}@example.net") for number in range(40))
    content = build(recipients=many)
    check_form(content)
    assert len(blocks(content)) == 41
    text = parts(content)[0].get_content()
    assert text.count("<user") == 10
    assert "30 more" in text


def test_nobody_is_told_nothing() -> None:
    with pytest.raises(ValueError, match="receiver"):
        build(recipients=())
    with pytest.raises(ValueError, match="receiver"):
        build(to="")


def test_the_header_section_goes_back() -> None:
    content = build()
    returned = find_part(scan_message(content).root, (3,))
    assert returned is not None
    assert (returned.media_type, returned.subtype) == ("text", "rfc822-headers")
    assert content[returned.body_start : returned.body_end] == HEADER.removesuffix(b"\r\n")


def test_the_whole_message_goes_back_octet_by_octet() -> None:
    original = HEADER + b"Hallo\r\n--=_01M0000000000000000000000A_0\r\n\r\nHi\r\n"
    content = build(original=original)
    check_form(content)
    scan = scan_message(content)
    returned = find_part(scan.root, (3,))
    assert returned is not None
    assert (returned.media_type, returned.subtype) == ("message", "rfc822")
    assert content[returned.body_start : returned.body_end] == original


@pytest.mark.parametrize("octets", [b"a\0b", b"a\rb", b"a\nb", b"x" * 999])
def test_what_can_not_travel_goes_back_as_its_header_section(octets: bytes) -> None:
    content = build(original=HEADER + octets + b"\r\n")
    check_form(content)
    assert parts(content)[2].get_content_type() == "text/rfc822-headers"


def test_eight_bits_only_where_the_original_has_them() -> None:
    original = HEADER + "Grüße\r\n".encode()
    content = build(original=original)
    check_form(content)
    assert read(content)["Content-Transfer-Encoding"] == "8bit"
    header = "From: Jürgen <j@example.com>\r\n\r\n".encode()
    content = build(original_header=header)
    check_form(content)
    assert content.isascii()
    assert parts(content)[2].get_payload(decode=True) == header.removesuffix(b"\r\n")
    assert b"charset=unknown-8bit" in build(original_header=b"Subject: gr\xfc\xdfe\r\n")


def test_utf8_forms_only_for_those_who_use_smtputf8() -> None:
    header = "From: Jürgen <jürgen@example.com>\r\nSubject: Grüße\r\n\r\n".encode()
    changes: dict[str, Any] = {
        "to": "jürgen@example.com",
        "recipients": (
            FailedRecipient(final_recipient="bän@example.net", status="5.1.1", diagnostic="550 keine Lösung"),
        ),
        "original_header": header,
    }
    content = build(**changes, smtputf8=True)
    check_form(content)
    types = [(part.media_type, part.subtype) for part in scan_message(content).root.children]
    assert types[1:] == [("message", "global-delivery-status"), ("message", "global-headers")]
    assert "\r\nTo: <jürgen@example.com>\r\n".encode() in content
    assert "\r\nFinal-Recipient: utf-8; bän@example.net\r\n".encode() in content
    assert "keine Lösung".encode() in content
    whole = build(**changes, smtputf8=True, original=header + b"Hi\r\n")
    assert scan_message(whole).root.children[2].subtype == "global"

    plain = build(**(changes | {"to": "j@example.com"}))
    check_form(plain)
    assert plain.isascii()
    assert b"\r\nFinal-Recipient: utf-8; b\\x{E4}n@example.net\r\n" in plain
    assert b"keine L?sung" in plain
    ascii_only = build(smtputf8=True)
    assert b"message/delivery-status" in ascii_only
    assert ascii_only.isascii()


def test_hostile_replies_stay_in_their_field() -> None:
    evil = "550 no\r\n\r\n--=_01M0000000000000000000000A_0\r\nAction: delivered\x00\x1b[2J" + "x" * 5000
    content = build_of(diagnostic=evil, remote_mta="mx.example.net\r\nStatus: 2.0.0", reason="a\nb: c\u202e")
    check_form(content)
    assert len(blocks(content)) == 2
    assert blocks(content)[1]["Status"] == "5.1.1"
    assert blocks(content)[1]["Action"] == "failed"
    assert len(read(content).get_payload()) == 3


NASTY = st.text(st.characters() | st.sampled_from('\r\n\t\0 .=-:;<>"ä\u2028'), max_size=300)


@settings(max_examples=150, deadline=None)
@given(
    text=NASTY,
    words=st.lists(st.sampled_from(["a:", "b" * 300, "ß" * 240, "c"]), max_size=40),
    utf8=st.booleans(),
    octets=st.binary(max_size=300),
)
def test_any_text_gives_a_well_formed_notification(text: str, words: list[str], utf8: bool, octets: bytes) -> None:
    recipient = FailedRecipient(
        final_recipient=text,
        original_recipient="utf-8;" + text,
        status=text,
        diagnostic=text + " ".join(words),
        remote_mta=text,
        reason=text,
    )
    content = build(
        to="x" + text,
        envelope_id=text,
        queue_id=text,
        message_id=text,
        recipients=(recipient, BEN),
        original_header=octets,
        original=octets,
        smtputf8=utf8,
    )
    lines = content.split(b"\r\n")
    assert all(len(line) <= 998 and b"\r" not in line and b"\n" not in line for line in lines)
    scan = scan_message(content)
    kinds = [part.subtype for part in scan.root.children]
    assert kinds[0] == "plain"
    assert kinds[1] in ("delivery-status", "global-delivery-status")
    assert len(kinds) <= 3
    status = scan.root.children[1]
    assert content[status.body_start : status.body_end].count(b"\r\n\r\n") == 2
