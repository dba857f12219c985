"""What a scan of ordinary messages gives."""

import mmap
from pathlib import Path

from postbus.mime.scanner import scan_message
from postbus.mime.sections import field_value
from postbus.mime.values import Address, Part, Scan

MESSAGE = (
    b"Return-Path: <ann@elsewhere.example>\r\n"
    b"Received: from a by b;\r\n\tSun, 22 Nov 2026 12:00:00 +0000\r\n"
    b"From: Ann <ann@elsewhere.example>\r\n"
    b"To: Bob <bob@demo.example>, carol@demo.example\r\n"
    b"To: dave@demo.example\r\n"
    b"Subject: A folded\r\n subject\r\n"
    b"Date: Sun, 22 Nov 2026 01:00:00 +0200\r\n"
    b"Message-ID: <one@elsewhere.example>\r\n"
    b"In-Reply-To: <zero@demo.example>\r\n"
    b"References: <first@demo.example>\r\n <zero@demo.example>\r\n"
    b'Content-Type: multipart/mixed; boundary="=_outer"\r\n'
    b"\r\n"
    b"preamble\r\n"
    b"--=_outer\r\n"
    b"Content-Type: multipart/alternative; boundary=inner\r\n"
    b"\r\n"
    b"--inner\r\n"
    b"\r\n"
    b"Hello  there,\r\nworld.\r\n"
    b"--inner\r\n"
    b"Content-Type: text/html; charset=utf-8\r\n"
    b"Content-Transfer-Encoding: Quoted-Printable\r\n"
    b"\r\n"
    b"<p>Hello</p>\r\n"
    b"\r\n--inner--\r\n"
    b"--=_outer\r\n"
    b"Content-Type: message/rfc822\r\n"
    b"\r\n"
    b"Subject: inside\r\nFrom: eve@inner.example\r\n\r\nInner body.\r\n"
    b"--=_outer\r\n"
    b"Content-Type: application/pdf; name*=utf-8''r%C3%A9sum%C3%A9.pdf\r\n"
    b"Content-Disposition: attachment; filename*0=r; filename*1=esume.pdf\r\n"
    b"Content-Transfer-Encoding: base64\r\n"
    b"Content-ID: <pdf@x>\r\nContent-Description: a\r\n  file\r\nContent-Language: en, de\r\n"
    b"Content-Location: x/y\r\nContent-MD5: Q2hlY2s=\r\n"
    b"\r\n"
    b"AAAA\r\n"
    b"--=_outer--\r\n"
    b"epilogue\r\n"
)


def body(content: bytes, part: Part) -> bytes:
    return content[part.body_start : part.body_end]


def leaves(part: Part) -> list[Part]:
    return [leaf for child in part.children for leaf in leaves(child)] if part.children else [part]


def test_structure_and_ranges() -> None:
    scan = scan_message(MESSAGE)
    root = scan.root
    assert scan.defects == ()
    assert (root.media_type, root.subtype, len(root.children)) == ("multipart", "mixed", 3)
    assert (root.header_start, root.body_start, root.body_end) == (0, MESSAGE.index(b"preamble"), len(MESSAGE))
    assert [body(MESSAGE, leaf) for leaf in leaves(root)] == [
        b"Hello  there,\r\nworld.",
        b"<p>Hello</p>\r\n",
        b"Inner body.",
        b"AAAA",
    ]
    alternative, enclosed, pdf = root.children
    assert body(MESSAGE, alternative).endswith(b"--inner--")
    assert body(MESSAGE, enclosed).startswith(b"Subject: inside")
    assert MESSAGE[pdf.header_start : pdf.body_start].startswith(b"Content-Type: application/pdf")
    assert [leaf.lines for leaf in leaves(root)] == [2, 1, 1, 1]


def test_content_fields() -> None:
    root = scan_message(MESSAGE).root
    plain, markup, _, pdf = leaves(root)
    assert (plain.media_type, plain.subtype, plain.params, plain.encoding) == (
        "text",
        "plain",
        (("charset", "us-ascii"),),
        "7bit",
    )
    assert markup.encoding == "quoted-printable"
    assert markup.params == (("charset", "utf-8"),)
    assert pdf.params == (("name", "résumé.pdf"),)
    assert (pdf.disposition, pdf.disposition_params) == ("attachment", (("filename", "resume.pdf"),))
    assert (pdf.content_id, pdf.description, pdf.language) == ("<pdf@x>", "a  file", ("en", "de"))
    assert (pdf.location, pdf.md5) == ("x/y", "Q2hlY2s=")


