"""Public MIME corpora beside the project: no exception, sound ranges, and the structure that others see.

Where we differ, the difference is listed with its reason; a difference that is not listed fails.
"""

import json
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from postbus.mime.addresses import parse_addresses
from postbus.mime.appending import append_signature, apply_edits
from postbus.mime.dates import parse_date
from postbus.mime.headers import decode_value, unfold
from postbus.mime.parameters import parse_content_type
from postbus.mime.scanner import scan_message
from postbus.mime.text import extract_text
from postbus.mime.values import Part

SHARED = Path(
    os.environ.get("POSTBUS_SHARED", Path(__file__).resolve().parents[3] / "shared")  # noqa: TID251
)
SUITES = SHARED / "suites" / "mime"
pytestmark = [
    pytest.mark.shared,
    pytest.mark.skipif(not SUITES.is_dir(), reason="no MIME corpora under POSTBUS_SHARED"),
]

Shape = tuple[str, tuple[Any, ...]]
Range = tuple[int, int, int]

STALWART_SHAPES = {
    "malformed/000": "parts follow each other without a header section: four parts, not none",
    "malformed/001": "a delimiter of the outer multipart ends the header section of an inner one (RFC 2046 §5.1.2)",
    "malformed/004": "`--ab` is no delimiter of boundary `a`; the whole is its text",
    "malformed/007": "the inner multipart's own delimiter ends its header section: one part inside, not two outside",
    "malformed/008": "an outer delimiter ends the inner multipart",
    "malformed/009": "an outer delimiter ends the inner multipart",
    "malformed/011": "an outer delimiter ends the inner multipart",
    "malformed/012": "an outer delimiter ends the inner multipart",
    "malformed/013": "a delimiter at the very end begins a part, empty as it is",
    "malformed/014": "a delimiter at the very end begins a part, empty as it is",
    "malformed/016": "an outer delimiter ends the inner multiparts",
    "malformed/020": "an outer delimiter ends the inner multipart",
    "malformed/021": "an outer delimiter ends the inner multipart",
    "malformed/022": "message/rfc822 stays one although its text has no header section: IMAP needs its envelope",
    "rfc/008": "an enclosed message in base64 (forbidden by RFC 2046 §5.2.1) is not looked into: offsets would lie",
    "thirdparty/015": "an outer delimiter ends enclosed messages that name a boundary and have no body",
}
STALWART_RANGES = {
    "legacy/049": "a CR at the very end of the message is an octet of the body",
    "malformed/019": "without an empty line a header section ends where the delimiter's line break begins",
    "thirdparty/005": "a closing delimiter in mid-line is none",
    "thirdparty/011": "without an empty line a header section ends where the delimiter's line break begins",
}
MIME4J_SHAPES = {
    "badbound": "without a delimiter the multipart has one implied text part, never none",
    "missing-boundary": "without a delimiter the multipart has one implied text part, never none",
    "missing-inner-boundary": "without a delimiter the multipart has one implied text part, never none",
    "missing-inner-start-boundary": "without a delimiter the multipart has one implied text part, never none",
    "multipartnopart": "without a delimiter the multipart has one implied text part, never none",
    "multi-2gifs-base64": "an enclosed message in base64 is not looked into",
    "bad-newlines-multiple-parts-base64": "an enclosed message in base64 is not looked into",
    "base64encoded-rfc822message-nested": "an enclosed message in base64 is not looked into",
    "base64encoded-rfc822message": "an enclosed message in base64 is not looked into",
    "very-long-boundary": "boundaries do not end in white space (RFC 2046 §5.1.1): it is not compared",
    "weird-boundary": "boundaries do not end in white space (RFC 2046 §5.1.1): it is not compared",
}


def check_part(part: Part, start: int, end: int) -> None:
    assert start <= part.header_start <= part.body_start <= part.body_end <= end
    at = part.body_start
    for child in part.children:
        check_part(child, at, part.body_end)
        at = child.body_end


