"""Any garbage gives a Scan whose ranges are nested and ordered."""

from hypothesis import given, settings
from hypothesis import strategies as st

from postbus.mime.addresses import parse_addresses
from postbus.mime.codec import decode_scan, encode_scan
from postbus.mime.dates import parse_date
from postbus.mime.headers import decode_value
from postbus.mime.hypertext import strip_html
from postbus.mime.limits import MAX_PREVIEW_CHARACTERS, Defect
from postbus.mime.scanner import scan_message
from postbus.mime.text import TextSlices, extract_text, text_ranges
from postbus.mime.transfer import decode_transfer
from postbus.mime.values import Part, Scan

PIECES = st.sampled_from(
    [
        b"\r\n",
        b"\n",
        b"\r",
        b"\r\n\r\n",
        b"--a",
        b"--b",
        b"--a--",
        b"--",
        b": ",
        b"Content-Type: multipart/mixed; boundary=a\r\n",
        b'Content-Type: multipart/alternative; boundary="b"\n',
        b"Content-Type: multipart/digest; boundary*0=a; boundary*1=b\n",
        b"Content-Type: message/rfc822\r\n",
        b"Content-Type: text/html; charset=utf-16\r\n",
        b"Content-Transfer-Encoding: base64\r\n",
        b"Content-Transfer-Encoding: quoted-printable\r\n",
        b"Content-Disposition: attachment; filename*=''%ff\r\n",
        b"From: ",
        b"To: ",
        b"Date: Sun, 22 Nov 2026 01:00:00 +0200",
        b"References: <a@b> <c@d>\r\n",
        b"Subject: =?utf-8?b?w6k=?=\r\n",
        b'"a" <b@c>, ',
        b"x:a@b;",
        b" ",
        b"\t",
        b"\0",
        b"<b>",
        b"=",
        b"(",
    ]
)
GARBAGE = st.lists(PIECES | st.binary(max_size=12), max_size=40).map(b"".join)
quick = settings(max_examples=80, deadline=None, derandomize=True)


def check_part(part: Part, start: int, end: int) -> None:
    assert start <= part.header_start <= part.body_start <= part.body_end <= end
    at = part.body_start
    for child in part.children:
        check_part(child, at, part.body_end)
        at = child.body_end
    if part.media_type == "multipart":
        assert part.children
    if part.media_type == "message" and part.subtype in ("rfc822", "global"):
        assert len(part.children) == 1
        assert part.envelope is not None


def check_scan(scan: Scan, content: bytes) -> None:
    assert scan.octets == len(content)
    assert scan.root.header_start == 0
    assert scan.root.body_end == len(content), "every octet of the body is reachable"
    assert scan.body_start == scan.root.body_start
    check_part(scan.root, 0, len(content))
    at = 0
    for field in scan.fields:
        assert at <= field.start < field.value_start <= field.end <= scan.body_start
        at = field.end
    assert set(scan.defects) <= set(Defect)
    assert len(scan.preview) <= MAX_PREVIEW_CHARACTERS
    assert decode_scan(encode_scan(scan)) == scan


@quick
@given(GARBAGE)
def test_any_garbage_gives_a_scan(content: bytes) -> None:
    scan = scan_message(content)
    check_scan(scan, content)
    text = extract_text(content, scan, prefix=content[:50])
    for value in (text.body, text.subject, *text.attachment_names):
        value.encode()


@quick
@given(GARBAGE)
def test_the_text_ranges_suffice_for_the_text(content: bytes) -> None:
    scan = scan_message(content)
    slices = TextSlices([(start, content[start:end]) for start, end in text_ranges(scan)])
    assert extract_text(slices, scan) == extract_text(content, scan)


@quick
@given(GARBAGE)
def test_line_endings_do_not_change_the_structure(content: bytes) -> None:
    bare = content.replace(b"\r", b"")
    first, second = scan_message(bare), scan_message(bare.replace(b"\n", b"\r\n"))
    assert shape(first.root) == shape(second.root)


def shape(part: Part) -> tuple[object, ...]:
    return part.media_type, part.subtype, part.lines, tuple(map(shape, part.children))


@quick
@given(st.binary(max_size=200) | GARBAGE)
def test_values_of_any_octets(value: bytes) -> None:
    parse_date(value)
    decode_value(value).encode()
    for address in parse_addresses(value):
        assert (address.host is None) <= (address.name is None and address.route is None)
    for encoding in ("base64", "quoted-printable", "x-uuencode", "7bit"):
        decode_transfer(value, encoding)


@quick
@given(st.text(alphabet="<>a/!-& ;s=\"'\n", max_size=200), st.integers(min_value=0, max_value=50))
def test_markup_of_any_kind(markup: str, limit: int) -> None:
    assert len(strip_html(markup, limit)) <= limit