def test_envelopes() -> None:
    scan = scan_message(MESSAGE)
    envelope = scan.envelope
    ann = Address(b"Ann", None, b"ann", b"elsewhere.example")
    assert envelope.subject == b"A folded subject"
    assert envelope.from_ == envelope.sender == envelope.reply_to == (ann,)
    assert [address.mailbox for address in envelope.to] == [b"bob", b"carol", b"dave"]
    assert envelope.cc == envelope.bcc == ()
    assert (envelope.message_id, envelope.in_reply_to) == (b"<one@elsewhere.example>", b"<zero@demo.example>")
    inner = scan.root.children[1].envelope
    assert inner is not None
    assert (inner.subject, inner.date) == (b"inside", None)
    assert inner.from_ == (Address(None, None, b"eve", b"inner.example"),)


def test_facts_of_the_message() -> None:
    scan = scan_message(MESSAGE)
    assert scan.message_id == "one@elsewhere.example"
    assert scan.references == ("first@demo.example", "zero@demo.example")
    assert scan.sent_ms == 1_795_302_000_000
    assert scan.sent_day == 20_779
    assert scan.has_attachment
    assert scan.preview == "Hello there, world."
    assert scan.octets == len(MESSAGE)


def test_header_fields_have_exact_ranges() -> None:
    scan = scan_message(MESSAGE)
    assert [field.name for field in scan.fields][:3] == ["return-path", "received", "from"]
    assert b"".join(MESSAGE[field.start : field.end] for field in scan.fields) == MESSAGE[: scan.body_start - 2]
    assert MESSAGE[scan.fields[2].value_start : scan.fields[2].end] == b" Ann <ann@elsewhere.example>\r\n"
    assert field_value(MESSAGE, scan.fields[1]) == b"from a by b;\tSun, 22 Nov 2026 12:00:00 +0000"


def without_offsets(part: Part) -> tuple[object, ...]:
    return part.media_type, part.subtype, part.params, part.lines, tuple(map(without_offsets, part.children))


def test_bare_line_feeds_are_borne() -> None:
    bare = MESSAGE.replace(b"\r\n", b"\n")
    first, second = scan_message(MESSAGE), scan_message(bare)
    assert without_offsets(first.root) == without_offsets(second.root)
    assert first.envelope == second.envelope
    assert body(bare, leaves(second.root)[0]) == b"Hello  there,\nworld."
    assert second.defects == ()


def test_a_mapped_file_gives_the_same(tmp_path: Path) -> None:
    path = tmp_path / "message"
    path.write_bytes(MESSAGE)
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        assert scan_message(mapped) == scan_message(MESSAGE)


def scan_of(*lines: bytes) -> Scan:
    return scan_message(b"\r\n".join(lines))


def test_nothing_and_next_to_nothing() -> None:
    for content in (b"", b"\r\n", b"\n", b"\r", b"\0", b":", b"\r\n\r\n"):
        scan = scan_message(content)
        assert scan.octets == len(content)
        assert scan.root.body_end == len(content)
        assert scan.fields == ()
    assert scan_message(b"\r\nbody").body_start == 2


def test_broken_header_sections() -> None:
    scan = scan_of(b"From a@b Sun Nov 22", b"Subject : x", b"no field here", b" folded: junk", b"To: a@b", b"", b"body")
    assert [field.name for field in scan.fields] == ["subject", "to"]
    assert scan.defects == ("malformed_header",)
    assert scan.envelope.subject == b"x"
    assert scan_of(b"From a@b Sun Nov 22", b"Subject: x", b"", b"").defects == ()
    assert scan_of(b"Subject: x").defects == ("missing_header_end",)


def test_broken_multiparts() -> None:
    kind = b"Content-Type: multipart/mixed; boundary=b"
    unclosed = scan_of(kind, b"", b"--b", b"", b"one", b"--b", b"", b"two")
    assert unclosed.defects == ("unclosed_multipart",)
    assert [leaf.lines for leaf in leaves(unclosed.root)] == [1, 1]
    empty = scan_of(kind, b"", b"text only")
    assert empty.defects == ("no_parts", "unclosed_multipart")
    assert [(leaf.media_type, leaf.body_start, leaf.body_end) for leaf in leaves(empty.root)] == [
        ("text", empty.body_start, empty.octets)
    ]
    missing = scan_of(b"Content-Type: multipart/mixed", b"", b"text only")
    assert missing.defects == ("missing_boundary",)
    assert missing.preview == "text only"
    prefix = scan_of(kind, b"", b"--bb", b"", b"--b ", b"", b"one", b"--b --", b"")
    assert prefix.defects == ()
    assert len(prefix.root.children) == 1


