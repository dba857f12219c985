"""Authentication-Results: what we write, and what others may not write in our name."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from postbus.dmarc.evaluate import Evaluation, Result
from postbus.mime.scanner import scan_message
from postbusd.filter.authres import AuthenticationReport, format_results
from postbusd.filter.dkim import DkimOutcome, DkimResult
from postbusd.filter.spf import SpfIdentity, SpfOutcome, SpfResult
from postbusd.filter.view import has_forged_results

HOST = "mail.demo.example"
SPF = SpfOutcome(result=SpfResult.PASS, identity=SpfIdentity.MAIL_FROM, domain="example.com")


def unfold(field: bytes) -> str:
    return field.decode("ascii").replace("\r\n\t", " ")


def test_all_results() -> None:
    report = AuthenticationReport(
        authserv_id=HOST,
        reverse_path="anna+x@example.com",
        spf=SPF,
        dkim=[
            DkimOutcome(result=DkimResult.PASS, domain="example.com", selector="s1", value_start="AbCd+/12"),
            DkimOutcome(result=DkimResult.FAIL, domain="example.net", detail='body "hash"'),
        ],
        dmarc=Evaluation(result=Result.PASS),
        author_domain="example.com",
    )
    assert format_results(report) == (
        b"Authentication-Results: mail.demo.example;\r\n"
        b"\tspf=pass smtp.mailfrom=anna+x@example.com;\r\n"
        b'\tdkim=pass header.d=example.com header.s=s1 header.b="AbCd+/12";\r\n'
        b'\tdkim=fail reason="body \\"hash\\"" header.d=example.net;\r\n'
        b"\tdmarc=pass header.from=example.com\r\n"
    )


def test_the_null_path_is_reported_by_helo() -> None:
    spf = SpfOutcome(result=SpfResult.NONE, identity=SpfIdentity.HELO, domain="mx.example.com")
    report = AuthenticationReport(authserv_id=HOST, spf=spf, dkim=())
    assert unfold(format_results(report)) == (
        "Authentication-Results: mail.demo.example; spf=none smtp.helo=mx.example.com; dkim=none\r\n"
    )


@pytest.mark.parametrize(
    ("login", "result"), [("", "auth=pass"), ("alice@demo.example", "auth=pass smtp.auth=alice@demo.example")]
)
def test_submissions(login: str, result: str) -> None:
    field = format_results(AuthenticationReport(authserv_id=HOST, login=login))
    assert unfold(field) == f"Authentication-Results: mail.demo.example; {result}\r\n"


@pytest.mark.parametrize("local_part", ["a b", 'x"y', "a\r\nX-Evil: 1", "\u00fc", "a;spf=pass", "a(b"])
def test_a_strange_reverse_path_is_reported_by_its_domain(local_part: str) -> None:
    report = AuthenticationReport(authserv_id=HOST, reverse_path=f"{local_part}@example.com", spf=SPF)
    assert unfold(format_results(report)).endswith("; spf=pass smtp.mailfrom=example.com\r\n")


@settings(max_examples=100, derandomize=True, deadline=None)
@given(st.text(max_size=30), st.text(max_size=30), st.text(max_size=30))
def test_no_peer_can_add_a_line_or_a_result(reverse_path: str, domain: str, detail: str) -> None:
    report = AuthenticationReport(
        authserv_id=HOST,
        reverse_path=reverse_path,
        spf=SpfOutcome(result=SpfResult.FAIL, identity=SpfIdentity.MAIL_FROM, domain=domain),
        dkim=[DkimOutcome(result=DkimResult.NEUTRAL, domain=domain, selector=detail, detail=detail)],
        dmarc=Evaluation(result=Result.FAIL),
        author_domain=domain,
    )
    field = format_results(report)
    lines = field.split(b"\r\n")
    assert [line[:6].strip() for line in lines[1:-1]] == [b"spf=f", b"dkim=", b"dmarc"]
    assert b"\n" not in field.replace(b"\r\n", b"")
    assert field.isascii()


@pytest.mark.parametrize(
    "value",
    [
        b"mail.demo.example; spf=pass",
        b" MAIL.Demo.Example 1;\r\n dmarc=pass",
        b"(hello) mail.demo.example.; none",
        b'"mail.demo.example"; none',
        b"mail.demo.example",
    ],
)
def test_a_field_in_our_name_is_forged(value: bytes) -> None:
    content = b"From: a@example.com\r\nAuthentication-Results:" + value + b"\r\n\r\nx\r\n"
    assert has_forged_results(content, scan_message(content), HOST)


@pytest.mark.parametrize(
    "value", [b"mx.example.com; spf=pass", b"", b"(mail.demo.example) other; none", b"xmail.demo.example"]
)
def test_a_field_of_others_is_not(value: bytes) -> None:
    content = b"Authentication-Results: " + value + b"\r\nX-A: mail.demo.example; x\r\n\r\nmail.demo.example\r\n"
    assert not has_forged_results(content, scan_message(content), HOST)
