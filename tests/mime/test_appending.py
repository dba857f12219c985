"""A signature under messages of all makes, read back by Python's own parser."""

import email
import email.policy
import itertools
from email.message import EmailMessage

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postbus.mime.appending import append_signature, apply_edits, encode_quoted_printable
from postbus.mime.scanner import scan_message
from postbus.mime.transfer import decode_transfer

TEXT = "-- \nMüller & Co.\nconfidential"
HTML = "<p>M&uuml;ller &amp; Co.</p>"
ASCII = "A Ltd.\n From London"
UTF8 = "Content-Type: text/plain; charset=utf-8"
HEAD = b"From: a@b.example\r\nSubject: x\r\n"


def sign(content: bytes, text: str = TEXT, html: str = "") -> bytes:
    return b"".join(apply_edits(content, append_signature(content, scan_message(content), text, html)))


def read(content: bytes) -> EmailMessage:
    message = email.message_from_bytes(content, policy=email.policy.default)
    assert isinstance(message, EmailMessage)
    return message


def body(content: bytes, kind: str = "plain") -> str:
    part = read(content).get_body((kind,))
    assert part is not None
    text = part.get_content()
    assert isinstance(text, str)
    return text.replace("\r\n", "\n")


def plain(data: bytes, *fields: str) -> bytes:
    return HEAD + "".join(f"{field}\r\n" for field in fields).encode() + b"\r\n" + data


@pytest.mark.parametrize(
    ("fields", "data", "before"),
    [
        ((), b"Hello\r\n", "Hello\n"),
        ((), b"Hello", "Hello\n"),
        ((), b"", ""),
        (("MIME-Version: 1.0", "Content-Type: text/plain; charset=us-ascii"), b"Hello\r\n", "Hello\n"),
        (
            ("Content-Type: text/plain; charset=utf-8", "Content-Transfer-Encoding: 8bit"),
            "Grüße\r\n".encode(),
            "Grüße\n",
        ),
        (("Content-Type: text/plain; charset=iso-8859-15", "Content-Transfer-Encoding: 8bit"), b"5 \xa4\r\n", "5 €\n"),
        (
            ("Content-Type: text/plain; charset=utf-8", "Content-Transfer-Encoding: quoted-printable"),
            b"Gr=C3=BC=C3=9Fe =\r\ngo on",
            "Grüße go on\n",
        ),
        (
            ("Content-Type: text/plain; charset=utf-8", "Content-Transfer-Encoding: base64"),
            b"R3LDvMOfZQ==\r\n",
            "Grüße\n",
        ),
        (("Content-Type: text/plain; charset=utf-16le", "Content-Transfer-Encoding: base64"), b"SABpAA==\r\n", "Hi\n"),
        (("Content-type: text/plain", "CONTENT-TRANSFER-ENCODING: 7bit"), b"Hello\r\n", "Hello\n"),
    ],
)
def test_plain_text(fields: tuple[str, ...], data: bytes, before: str) -> None:
    content = plain(data, *fields)
    signed = sign(content)
    assert body(signed) == f"{before}\n{TEXT}\n"
    assert signed.startswith(HEAD)
    assert read(signed)["Subject"] == "x"
    assert max(map(len, signed.split(b"\r\n"))) <= 998
    ascii_only = sign(content, ASCII)
    assert body(ascii_only) == f"{before}\n{ASCII}\n"


def test_what_can_hold_it_stays_as_it_was() -> None:
    content = plain(b"Hello\r\n", "Content-Type: text/plain; charset=us-ascii")
    assert sign(content, ASCII) == content + b"\r\nA Ltd.\r\n From London\r\n"
    eight = plain("Grüße\r\n".encode(), "Content-Type: text/plain; charset=utf-8", "Content-Transfer-Encoding: 8bit")
    assert sign(eight) == eight + b"\r\n" + TEXT.replace("\n", "\r\n").encode() + b"\r\n"


@pytest.mark.parametrize("charset", ["x-none", "us-ascii", "utf-8"])
def test_a_text_that_nobody_can_read_gets_it_in_ascii(charset: str) -> None:
    content = plain(b"\xff\xfe\r\n", f"Content-Type: text/plain; charset={charset}")
    assert sign(content, "Müller") == content + b"\r\nM?ller\r\n"


def test_flowed_text_stays_flowed() -> None:
    content = plain(b"one \r\ntwo\r\n", 'Content-Type: text/plain; format="flowed"; charset=us-ascii')
    assert sign(content, "-- \nA \n> b\nFrom c").endswith(b"two\r\n\r\n-- \r\nA\r\n > b\r\n From c\r\n")
    other = sign(content, "Müller")
    assert read(other).get_param("format") == "flowed"
    assert read(other).get_content_charset() == "utf-8"


def make_alternative() -> EmailMessage:
    message = EmailMessage()
    message["From"] = "a@b.example"
    message.set_content("Hello\n")
    message.add_alternative("<html><body><p>Hello</p></body></html>\n", subtype="html")
    return message