def is_implied(part: Part) -> bool:
    """Whether the part has only the child that stands for its whole body."""
    if len(part.children) != 1:
        return False
    child = part.children[0]
    return (child.header_start, child.body_start, child.body_end) == (part.body_start, part.body_start, part.body_end)


def shape_of(part: Part, *, drop_implied: bool) -> Shape:
    if not part.children or (is_implied(part) and (drop_implied or part.envelope is not None)):
        return "leaf", ()
    kind = "multipart" if part.media_type == "multipart" else "message"
    return kind, tuple(shape_of(child, drop_implied=drop_implied) for child in part.children)


def leaf_ranges(part: Part) -> list[Range]:
    if part.children and not is_implied(part):
        return [found for child in part.children for found in leaf_ranges(child)]
    return [(part.header_start, part.body_start, part.body_end)]


def all_messages() -> Iterator[Path]:
    for suffix in ("*.txt", "*.msg", "*.eml"):
        yield from SUITES.rglob(suffix)


def test_every_message_is_scanned_and_every_octet_reached() -> None:
    count = 0
    for path in all_messages():
        content = path.read_bytes()
        for form in (content, content.replace(b"\r\n", b"\n"), content.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")):
            scan = scan_message(form)
            check_part(scan.root, 0, len(form))
            assert (scan.root.header_start, scan.root.body_end) == (0, len(form)), path
            extract_text(form, scan)
        count += 1
    assert count > 200


def test_a_signature_leaves_the_structure_as_it_is() -> None:
    signed = 0
    for path in all_messages():
        content = path.read_bytes()
        before = scan_message(content)
        edits = append_signature(content, before, "Müller & Co.\nconfidential", "")
        after = b"".join(apply_edits(content, edits))
        assert len(after) - len(content) == sum(len(edit.octets) - edit.end + edit.start for edit in edits)
        shapes = [shape_of(each.root, drop_implied=False) for each in (before, scan_message(after))]
        assert shapes[0] == shapes[1], path
        signed += bool(edits)
    assert signed > 100


def stalwart_shape(message: dict[str, Any], index: int) -> tuple[Shape, list[Range]]:
    part = message["parts"][index]
    body = part["body"]
    if isinstance(body, dict) and "Multipart" in body:
        found = [stalwart_shape(message, child) for child in body["Multipart"]]
        return ("multipart", tuple(shape for shape, _ in found)), [leaf for _, leaves in found for leaf in leaves]
    if isinstance(body, dict) and "Message" in body:
        shape, leaves = stalwart_shape(body["Message"], 0)
        return ("message", (shape,)), leaves
    return ("leaf", ()), [(part["offset_header"], part["offset_body"], part["offset_end"])]


def test_structure_as_stalwart_sees_it() -> None:
    folder = SUITES / "stalwart-mail-parser" / "eml"
    shapes, ranges, count = set(), set(), 0
    for path in sorted(folder.rglob("*.eml")):
        name = path.relative_to(folder).with_suffix("").as_posix()
        bare = path.read_bytes().replace(b"\r\n", b"\n")
        for suffix, content in ((".json", bare), (".crlf.json", bare.replace(b"\n", b"\r\n"))):
            wanted, leaves = stalwart_shape(json.loads(path.with_suffix(suffix).read_bytes()), 0)
            root = scan_message(content).root
            count += 1
            if shape_of(root, drop_implied=True) != wanted:
                shapes.add(name)
            elif leaf_ranges(root) != leaves:
                ranges.add(name)
    assert count == 214
    assert shapes == set(STALWART_SHAPES)
    assert ranges == set(STALWART_RANGES)


def mime4j_shape(events: bytes) -> Shape:
    open_nodes: list[tuple[str, list[Any]]] = [("file", [])]
    for match in re.finditer(rb"^<(/?)(message|multipart|body-part)>\r?$", events, re.MULTILINE):
        if match[1]:
            node = open_nodes.pop()
            open_nodes[-1][1].append(node)
        else:
            open_nodes.append((match[2].decode(), []))
    return _mime4j_entity(open_nodes[0][1][0])


def _mime4j_entity(node: tuple[str, list[Any]]) -> Shape:
    for child in node[1]:
        if child[0] == "multipart":
            return "multipart", tuple(_mime4j_entity(part) for part in child[1])
        return "message", (_mime4j_entity(child),)
    return "leaf", ()


def test_structure_as_mime4j_sees_it() -> None:
    differing, count = set(), 0
    for path in sorted((SUITES / "mime4j").rglob("*.msg")):
        wanted = mime4j_shape(path.with_suffix(".xml").read_bytes())
        count += 1
        if shape_of(scan_message(path.read_bytes()).root, drop_implied=False) != wanted:
            differing.add(path.stem)
    assert count == 80
    assert differing == set(MIME4J_SHAPES)


def table(name: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads((SUITES / "stalwart-mail-parser" / f"{name}.json").read_bytes())
    return rows


def differences(name: str, ours: Callable[[bytes], object], theirs: Callable[[Any], object]) -> list[str]:
    return [
        row["header"]
        for row in table(name)
        if ours(unfold(row["header"].encode("utf-8", "surrogateescape"))) != theirs(row["expected"])
    ]


def our_addresses(value: bytes) -> list[tuple[str | None, str]]:
    return [
        (
            decode_value(entry.name) if entry.name else None,
            decode_value(b"@".join(filter(None, (entry.mailbox, entry.host)))),
        )
        for entry in parse_addresses(value)
        if entry.mailbox is not None and entry.host is not None
    ]


def their_addresses(expected: dict[str, Any] | None) -> list[tuple[str | None, str]]:
    entries: list[dict[str, Any]] = []
    for kind, values in (expected or {}).items():
        entries += values if kind == "List" else [entry for group in values for entry in group["addresses"]]
    return [(entry["name"], entry["address"]) for entry in entries]


def test_addresses() -> None:
    """Differences: stalwart makes comments part of names, keeps routes and spaces in addresses and stops at LF."""
    differing = differences("address", our_addresses, their_addresses)
    assert len(differing) == 10
    for header in differing:
        assert "(" in header or "\n" in header[:-1] or "@node.test:" in header, header


def test_dates() -> None:
    """Differences: dates that are none (numbers for months, unclosed comments, a Received value)."""

    def theirs(expected: dict[str, Any] | None) -> int | None:
        if expected is None:
            return None
        zone = "-" if expected["tz_before_gmt"] else "+"
        names = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split()  # noqa: SIM905
        date = f"{expected['day']} {names[expected['month'] - 1]} {expected['year']:04d}"
        clock = f"{expected['hour']}:{expected['minute']:02d}:{expected['second']:02d}"
        text = f"{date} {clock} {zone}{expected['tz_hour']:02d}{expected['tz_minute']:02d}"
        found = parse_date(text.encode())
        return found.ms if found else None

    def ours(value: bytes) -> int | None:
        found = parse_date(value)
        return found.ms if found else None

    assert len(differences("date", ours, theirs)) <= 4


def test_content_types() -> None:
    """Differences: values without a subtype, language tags as parameters of their own, RFC 2231 oddities."""

    def ours(value: bytes) -> object:
        found = parse_content_type(value)
        if found is None:
            return None
        params = sorted((name, decode_value(text.encode())) for name, text in found.params)
        return found.media_type, found.subtype, params

    def theirs(expected: dict[str, Any] | None) -> object:
        if expected is None:
            return None
        params = sorted((name, value) for name, value in expected.get("attributes") or [])
        return expected["c_type"], expected["c_subtype"], params

    total = len(table("content_type"))
    assert len(differences("content_type", ours, theirs)) <= total // 4
