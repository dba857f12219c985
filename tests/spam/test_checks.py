"""The first score: each test fires for its reason alone."""

import re

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from postbus.spam.checks import CHECKS, DAY_MS, GTUBE, Finding, judge
from postbus.spam.headers import format_spam_headers
from postbus.spam.scores import SCORES
from postbus.spam.view import Authentication, AuthorAddress, MessageView

NOW_MS = 1_790_000_000_000
AUTHOR = AuthorAddress(name="Anna", local_part="anna", domain="example.com")
GOOD = MessageView(
    fields=(
        ("from", "Anna <anna@example.com>"),
        ("to", "ben@example.net"),
        ("subject", "Hello"),
        ("date", "Mon, 21 Sep 2026 14:13:20 +0000"),
        ("message-id", "<1@example.com>"),
    ),
    authors=(AUTHOR,),
    text=b"Hello Ben",
    authentication=Authentication(spf="pass", dkim="pass", dkim_author=True, dmarc="pass"),
    helo="mail.example.com",
    sent_ms=NOW_MS,
    received_ms=NOW_MS,
)


def names(view: MessageView) -> set[str]:
    return {hit.name for hit in judge(view).tests}


def without(name: str) -> tuple[tuple[str, str], ...]:
    return tuple(field for field in GOOD.fields if field[0] != name)


def authors(*found: AuthorAddress) -> dict[str, object]:
    return {"authors": found}


def test_good_mail_has_good_marks_only() -> None:
    result = judge(GOOD)
    assert {hit.name for hit in result.tests} == {"SPF_PASS", "DKIM_VALID", "DKIM_VALID_AU", "DMARC_PASS"}
    assert result.score < 0
    assert not result.is_spam


@pytest.mark.parametrize(
    ("changes", "test"),
    [
        ({"fields": without("from"), "authors": ()}, "MISSING_FROM"),
        ({"authors": ()}, "INVALID_FROM"),
        (authors(AuthorAddress(name="", local_part="anna", domain="")), "INVALID_FROM"),
        (authors(AUTHOR, AuthorAddress(name="", local_part="b", domain="example.net")), "MULTIPLE_AUTHOR_DOMAINS"),
        (authors(AuthorAddress(name="ceo@bank.test", local_part="x", domain="example.com")), "FROM_NAME_ADDRESS"),
        ({"fields": without("date"), "sent_ms": None}, "MISSING_DATE"),
        ({"sent_ms": None}, "INVALID_DATE"),
        ({"sent_ms": NOW_MS - 15 * DAY_MS}, "DATE_IN_PAST"),
        ({"sent_ms": NOW_MS + 3 * DAY_MS}, "DATE_IN_FUTURE"),
        ({"fields": without("message-id")}, "MISSING_MID"),
        ({"fields": (*without("message-id"), ("message-id", "1"))}, "INVALID_MID"),
        ({"fields": without("subject")}, "MISSING_SUBJECT"),
        ({"fields": without("to")}, "MISSING_RECIPIENTS"),
        ({"fields": (*GOOD.fields, ("subject", "Again"))}, "DUPLICATE_HEADERS"),
        ({"helo": "localhost"}, "HELO_NO_DOMAIN"),
        ({"client_confirmed": False}, "RDNS_NONE"),
        ({"forged_results": True}, "FORGED_AUTH_RESULTS"),
        ({"client_confirmed": None}, "RDNS_UNAVAILABLE"),
        ({"text": b"x\r\n" + GTUBE + b"\r\n"}, "GTUBE"),
    ],
)
def test_one_fault_gives_one_more_test(changes: dict[str, object], test: str) -> None:
    assert names(msgspec.structs.replace(GOOD, **changes)) - names(GOOD) == {test}


