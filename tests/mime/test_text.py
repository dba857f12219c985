"""The searchable text of a message."""

import pytest

from postbus.mime.charsets import decode_bytes
from postbus.mime.scanner import scan_message
from postbus.mime.text import MAX_ATTACHMENT_NAMES, MAX_BODY_CHARACTERS, TextSlices, extract_text, text_ranges

MESSAGE = (
    b"From: =?utf-8?q?J=C3=BCrgen?= <j@x.example>\r\nTo: a@b\r\nTo: c@d\r\n"
    b"Subject: =?iso-8859-1?q?caf=E9?=\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\npreamble\r\n"
    b"--b\r\nContent-Type: text/plain; charset=iso-8859-1\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n"
    b"na=EFve=\r\ty\r\n--b\r\nContent-Type: text/html\r\nContent-Transfer-Encoding: base64\r\n\r\n"
    b"PHA+SGkgPGI+Ym88L2I+bGQ8L3A+\r\n"
    b"--b\r\nContent-Type: image/png; name*=utf-8''%C3%A9.png\r\n\r\nPNG\r\n"
    b"--b\r\nContent-Type: message/rfc822\r\n\r\nSubject: =?utf-8?q?inner_=C3=A9?=\r\nFrom: Eve <e@f>\r\n\r\nwithin\r\n"
    b"--b--\r\n"
)


def test_everything_that_can_be_searched() -> None:
    text = extract_text(MESSAGE, scan_message(MESSAGE), prefix=b"Received: by here\r\nX-Spam: no\r\n")
    assert text.subject == "café"
    assert text.from_ == "Jürgen <j@x.example>"
    assert text.to == "a@b, c@d"
    assert text.cc == text.bcc == ""
    assert text.headers[:3] == (("received", "by here"), ("x-spam", "no"), ("from", "Jürgen <j@x.example>"))
    assert "naïve" in text.body
    assert "Hi bold" in text.body
    assert "inner é" in text.body
    assert "Eve <e@f>" in text.body
    assert "within" in text.body
    assert "PNG" not in text.body
    assert "preamble" not in text.body
    assert text.attachment_names == ("é.png",)


def test_bounds() -> None:
    long = b"Subject: x\n\n" + b"word " * 300_000
    assert len(extract_text(long, scan_message(long)).body) == MAX_BODY_CHARACTERS
    part = b"--b\nContent-Disposition: attachment; filename=f\n\n\n"
    many = b"Content-Type: multipart/mixed; boundary=b\n\n" + part * 500
    assert len(extract_text(many, scan_message(many)).attachment_names) == MAX_ATTACHMENT_NAMES


def test_only_the_text_is_read() -> None:
    head = b"Content-Type: multipart/mixed; boundary=b\n\n--b\n\nhello\n--b\nContent-Type: image/png\n\n"
    message = head + b"x" * 100_000 + b"\n--b\n\nworld\n--b--\n"
    scan = scan_message(message)
    ranges = text_ranges(scan)
    assert sum(end - start for start, end in ranges) < 200
    slices = TextSlices([(start, message[start:end]) for start, end in ranges])
    assert extract_text(slices, scan).body == "hello\nworld"
    assert slices[100:200] == b""


@pytest.mark.parametrize(
    "charset", ["utf-7", "UTF-7", "unicode-1-1-utf-7", "utf-16", "utf-16-le", "utf-32", "utf-8", ""]
)
@pytest.mark.parametrize(
    "data", [b"a+2AA-b", b"a+3AA-+2AA-b", b"\xd8\x00", b"\x00\xd8", b"\x00\x00\xd8\x00", b"\xed\xa0\x80"]
)
def test_no_charset_gives_what_is_no_unicode(charset: str, data: bytes) -> None:
    decode_bytes(data, charset).encode("utf-8")
