"""The authors of a message, read strictly."""

import contextlib
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postbus.core.errors import ErrorKind, MailError
from postbus.mime.authors import MAX_AUTHORS, MAX_FROM_OCTETS, parse_authors


def read(*fields: bytes) -> list[str]:
    return [author.format() for author in parse_authors(fields)]


@pytest.mark.parametrize(
    ("value", "authors"),
    [
        (b"alice@demo.example", ["alice@demo.example"]),
        (b'"Alice, the first" <Alice@DEMO.example>', ["Alice@demo.example"]),
        (b"a@demo.example, B <b@demo.example>", ["a@demo.example", "b@demo.example"]),
        (b"We: a@demo.example, b@demo.example;", ["a@demo.example", "b@demo.example"]),
        (b'"a b"@demo.example', ['"a b"@demo.example']),
        (b"alice@demo.example <alice@demo.example>", ["alice@demo.example"]),
        (b'"ceo@bank.example" <alice@demo.example>', ["alice@demo.example"]),
        (b"J. Q. Public (who (else)?) <alice@demo.example> (work)", ["alice@demo.example"]),
        ('Jörg "von" Ö. <alice@demo.example>,'.encode(), ["alice@demo.example"]),
        (b"=?utf-8?q?J=C3=B6rg?= <alice@demo.example>", ["alice@demo.example"]),
        (b"alice @ demo.example", ["alice@demo.example"]),
        ("jörg@bücher.example".encode(), ["jörg@xn--bcher-kva.example"]),
        (b"<@relay.example:a@demo.example>", ["a@demo.example"]),
    ],
)
def test_addresses_of_from(value: bytes, authors: list[str]) -> None:
    assert read(value) == authors


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ((), "no From field"),
        ((b"a@b.example", b"a@b.example"), "more than one From field"),
        ((b"",), "no address"),
        ((b"Undisclosed:;",), "no address"),
        ((b"alice",), "malformed address: alice"),
        ((b"alice@demo.example, bob",), "malformed address: bob"),
        ((b"<>",), "malformed address"),
        ((b"a@[192.0.2.1]",), "malformed address"),
        ((b"\xff@demo.example",), "malformed address"),
        ((b"a@demo.example," * (MAX_AUTHORS + 1),), "too many addresses"),
        ((b"a" * 17_000 + b"@demo.example",), "too long"),
    ],
)
def test_what_is_no_author_is_refused(fields: tuple[bytes, ...], reason: str) -> None:
    with pytest.raises(MailError, match=reason) as error:
        parse_authors(fields)
    assert error.value.kind is ErrorKind.INVALID


@given(st.binary(max_size=200))
def test_garbage_gives_authors_or_invalid(value: bytes) -> None:
    with contextlib.suppress(MailError):
        assert parse_authors((value,))


@pytest.mark.parametrize(
    "value",
    [
        b"a@demo.example b@evil.example",
        b"a@demo.example @evil.example",
        b"a@demo.example <b@evil.example>",
        b"b@evil.example a@demo.example",
        b"a@demo.example:b@evil.example;",
        b"<a@demo.example> <b@evil.example>",
        b"(<a@demo.example>) b@evil.example",
        b"b@evil.example <a@demo.example>",
        b"b@evil.example ( <a@demo.example>",
        b"b@evil.example) <a@demo.example>",
        b'b@evil.example" <a@demo.example>',
        b"b@evil.example\\ <a@demo.example>",
        b"[b@evil.example] <a@demo.example>",
        b'" <b@evil.example> <a@demo.example>',
        b"(b@evil.example <a@demo.example>",
        b"<a@demo.example> (b@evil.example",
        b"b@evil.example;, <a@demo.example>",
        b"x:b@evil.example;, y: a@demo.example;, (",
        b"b@evil.example\x01<a@demo.example>",
        b"b@evil.example\x0b<a@demo.example>",
    ],
)
def test_no_second_address_hides_behind_the_first(value: bytes) -> None:
    try:
        authors = read(value)
    except MailError:
        authors = []
    assert authors != ["a@demo.example"]


@pytest.mark.parametrize(
    "piece", [b"(", b")", b'"', b'\\"', b"<", b"a@b.c,", b"a ", b"(a)", b"a:", b"@", b"a@", b'"a"', b"a@b "]
)
def test_time_is_linear(piece: bytes) -> None:
    """Sixteen thousand octets of any piece, in a moment."""
    started = time.process_time()
    with contextlib.suppress(MailError):
        parse_authors((piece * (MAX_FROM_OCTETS // len(piece)),))
    assert time.process_time() - started < 0.5