@pytest.mark.parametrize(
    ("authentication", "tests"),
    [
        (Authentication(), set()),
        (Authentication(spf="none", dkim="none", dmarc="none"), {"SPF_NONE"}),
        (Authentication(spf="softfail", dmarc="fail"), {"SPF_SOFTFAIL", "DMARC_FAIL_NONE"}),
        (Authentication(spf="fail", dkim="permerror"), {"SPF_FAIL", "DKIM_INVALID"}),
        (Authentication(dmarc="fail", dmarc_policy="reject"), {"DMARC_FAIL_REJECT"}),
        (Authentication(spf="temperror", dkim="temperror", dmarc="temperror"),
         {"SPF_UNAVAILABLE", "DKIM_UNAVAILABLE", "DMARC_UNAVAILABLE"}),
    ],
)  # fmt: skip
def test_authentication_results_are_tests(authentication: Authentication, tests: set[str]) -> None:
    assert names(msgspec.structs.replace(GOOD, authentication=authentication)) == tests


def test_a_missing_check_weighs_nothing() -> None:
    missing = Authentication(spf="temperror", dkim="temperror", dmarc="temperror")
    result = judge(msgspec.structs.replace(GOOD, authentication=missing, client_confirmed=None))
    assert len(result.tests) == 4
    assert result.score == 0.0


def test_submissions_are_judged_by_their_content() -> None:
    view = msgspec.structs.replace(GOOD, submitted=True, client_confirmed=False, helo="laptop", text=GTUBE)
    assert names(view) == {"ALL_TRUSTED", "GTUBE"}
    assert judge(view).is_spam


def test_names_are_upper_snake() -> None:
    assert all(re.fullmatch(r"[A-Z][A-Z0-9]*(_[A-Z0-9]+)*", name) for name in SCORES)


def test_a_name_counts_once_and_more_checks_may_be_named() -> None:
    result = judge(GOOD, checks=[lambda _view: [Finding("GTUBE"), Finding("GTUBE")]], required=1000.0)
    assert result.score == 1000.0
    assert result.is_spam


def test_headers_of_ham() -> None:
    assert format_spam_headers(judge(GOOD)) == (
        b"X-Spam-Status: No, score=-0.5 required=5.0 tests=DKIM_VALID,DKIM_VALID_AU,\r\n\tDMARC_PASS,SPF_PASS\r\n"
    )


def test_headers_of_spam() -> None:
    headers = format_spam_headers(judge(GOOD, checks=[lambda _view: [Finding("GTUBE")]]))
    assert headers == (
        b"X-Spam-Flag: YES\r\nX-Spam-Status: Yes, score=1000.0 required=5.0 tests=GTUBE\r\n"
        b"X-Spam-Level: " + b"*" * 50 + b"\r\n"
    )


def test_a_message_without_hits_says_none() -> None:
    assert format_spam_headers(judge(GOOD, checks=[])) == b"X-Spam-Status: No, score=0.0 required=5.0 tests=none\r\n"


@settings(max_examples=60, derandomize=True, deadline=None)
@given(st.sets(st.sampled_from(sorted(SCORES))))
def test_folded_lines_fit_and_lose_no_name(found: set[str]) -> None:
    headers = format_spam_headers(judge(GOOD, checks=[lambda _view: [Finding(name) for name in found]])).decode()
    assert headers.endswith("\r\n")
    assert all(len(line) <= 78 for line in headers.split("\r\n"))
    status = headers.replace("\r\n\t", "").partition("X-Spam-Status: ")[2].partition("\r\n")[0]
    assert set(status.partition("tests=")[2].split(",")) == (found or {"none"})


@settings(max_examples=100, derandomize=True, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(["from", "date", "message-id", "subject"]), st.text(max_size=40)), max_size=8),
    st.text(max_size=40),
    st.binary(max_size=60),
)
def test_any_view_is_judged(fields: list[tuple[str, str]], helo: str, text: bytes) -> None:
    author = AuthorAddress(name=helo, local_part=helo, domain=helo)
    view = MessageView(fields=tuple(fields), authors=(author,), text=text, helo=helo)
    assert len({hit.name for hit in judge(view, checks=CHECKS).tests}) == len(judge(view).tests)
