import pytest

from postbus.core.ids import BlobId, EmailId
from postbus.mailstore.prepare import base_subject, decode_subject, prepare_message
from postbus.mailstore.threads import MAX_REFERENCES, id_keys, joins_by_subject, subject_key
from postbus.mime.codec import decode_scan
from postbus.mime.scanner import scan_message
from postbus.testing.mailstore_builders import make_message

EMAIL_ID = EmailId("01a204f4-53de-7d61-a00c-05eddf004f7d")
BLOB_ID = BlobId("20261118-" + "0" * 64)


def test_a_scanned_message_is_ready_to_be_stored() -> None:
    content = (
        b"From: Ann <ann@elsewhere.example>\r\nTo: alice@demo.example\r\nSubject: Re: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\n"
        b"Date: Sun, 22 Nov 2026 12:00:00 +0000\r\nMessage-ID: <b@x>\r\nReferences: <zero@x> <a@x>\r\n"
        b"\r\nHello there.\r\n"
    )
    prefix = b"Received: from a by b\r\n"
    scan = scan_message(content)
    message = prepare_message(email_id=EMAIL_ID, blob_id=BLOB_ID, prefix=prefix, scan=scan, internal_date_ms=5)
    assert message.octets == len(prefix) + len(content)
    assert decode_scan(message.structure) == scan
    assert message.envelope.startswith(b'("Sun, 22 Nov 2026 12:00:00 +0000" ')
    assert (message.message_id, message.references) == ("b@x", ("zero@x", "a@x"))
    assert (message.thread_subject, message.is_reply) == ("Grüße", True)
    assert (message.preview, message.sent_day) == ("Hello there.", 20_779)


def test_what_a_submission_lacked_is_told_from_the_prefix() -> None:
    prefix = b"Received: by b\r\nFrom: ann@b.example\r\nDate: Sun, 22 Nov 2026 12:00:00 +0000\r\n"
    prefix += b"Message-ID: <q@b.example>\r\n"
    scan = scan_message(b"Subject: short\r\n\r\nHello.\r\n")
    message = prepare_message(email_id=EMAIL_ID, blob_id=BLOB_ID, prefix=prefix, scan=scan, internal_date_ms=5)
    ann = b'((NIL NIL "ann" "b.example"))'
    assert message.envelope.startswith(b'("Sun, 22 Nov 2026 12:00:00 +0000" "short" ' + b" ".join([ann] * 3))
    assert message.envelope.endswith(b'"<q@b.example>")')
    assert (message.message_id, message.sent_day) == ("q@b.example", 20_779)
    assert decode_scan(message.structure) == scan


def test_nothing_that_postgres_refuses_gets_through() -> None:
    scan = scan_message(b"Subject: a\0b\r\nMessage-ID: <a\0@x>\r\n\r\nnul \0 here\r\n")
    message = prepare_message(email_id=EMAIL_ID, blob_id=BLOB_ID, prefix=b"", scan=scan, internal_date_ms=5)
    assert "\0" not in message.preview + message.message_id + message.thread_subject


@pytest.mark.parametrize(
    ("subject", "base", "is_reply"),
    [
        ("Plan", "Plan", False),
        ("Re: Plan", "Plan", True),
        ("RE: Fwd: re[2]: Plan (fwd) (Fwd)", "Plan", True),
        ("AW: WG: Plan", "Plan", True),
        ("[list] Re: [list] Plan", "Plan", True),
        ("[list] Plan", "Plan", False),
        ("[only a blob]", "[only a blob]", False),
        ("[Fwd: Re: Plan]", "Plan", True),
        ("Re:", "", True),
        ("", "", False),
        ("Reply: no", "Reply: no", False),
    ],
)
def test_the_base_subject_is_what_rfc_5256_says(subject: str, base: str, is_reply: bool) -> None:
    assert base_subject(subject) == (base, is_reply)


def test_base_subject_of_the_base_subject_is_itself() -> None:
    once, _ = base_subject("Re: [a] fwd: [b] x (fwd)")
    assert base_subject(once) == (once, False)


@pytest.mark.parametrize(
    "raw", [b"=?no-such-charset?q?x?=", b"=?utf-8?b?!!!?=", b"\xff\xfe raw", b"=?utf-8?q?=ED=A0=80?="]
)
def test_broken_encoded_words_raise_nothing(raw: bytes) -> None:
    decode_subject(raw).encode()


def test_a_long_subject_takes_no_longer_than_its_length() -> None:
    assert base_subject("[" * 4000)[1] is False
    assert base_subject("re:" * 1300) == ("", True)
    base_subject("[a] " * 1000)


def test_thread_keys_are_bounded_and_stable() -> None:
    message = make_message(message_id="m@x", references=tuple(f"{n}@x" for n in range(100)), thread_subject="Plan")
    assert len(id_keys(message)) == MAX_REFERENCES + 1
    assert id_keys(make_message(message_id="m@x")) == (-6004340112788257872,)
    assert subject_key(message) == subject_key(make_message(thread_subject="pLAN"))
    assert subject_key(make_message()) is None
    assert not joins_by_subject(make_message(is_reply=True))
