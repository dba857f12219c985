"""IMAP section numbers on the example of RFC 9051 §6.4.5.1."""

import pytest

from postbus.mime.parts import PartText, find_part, part_range
from postbus.mime.scanner import scan_message

MESSAGE = b"""Subject: outer
Content-Type: multipart/mixed; boundary=a

--a
Content-Type: text/plain

1
--a
Content-Type: application/octet-stream

2
--a
Content-Type: message/rfc822

Subject: three
Content-Type: multipart/mixed; boundary=b

--b

3.1
--b
Content-Type: application/octet-stream

3.2
--b--
--a
Content-Type: multipart/mixed; boundary=c

--c
Content-Type: image/gif

4.1
--c
Content-Type: message/rfc822
X-Mime: 4.2

Subject: four two
Content-Type: multipart/mixed; boundary=d

--d

4.2.1
--d
Content-Type: multipart/alternative; boundary=e

--e

4.2.2.1
--e
Content-Type: text/richtext

4.2.2.2
--e--
--d--
--c--
--a
Content-Type: message/rfc822

Subject: five

5.1
--a--
"""
ROOT = scan_message(MESSAGE).root


def path_of(text: str) -> tuple[int, ...]:
    return tuple(map(int, text.split("."))) if text else ()


def text_of(path: str, what: PartText = PartText.BODY) -> bytes | None:
    found = part_range(ROOT, path_of(path), what)
    return None if found is None else MESSAGE[found[0] : found[1]]


@pytest.mark.parametrize("path", ["1", "2", "3.1", "3.2", "4.1", "4.2.1", "4.2.2.1", "4.2.2.2", "5.1"])
def test_every_leaf_by_its_number(path: str) -> None:
    assert text_of(path) == path.encode()


@pytest.mark.parametrize("path", ["0", "6", "1.1", "2.1", "3.3", "3.1.1", "4.3", "4.2.3", "5.2", "5.1.1", "1.0"])
def test_numbers_of_nothing(path: str) -> None:
    assert find_part(ROOT, path_of(path)) is None
    assert text_of(path) is None


def test_headers_and_texts() -> None:
    assert text_of("") == MESSAGE
    assert text_of("", PartText.FULL) == MESSAGE
    assert text_of("", PartText.HEADER) == MESSAGE[: ROOT.body_start]
    assert text_of("", PartText.TEXT) == MESSAGE[ROOT.body_start :]
    assert text_of("3", PartText.HEADER) == b"Subject: three\nContent-Type: multipart/mixed; boundary=b\n\n"
    assert (text_of("3", PartText.TEXT) or b"").startswith(b"--b\n")
    assert (text_of("3") or b"").startswith(b"Subject: three")
    assert text_of("4.2", PartText.MIME) == b"Content-Type: message/rfc822\nX-Mime: 4.2\n\n"
    assert text_of("5", PartText.TEXT) == b"5.1"
    assert text_of("1", PartText.HEADER) is None
    assert text_of("4", PartText.TEXT) is None
    assert (text_of("4") or b"").startswith(b"--c\n")


def test_a_message_without_parts_has_part_one() -> None:
    content = b"Subject: x\n\nbody"
    root = scan_message(content).root
    assert find_part(root, (1,)) is root
    assert part_range(root, (1,)) == (12, 16)
    assert part_range(root, (1,), PartText.MIME) == (0, 12)
    assert find_part(root, (2,)) is None
    assert find_part(root, (1, 1)) is None


def test_a_message_that_is_a_message() -> None:
    content = b"Content-Type: message/rfc822\n\nSubject: in\n\nbody"
    root = scan_message(content).root
    assert part_range(root, (1, 1)) == (43, 47)
    assert part_range(root, (1,), PartText.HEADER) == (30, 43)
    assert find_part(root, (1, 1, 1)) is None
