"""Dates, encoded-words, parameters, charsets, transfer encodings, markup, codec."""

import datetime

import msgspec
import pytest

from postbus.core.errors import MailError
from postbus.mime.charsets import codec_name, decode_bytes
from postbus.mime.codec import decode_scan, encode_scan
from postbus.mime.dates import parse_date
from postbus.mime.envelope import message_ids
from postbus.mime.headers import all_fields, decode_value, first_field, unfold
from postbus.mime.hypertext import strip_html
from postbus.mime.parameters import parse_content_type, parse_disposition
from postbus.mime.scanner import scan_message
from postbus.mime.transfer import decode_transfer
from postbus.mime.values import Scan


def utc(*parts: int) -> int:
    return int(datetime.datetime(*parts, tzinfo=datetime.UTC).timestamp() * 1000)  # type: ignore[arg-type, misc]


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        (b"Fri, 21 Nov 1997 09:55:06 -0600", utc(1997, 11, 21, 15, 55, 6)),
        (b"1 Jul 2003 10:52:37 +0200", utc(2003, 7, 1, 8, 52, 37)),
        (b"Thu, 13 Feb 1969 23:32 -0330 (Newfoundland Time)", utc(1969, 2, 14, 3, 2)),
        (b"Tue, 1 Jul 2003 ((tricky) comment) 10:52:37 +0200", utc(2003, 7, 1, 8, 52, 37)),
        (b"21 Nov 97 09:55:06 GMT", utc(1997, 11, 21, 9, 55, 6)),
        (b"21 Nov 26 09:55:06 EST", utc(2026, 11, 21, 14, 55, 6)),
        (b"Mon,  2 Feb  2004 1:02:03 UT", utc(2004, 2, 2, 1, 2, 3)),
        (b"Sunday, 06-Nov-94 08:49:37 GMT", utc(1994, 11, 6, 8, 49, 37)),
        (b"Sun Nov  6 08:49:37 1994", utc(1994, 11, 6, 8, 49, 37)),
        (b"Sat, 31 Dec 2016 23:59:60 +0000", utc(2017, 1, 1)),
        (b"4 Mar 2026 3:04 PM +0100", utc(2026, 3, 4, 14, 4)),
        (b"Wed, 4 Mar 2026", utc(2026, 3, 4)),
        (b"32 Jan 2026 00:00:00 +0000", None),
        (b"31 Feb 2026 00:00:00 +0000", None),
        (b"1 Jan 2026 25:00:00 +0000", None),
        (b"yesterday", None),
        (b"", None),
        (b"1 Jan 99999999 00:00", None),
    ],
)
def test_dates(value: bytes, wanted: int | None) -> None:
    found = parse_date(value)
    assert (found.ms if found else None) == wanted


def test_the_day_is_that_of_the_sender() -> None:
    early, late = parse_date(b"22 Nov 2026 00:30:00 +1400"), parse_date(b"22 Nov 2026 23:30:00 -1200")
    assert early is not None
    assert late is not None
    assert early.day == late.day == 20_779


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        (b"plain", "plain"),
        (b"=?utf-8?q?J=C3=BCrgen_M?= <j@x>", "Jürgen M <j@x>"),
        (b"=?ISO-8859-1?Q?a?= =?ISO-8859-1?Q?b?=", "ab"),
        (b"=?utf-8?b?w4k=?= =?iso-8859-1?q?=E9?= c", "Éé c"),
        (b"=?utf-8?b?4g==?= =?utf-8?b?gqw=?=", "€"),
        (b"a =?utf-8*en?q?b?= c", "a b c"),
        (b"=?utf-8?q?a", "=?utf-8?q?a"),
        (b"=?nonsense?q?=41?=", "A"),
        (b"=?us-ascii?q?=E9?=", "é"),
        ("naïve".encode(), "naïve"),
        (b"caf\xe9", "café"),
        (b"a\x00\x07b\tc", "ab\tc"),
        (b"=?utf-8?b?AAEC?=x", "x"),
        (b"=?iso-2022-jp?b?GyRCRnxLXBsoQg==?=", "日本"),
    ],
)
def test_encoded_words(value: bytes, wanted: str) -> None:
    assert decode_value(value) == wanted


def test_fields_by_name() -> None:
    content = b"Received: one\r\nSubject: a\r\n b\r\nreceived: two\r\n\r\n"
    scan = scan_message(content)
    assert first_field(scan, content, "subject") == b"a b"
    assert first_field(scan, content, "to") is None
    assert all_fields(scan, content, "received") == [b"one", b"two"]
    assert unfold(b" a\r\n\tb\r\n") == b"a\tb"


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        (b"text/plain; charset =us-ascii (Plain text)", ("text", "plain", (("charset", "us-ascii"),))),
        (b'TEXT / Plain;Charset="UTF-8"', ("text", "plain", (("charset", "UTF-8"),))),
        (b"text", ("text", "plain", ())),
        (b"multipart/mixed boundary=b", ("multipart", "mixed", (("boundary", "b"),))),
        (b'a/b; x="1;2\\"3"; y=a b', ("a", "b", (("x", '1;2"3'), ("y", "a b")))),
        (b"a/b; x*=us-ascii'en'%61%62", ("a", "b", (("x", "ab"),))),
        (b"a/b; x*0*=utf-8''%c3; x*1*=%a9; x*2=\"%20\"", ("a", "b", (("x", "é%20"),))),
        (b"a/b; x*1=b; x*0=a; x*3=d", ("a", "b", (("x", "ab"),))),
        (b"a/b; x=1; x=2; =3; ;;", ("a", "b", (("x", "1"),))),
        (b"a/b; x=1 y=2", ("a", "b", (("x", "1"), ("y", "2")))),
        (b"a/b; x=caf\xc3\xa9", ("a", "b", (("x", "café"),))),
        (b"nonsense", None),
        (b"", None),
        (b"\xe1/\xe9", None),
    ],
)
def test_content_types(value: bytes, wanted: tuple[str, str, tuple[tuple[str, str], ...]] | None) -> None:
    found = parse_content_type(value)
    assert (None if found is None else (found.media_type, found.subtype, found.params)) == wanted