@pytest.mark.parametrize("cte", ["7bit", "quoted-printable", "base64"])
def test_both_readings_get_it(cte: str) -> None:
    message = EmailMessage()
    message["From"] = "a@b.example"
    message.set_content("Hello\n", cte=cte)
    message.add_alternative("<html><body><p>Hello</p></body></html>\n", subtype="html", cte=cte)
    message.add_attachment(b"%PDF", maintype="application", subtype="pdf", filename="a.pdf")
    message.add_attachment("not the text\n", filename="notes.txt")
    content = message.as_bytes(policy=email.policy.SMTP)
    signed = sign(content)
    assert body(signed).rstrip("\n") == f"Hello\n\n{TEXT}"
    made = "<div><br>\n-- <br>\nMüller &amp; Co.<br>\nconfidential</div>\n"
    assert body(signed, "html").replace("&#252;", "ü").startswith(f"<html><body><p>Hello</p>{made}</body></html>")
    given_html = body(sign(content, TEXT, HTML), "html")
    assert given_html.startswith(f"<html><body><p>Hello</p><div><br>\n{HTML}</div>\n</body></html>")
    attached = [part.get_content() for part in read(signed).iter_attachments()]
    assert attached == [b"%PDF", "not the text\r\n"]


@pytest.mark.parametrize(
    ("page", "wanted"),
    [
        ("<p>x</p>", "<p>x</p>\n<div>"),
        ("<html>x</html>", "<html>x<div>"),
        ("<HTML><BODY>x</BODY ></HTML>", "<HTML><BODY>x<div>"),
        ("<body>a </body> b</body>", "<body>a </body> b<div>"),
    ],
)
def test_where_html_ends(page: str, wanted: str) -> None:
    content = plain(page.encode() + b"\r\n", "Content-Type: text/html; charset=utf-8", "MIME-Version: 1.0")
    assert body(sign(content), "html").startswith(wanted)


def test_html_of_any_charset_needs_no_other() -> None:
    content = plain(
        b"<p>\xe4</p>\r\n", "Content-Type: text/html; charset=iso-8859-1", "Content-Transfer-Encoding: 8bit"
    )
    signed = sign(content, "Ω")
    assert b"&#937;" in signed
    assert b"<p>\xe4</p>" in signed


def test_related_and_nested() -> None:
    message = make_alternative()
    html = message.get_body(("html",))
    assert html is not None
    html.add_related(b"GIF", maintype="image", subtype="gif", cid="<1>")
    signed = sign(message.as_bytes(policy=email.policy.SMTP))
    assert "confidential" in body(signed, "html")
    assert "confidential" in body(signed)


@pytest.mark.parametrize(
    "content",
    [
        plain(b"x\r\n", "DKIM-Signature: v=1; d=b.example"),
        plain(b"-----BEGIN PGP SIGNED MESSAGE-----\r\nHash: SHA256\r\n\r\nx\r\n"),
        plain(b"LS0tLS1CRUdJTiBQR1AgTUVTU0FHRS0tLS0tDQo=\r\n", "Content-Transfer-Encoding: base64"),
        plain(b"MIAG\r\n", "Content-Type: application/pkcs7-mime; smime-type=enveloped-data"),
        plain(b"%PDF\r\n", "Content-Type: application/pdf"),
        plain(b"x\r\n", "Content-Type: text/plain", "Content-Disposition: attachment; filename=a.txt"),
        plain(b"BEGIN:VCALENDAR\r\n", "Content-Type: text/calendar"),
        plain(
            b"--b\r\n\r\nx\r\n--b\r\nContent-Type: application/pgp-signature\r\n\r\ny\r\n--b--\r\n",
            'Content-Type: multipart/signed; boundary="b"; protocol="application/pgp-signature"',
        ),
        plain(
            b"--b\r\n\r\ntext\r\n--b\r\nContent-Type: multipart/signed; boundary=c\r\n\r\n"
            b"--c\r\n\r\nx\r\n--c--\r\n--b--\r\n",
            'Content-Type: multipart/mixed; boundary="b"',
        ),
        plain(b"--b\r\n\r\nx\r\n--b--\r\n", 'Content-Type: multipart/encrypted; boundary="b"'),
        plain(b"--b\r\n\r\nx\r\n--b--\r\n", 'Content-Type: multipart/report; boundary="b"; report-type=x'),
        plain(b"From: c@d.example\r\n\r\nx\r\n", "Content-Type: message/rfc822"),
        plain(b"x" * (4 * 1024 * 1024 + 1)),
        b"From: a@b.example\r\n",
        b"",
        plain(b"--b\r\n--b--\r\n", 'Content-Type: multipart/mixed; boundary="b"'),
    ],
)
def test_what_is_left_alone(content: bytes) -> None:
    assert sign(content) == content


def test_long_lines_are_folded() -> None:
    signed = sign(plain(b"Hello\r\n"), "x" * 5_000)
    assert max(map(len, signed.split(b"\r\n"))) <= 76
    assert body(signed) == f"Hello\n\n{'x' * 5_000}\n"


@given(st.binary(max_size=300))
def test_quoted_printable_reads_back(data: bytes) -> None:
    encoded = encode_quoted_printable(data)
    assert decode_transfer(encoded, "quoted-printable") == data
    assert max(map(len, encoded.split(b"\r\n"))) <= 76
    assert encoded.isascii()


@given(st.binary(max_size=400))
def test_any_octets_survive(data: bytes) -> None:
    for content in (data, HEAD + data, HEAD + b"\r\n" + data):
        edits = append_signature(content, scan_message(content), TEXT, "")
        assert all(0 <= edit.start <= edit.end <= len(content) for edit in edits)
        assert all(first.end <= then.start for first, then in itertools.pairwise(edits))
        b"".join(apply_edits(content, edits))
