"""Every bound: reaching it names a defect, and hostile messages take linear time."""

import time

import pytest

from postbus.mime import limits
from postbus.mime.codec import encode_scan
from postbus.mime.scanner import scan_message
from postbus.mime.text import extract_text

SIZE = 256 * 1024
MULTIPART = b"Content-Type: multipart/mixed; boundary=b\n\n"

REACHED = {
    "header_field_limit": b"A: b\n" * (limits.MAX_HEADER_FIELDS + 1) + b"\n",
    "header_octet_limit": b"A: " + b"b" * limits.MAX_HEADER_OCTETS + b"\n\n",
    "parameter_limit": b"Content-Type: text/plain; a=" + b"b" * (limits.MAX_PARAMETER_OCTETS + 1) + b"\n\n",
    "address_limit": b"To: " + b"a@b," * (limits.MAX_ADDRESSES + 1) + b"\n\n",
    "envelope_limit": b"Subject: " + b"a" * (limits.MAX_ENVELOPE_OCTETS + 1) + b"\n\n",
    "reference_limit": b"References: " + b"<a@b> " * (limits.MAX_REFERENCES + 1) + b"\n\n",
    "part_limit": MULTIPART + b"--b\n\nx\n" * 10_000,
    "depth_limit": b"Content-Type: message/rfc822\n\n" * 10_000,
}
HOSTILE = {
    "one long header field": b"Subject: " + b"a\n b" * (SIZE // 4) + b"\n\n",
    "open quotes": b"To: " + b'"\\' * (SIZE // 2) + b"\n\n",
    "open comments": b"To: " + b"(" * SIZE + b"\n\n",
    "angles": b"To: " + b"<" * SIZE + b"\n\n",
    "at signs": b"To: " + b"a.@" * (SIZE // 3) + b"\n\n",
    "dots": b"To: " + b"a . " * (SIZE // 4) + b"@b\n\n",
    "brackets": b"To: " + b"[a" * (SIZE // 2) + b"\n\n",
    "colons": b":\n" * (SIZE // 2),
    "no colon": b"a" * SIZE,
    "short fields": b"a:\n" * (SIZE // 3),
    "parameters": b"Content-Type: a/b" + b"; a b" * (SIZE // 5) + b"\n\n",
    "parameter sections": b"Content-Type: a/b" + b"; a*9*=b" * (SIZE // 8) + b"\n\n",
    "open parameter": b'Content-Type: a/b; a="' + b"\\" * SIZE + b"\n\n",
    "spaces in a parameter": b"Content-Type: a/b; a=" + b"b " * (SIZE // 2) + b"\n\n",
    "date": b"Date: " + b"(" * SIZE + b"\n\n",
    "references": b"References: " + b"<" * SIZE + b"\n\n",
    "false delimiters": MULTIPART + b"--bb\n" * (SIZE // 5),
    "delimiters with spaces": MULTIPART + (b"--b" + b" " * 1000 + b"x\n") * 1000,
    "nested multiparts": b"".join(b"Content-Type: multipart/x; boundary=b%d\n\n--b%d\n" % (n, n) for n in range(9_999)),
    "unclosed siblings": MULTIPART
    + b"".join(b"--b\nContent-Type: multipart/x; boundary=c%d\n\n" % n for n in range(9_999))
    + b"x" * SIZE,
    "half-open tags": b"Content-Type: text/html\n\n" + b"<a " * (SIZE // 3),
    "comments of HTML": b"Content-Type: text/html\n\n" + b"<!--" * (SIZE // 4),
    "scripts": b"Content-Type: text/html\n\n" + b"<script>" * (SIZE // 8),
    "character references": b"Content-Type: text/html\n\n" + b"&" * SIZE,
    "encoded-words": b"Subject: " + b"=?utf-8?q?" * (SIZE // 10) + b"\n\n",
    "punycode": b"Content-Type: text/plain; charset=punycode\n\n" + b"a-" * (SIZE // 2),
    "padding": b"Content-Type: text/plain\nContent-Transfer-Encoding: base64\n\n" + b"AA==" * (SIZE // 4),
}
SECONDS = 1.0
"""Quadratic work takes minutes; linear work takes a tenth of this."""


@pytest.mark.parametrize("name", REACHED)
def test_a_reached_bound_is_a_defect(name: str) -> None:
    scan = scan_message(REACHED[name])
    assert name in scan.defects
    assert set(scan.defects) <= set(limits.Defect)
    assert len(scan.fields) <= limits.MAX_HEADER_FIELDS
    assert len(scan.envelope.to) <= limits.MAX_ADDRESSES
    assert len(scan.references) <= limits.MAX_REFERENCES
    assert len(encode_scan(scan)) < 512 * 1024


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_messages_take_linear_time(name: str) -> None:
    started = time.process_time()
    scan = scan_message(HOSTILE[name])
    extract_text(HOSTILE[name], scan)
    assert time.process_time() - started < SECONDS


def test_the_first_and_latest_references_are_kept() -> None:
    ids = [b"<%d@x>" % number for number in range(limits.MAX_REFERENCES + 50)]
    references = scan_message(b"References: " + b" ".join(ids) + b"\n\n").references
    assert references[0] == "0@x"
    assert references[1] == "51@x"
    assert references[-1] == f"{limits.MAX_REFERENCES + 49}@x"


def test_the_parts_up_to_the_bound_are_kept() -> None:
    scan = scan_message(REACHED["part_limit"])
    assert len(scan.root.children) == limits.MAX_PARTS - 1
    assert scan.root.body_end == scan.octets