def test_boundaries_are_octets() -> None:
    for value in (b'multipart/x; boundary="\xe9 b "', b'multipart/x; boundary*0=\xe9; boundary*1=" b"'):
        found = parse_content_type(value)
        assert found is not None
        assert found.boundary == b"\xe9 b"


def test_dispositions() -> None:
    assert parse_disposition(b"Inline") == ("inline", (), False)
    assert parse_disposition(b"attachment; filename=report (1).pdf")[1] == (("filename", "report (1).pdf"),)
    assert parse_disposition(b"filename=a.txt") == ("attachment", (("filename", "a.txt"),), False)


@pytest.mark.parametrize(
    ("data", "charset", "wanted"),
    [
        (b"\xe9", "iso-8859-1", "é"),
        (b"\x80", "latin1", "€"),
        (b"\xc3\xa9", "", "é"),
        (b"\xe9", "", "é"),
        (b"\xc3\xa9", "us-ascii", "é"),
        (b"\xe9", "us-ascii", "é"),
        (b"a\xff" * 9, "utf-8", "a\ufffd" * 9),
        (b"\xce\xd2", "gb2312", "我"),
        (b"abc", "no-such-charset", "abc"),
        (b"a-b", "punycode", "a-b"),
        (b"abc", "rot13", "abc"),
        (b"abc", "a\0b", "abc"),
    ],
)
def test_charsets(data: bytes, charset: str, wanted: str) -> None:
    assert decode_bytes(data, charset) == wanted


def test_codecs_that_are_no_charset() -> None:
    for name in ("base64", "zip", "idna", "unicode_escape", "punycode", "x" * 1000):
        assert codec_name(name) is None


@pytest.mark.parametrize(
    ("data", "encoding", "wanted"),
    [
        (b"aGVsbG8=", "base64", b"hello"),
        (b"aGVs\r\n bG8", "base64", b"hello"),
        (b"aGVsbG8=aGVsbG8=", "base64", b"hellohello"),
        (b"aGVsb", "base64", b"hel"),
        (b"_-8=", "base64", b"\xff\xef"),
        (b"a=3Db=\r\nc=zz", "quoted-printable", b"a=bc=zz"),
        (b"begin 644 x\r\n#86)C\r\n`\r\nend\r\n", "x-uuencode", b"abc"),
        (b"as is", "x-unknown", b"as is"),
    ],
)
def test_transfer_encodings(data: bytes, encoding: str, wanted: bytes) -> None:
    assert decode_transfer(data, encoding) == wanted


@pytest.mark.parametrize(
    ("markup", "wanted"),
    [
        ("a<b>c</b>d", "acd"),
        ("a<br>c", "a c"),
        ("<p>x</p><p>y", "x y"),
        ("a<script>no</SCRIPT >b", "ab"),
        ("a<style>no", "a"),
        ("1 < 2 &amp; 3 &gt; 2", "1 < 2 & 3 > 2"),
        ("<!-- a <b> -->c", "c"),
        ("a<b", "a"),
        ("caf&eacute;&#8364;", "café€"),
    ],
)
def test_markup(markup: str, wanted: str) -> None:
    assert " ".join(strip_html(markup, 1_000).split()) == wanted


def test_message_ids() -> None:
    assert message_ids(b"<a@b> junk <c @ d>") == ["a@b", "c@d"]
    assert message_ids(b"a@b") == ["a@b"]
    assert message_ids(b"Your message of today") == []
    assert message_ids(None) == []


def test_the_stored_form() -> None:
    scan = scan_message(b"Subject: a\r\nContent-Type: message/rfc822\r\n\r\nTo: x@y\r\n\r\nbody")
    packed = encode_scan(scan)
    assert decode_scan(packed) == scan
    newer = msgspec.msgpack.decode(packed)
    newer.append("a field of the next version")
    newer[1][0].append(1)
    newer[3].append(2)
    newer[4].append(3)
    assert decode_scan(msgspec.msgpack.encode(newer)) == scan
    older = msgspec.msgpack.decode(packed)[:-2]
    assert decode_scan(msgspec.msgpack.encode(older)).preview == ""
    for broken in (b"", b"\xc1", packed[:-1], msgspec.msgpack.encode({}), b"\x91" * 5_000):
        with pytest.raises(MailError):
            decode_scan(broken)


def test_scans_are_values() -> None:
    assert isinstance(scan_message(b""), Scan)
    assert scan_message(b"a: b\n\nc") == scan_message(b"a: b\n\nc")
