"""Policy records: what counts, what is forgiven."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from postbus.dmarc.record import Policy, Psd, Record, parse_record, select_record


@pytest.mark.parametrize(
    "text",
    [b"", b"v=spf1 -all", b"v=DMARC2; p=none", b"v=dmarc1; p=none", b"p=none; v=DMARC1", b"v=DMARC1p=none", b"v"],
)
def test_what_does_not_begin_with_the_version_is_no_record(text: bytes) -> None:
    assert parse_record(text) is None


def test_all_tags() -> None:
    record = parse_record(
        b"v = DMARC1 ; p=Reject;sp=quarantine; np=none; adkim=s; aspf=S; psd=n; t=y; pct=20;"
        b" rua=mailto:a@example.com!10m,https://x.example/, mailto:b@example.com;"
        b" ruf=mailto:c@example.com; fo=1:d; x=y;"
    )
    assert record == Record(
        policy=Policy.REJECT,
        subdomain_policy=Policy.QUARANTINE,
        nonexistent_policy=Policy.NONE,
        dkim_strict=True,
        spf_strict=True,
        psd=Psd.NO,
        testing=True,
        percent=20,
        aggregate_uris=("mailto:a@example.com", "mailto:b@example.com"),
        failure_uris=("mailto:c@example.com",),
        failure_options="1:d",
    )


@pytest.mark.parametrize(
    ("tags", "policy"),
    [
        (b"", Policy.NONE),
        (b"; rua=mailto:a@example.com", Policy.NONE),
        (b"; p=quarantine", Policy.QUARANTINE),
        (b"; p=rejekt", None),
        (b"; p=rejekt; rua=mailto:a@example.com", Policy.NONE),
        (b"; p=rejekt; rua=ftp:a", None),
        (b"; p=reject; sp=bad", None),
        (b"; p=reject; np=bad; rua=mailto:a@example.com", Policy.NONE),
        (b"; p=reject; p=none", Policy.REJECT),
        (b"; p=reject; adkim=q; pct=200; t=maybe; psd=x", Policy.REJECT),
    ],
)
def test_bad_policy_tags_leave_at_most_reports(tags: bytes, policy: Policy | None) -> None:
    record = parse_record(b"v=DMARC1" + tags)
    assert record is not None
    assert record.policy is policy
    assert (record.percent, record.psd, record.testing) == (100, Psd.UNKNOWN, False)


def test_several_policy_records_cancel_out_and_other_texts_do_not_count() -> None:
    one = b"v=DMARC1; p=reject"
    assert select_record([b"hello", one]) == parse_record(one)
    assert select_record([one, one]) is None
    assert select_record([]) is None


@pytest.mark.parametrize(
    ("subdomain", "exists", "policy"),
    [(False, True, Policy.REJECT), (True, True, Policy.QUARANTINE), (True, False, Policy.NONE)],
)
def test_sp_and_np(subdomain: bool, exists: bool, policy: Policy) -> None:
    record = parse_record(b"v=DMARC1; p=reject; sp=quarantine; np=none")
    assert record is not None
    assert record.policy_for(subdomain=subdomain, exists=exists) is policy


def test_np_falls_back_to_sp_and_sp_to_p() -> None:
    record = parse_record(b"v=DMARC1; p=reject; sp=none")
    assert record is not None
    assert record.policy_for(subdomain=True, exists=False) is Policy.NONE
    record = parse_record(b"v=DMARC1; p=reject")
    assert record is not None
    assert record.policy_for(subdomain=True, exists=False) is Policy.REJECT


@settings(max_examples=80, derandomize=True, deadline=None)
@given(st.binary(max_size=200), st.booleans())
def test_any_octets_give_a_record_or_none(garbage: bytes, versioned: bool) -> None:
    record = parse_record((b"v=DMARC1;" if versioned else b"") + garbage)
    assert (record is not None) if versioned else True
    if record is not None:
        assert 0 <= record.percent <= 100


@pytest.mark.parametrize(
    ("value", "percent"), [("0" * 5000, 100), ("00999", 100), ("999", 100), ("007", 7), ("\u0663", 100)]
)
def test_a_hostile_percentage_is_none(value: str, percent: int) -> None:
    record = parse_record(f"v=DMARC1; p=reject; pct={value}".encode())
    assert record is not None
    assert record.percent == percent
