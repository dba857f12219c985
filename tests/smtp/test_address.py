"""postbus.core.address: RFC 5321 §4.1.2 with RFC 6531's UTF-8, A-labels inside."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from postbus.core.address import Address, parse_address, parse_domain
from postbus.core.errors import ErrorKind, MailError


@pytest.mark.parametrize(
    ("text", "local_part", "domain", "formatted"),
    [
        ("ann@Demo.Example", "ann", "demo.example", "ann@demo.example"),
        ("Ann.B+list@demo.example", "Ann.B+list", "demo.example", "Ann.B+list@demo.example"),
        ('"ann"@demo.example', "ann", "demo.example", "ann@demo.example"),
        ('"ann b"@demo.example', "ann b", "demo.example", '"ann b"@demo.example'),
        (r'"a\"b\\c"@demo.example', r'a"b\c', "demo.example", r'"a\"b\\c"@demo.example'),
        ('"a@b"@demo.example', "a@b", "demo.example", '"a@b"@demo.example'),
        ("jörg@bücher.example", "jörg", "xn--bcher-kva.example", "jörg@xn--bcher-kva.example"),
        ("ann@BÜCHER.example", "ann", "xn--bcher-kva.example", "ann@xn--bcher-kva.example"),
        ("ann@[192.0.2.1]", "ann", "[192.0.2.1]", "ann@[192.0.2.1]"),
        ("ann@[IPv6:2001:DB8::1]", "ann", "[ipv6:2001:db8::1]", "ann@[ipv6:2001:db8::1]"),
        ("a/b=c%d@x", "a/b=c%d", "x", "a/b=c%d@x"),
    ],
)
def test_address_has_one_form_inside(text: str, local_part: str, domain: str, formatted: str) -> None:
    address = parse_address(text)
    assert (address.local_part, address.domain) == (local_part, domain)
    assert str(address) == formatted
    assert parse_address(formatted) == address


@pytest.mark.parametrize(
    "text",
    [
        "", "@", "ann", "ann@", "@demo.example", ".ann@demo.example", "ann.@demo.example", "a..b@demo.example",
        "a b@demo.example", "ann@demo..example", "ann@-demo.example", "ann@demo_x.example", "ann@demo.example.",
        "ann@[192.0.2]", "ann@[evil]", '""@demo.example', '"ann@demo.example', "ann(c)@demo.example",
        "a@b@demo.example", f"{'a' * 256}@demo.example", f"ann@{'a' * 64}.example", f"ann@{'a.' * 130}example",
        "a\x00b@demo.example", "a\x85b@demo.example", '"a\r\nb"@demo.example', "ann@xn--.example", "a\udcffb@x",
        "ann@exa\udcffmple",
    ],
)  # fmt: skip
def test_malformed_address_is_invalid(text: str) -> None:
    with pytest.raises(MailError) as caught:
        parse_address(text)
    assert caught.value.kind is ErrorKind.INVALID


def test_u_labels_are_for_show_only() -> None:
    assert parse_address("ann@xn--bcher-kva.example").show() == "ann@bücher.example"
    assert parse_address("ann@xn--a.example").show() == "ann@xn--a.example"
    assert parse_domain("BÜCHER.example") == "xn--bcher-kva.example"


def test_only_the_local_part_needs_smtputf8() -> None:
    assert not parse_address("ann@bücher.example").needs_smtputf8
    assert parse_address("jörg@demo.example").needs_smtputf8


def test_detail_follows_the_first_separator() -> None:
    assert parse_address("ann+a+b@demo.example").split_detail() == ("ann", "a+b")
    assert parse_address("ann@demo.example").split_detail() == ("ann", "")
    assert parse_address("+ann@demo.example").split_detail() == ("+ann", "")


@given(st.text(min_size=1, max_size=30, alphabet=st.characters(min_codepoint=32, max_codepoint=126)))
@settings(max_examples=100, deadline=None)
def test_any_printable_local_part_survives_formatting(local_part: str) -> None:
    address = Address(local_part=local_part, domain="demo.example")
    assert parse_address(address.format()) == address


@given(st.text(max_size=60))
@settings(max_examples=150, deadline=None)
def test_garbage_is_an_address_or_invalid(text: str) -> None:
    try:
        address = parse_address(text)
    except MailError:
        return
    assert parse_address(address.format()) == address