def test_an_outer_delimiter_ends_inner_parts() -> None:
    content = (
        b"Content-Type: multipart/mixed; boundary=o\n\n--o\nContent-Type: multipart/mixed; boundary=i\n\n"
        b"--i\n\nfirst\n--o\n\nsecond\n--i\nstill second\n--o--\n"
    )
    scan = scan_message(content)
    assert [body(content, leaf) for leaf in leaves(scan.root)] == [b"first", b"second\n--i\nstill second"]
    assert scan.defects == ("unclosed_multipart",)


def test_equal_boundaries_belong_to_the_innermost() -> None:
    content = (
        b"Content-Type: multipart/mixed; boundary=x\n\n--x\nContent-Type: multipart/mixed; boundary=x\n\n"
        b"--x\n\ninner\n--x--\n--x\n\nouter\n--x--\n"
    )
    scan = scan_message(content)
    assert [len(child.children) for child in scan.root.children] == [1, 0]
    assert [body(content, leaf) for leaf in leaves(scan.root)] == [b"inner", b"outer"]


def test_digest_parts_are_messages() -> None:
    scan = scan_of(b"Content-Type: multipart/digest; boundary=b", b"", b"--b", b"", b"Subject: s", b"", b"t", b"--b--")
    assert (scan.root.children[0].media_type, scan.root.children[0].subtype) == ("message", "rfc822")


def test_enclosed_messages_always_have_an_envelope_and_one_child() -> None:
    encoded = scan_of(b"Content-Type: message/rfc822", b"Content-Transfer-Encoding: base64", b"", b"AAAA")
    assert encoded.defects == ("encoded_message",)
    assert len(encoded.root.children) == 1
    assert encoded.root.children[0].encoding == "base64"
    assert encoded.root.envelope is not None
    wide = scan_of(b"Content-Type: message/global", b"", "Subject: naïve".encode(), b"", b"t")
    assert wide.root.envelope is not None
    assert wide.root.envelope.subject == "naïve".encode()


def test_previews() -> None:
    markup = b"<html><head><style>p{}</style></head><body><p>Hi&nbsp;<b>a</b>b</p><!-- x --><p>c &lt; d</p>"
    assert scan_of(b"Content-Type: text/html", b"", markup).preview == "Hi ab c < d"
    coded = [b"Content-Type: text/plain; charset=iso-8859-1", b"Content-Transfer-Encoding: quoted-printable", b""]
    assert scan_of(*coded, b"caf=E9 =", b"bar").preview == "café bar"
    coded[1] = b"Content-Transfer-Encoding: base64"
    assert scan_of(*coded, b"aGVs", b"bG8=").preview == "hello"
    assert scan_of(b"", b"x" * 400).preview == "x" * 256
    assert scan_of(b"Content-Type: image/png", b"", b"x").preview == ""


def test_what_counts_as_attachment() -> None:
    head = [b"Content-Type: multipart/mixed; boundary=b", b"", b"--b", b"Content-Type: text/plain", b"", b"t", b"--b"]
    assert not scan_of(*head, b"Content-Type: text/plain", b"", b"footer", b"--b--").has_attachment
    assert scan_of(*head, b"Content-Type: image/png", b"", b"x", b"--b--").has_attachment
    assert scan_of(*head, b"Content-Disposition: attachment", b"", b"x", b"--b--").has_attachment
    assert scan_of(*head, b"Content-Type: message/rfc822", b"", b"Subject: x", b"", b"--b--").has_attachment
    assert not scan_of(*head, b"Content-Type: application/pgp-signature", b"", b"x", b"--b--").has_attachment
    related = [head[0].replace(b"mixed", b"related"), *head[1:]]
    assert not scan_of(*related, b"Content-Type: image/png", b"Content-ID: <a>", b"", b"x", b"--b--").has_attachment
    assert not scan_of(b"", b"t").has_attachment
