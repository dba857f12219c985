"""Address lists: RFC 5322's own examples, obsolete forms, and what the wild sends."""

import pytest

from postbus.mime.addresses import GROUP_END, parse_addresses
from postbus.mime.values import Address


def plain(name: str | None, local: str, host: str) -> Address:
    return Address(name.encode() if name else None, None, local.encode(), host.encode())


def group(name: str) -> Address:
    return Address(None, None, name.encode(), None)


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        ("", []),
        (",, ,", []),
        ("a@b.example", [plain(None, "a", "b.example")]),
        ("John Doe <jdoe@machine.example>", [plain("John Doe", "jdoe", "machine.example")]),
        ('"Joe Q. Public" <john.q.public@example.com>', [plain("Joe Q. Public", "john.q.public", "example.com")]),
        ('"Giant; \\"Big\\" Box" <s@example.net>', [plain('Giant; "Big" Box', "s", "example.net")]),
        ("=?utf-8?q?J=C3=BC?= <j@x.example>", [plain("=?utf-8?q?J=C3=BC?=", "j", "x.example")]),
        ("Who? <one@y.test>, two@z.test", [plain("Who?", "one", "y.test"), plain(None, "two", "z.test")]),
        (
            "A Group:Ed Jones <c@a.test>,joe@where.test;",
            [group("A Group"), plain("Ed Jones", "c", "a.test"), plain(None, "joe", "where.test"), GROUP_END],
        ),
        ("undisclosed-recipients:;", [group("undisclosed-recipients"), GROUP_END]),
        ("x:a@b", [group("x"), plain(None, "a", "b"), GROUP_END]),
        ("x:a@b; c@d", [group("x"), plain(None, "a", "b"), GROUP_END, plain(None, "c", "d")]),
        ("Pete(A nice \\) chap) <pete(his account)@silly.test(his host)>", [plain("Pete", "pete", "silly.test")]),
        ("pete@silly.test (Pete)", [plain("Pete", "pete", "silly.test")]),
        ("<a@b.com> (Pete)", [plain("Pete", "a", "b.com")]),
        ("<a@b.com> Doe, <c@d> Roe <e@f>", [plain("Doe", "a", "b.com"), plain(None, "c", "d"), plain("Roe", "e", "f")]),
        (
            "Mary Smith <@node.test,@other.test:mary@example.net>",
            [Address(b"Mary Smith", b"@node.test,@other.test", b"mary", b"example.net")],
        ),
        ("jdoe @ test . example", [plain(None, "jdoe", "test.example")]),
        ("John . Doe @ x . y", [plain(None, "John.Doe", "x.y")]),
        ("John Doe jd@x.y", [plain("John Doe", "jd", "x.y")]),
        ('"a b"@c.example', [plain(None, "a b", "c.example")]),
        ("a@[192.0.2.1]", [plain(None, "a", "[192.0.2.1]")]),
        ("root", [plain(None, "root", "")]),
        ("<>", [plain(None, "", "")]),
        ("<root>", [plain(None, "root", "")]),
        ("<mailto:a@b>", [plain(None, "mailto:a", "b")]),
        ('Open "quote <a@b.example>', [plain("Open quote", "a", "b.example")]),
        ("Open (comment <a@b.example>", [plain("Open comment", "a", "b.example")]),
        ("Open <a@b.example, c@d.example", [plain("Open", "a", "b.example"), plain(None, "c", "d.example")]),
        ("a@x.y <b@z.w>", [plain("a@x.y", "b", "z.w")]),
        ("a@b@c", [plain(None, "a", "bc")]),
        ("ü@x.example", [plain(None, "ü", "x.example")]),
        ("a  \t b <c@d>", [plain("a b", "c", "d")]),
    ],
)
def test_lists(value: str, wanted: list[Address]) -> None:
    assert list(parse_addresses(value.encode())) == wanted


def test_the_bound() -> None:
    assert len(parse_addresses(b"a@b," * 10, limit=3)) == 3
    assert len(parse_addresses(b"(c) a@b," * 10, limit=3)) == 3
