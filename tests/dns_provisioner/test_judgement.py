"""Wanted records beside live ones."""

import msgspec
import pytest

from postbus.contracts.dns_provisioner import DkimAlgorithm, RecordState, WantedRecord
from postbus.contracts.domains import Domain
from postbus.contracts.relays import Relay
from postbusd.dns_provisioner.judgement import judge_dkim, judge_dmarc, judge_mx, judge_silence, judge_spf
from postbusd.dns_provisioner.plan import plan_dkim, plan_dmarc, plan_mx, plan_spf
from postbusd.dns_provisioner.values import PublicDkimKey

OK, MISSING, DIFFERS = RecordState.OK, RecordState.MISSING, RecordState.DIFFERS
HOST = "mail.example.net"
KEY = PublicDkimKey(selector="pb-2", algorithm=DkimAlgorithm.ED25519_SHA256, public_key=b"e" * 32)
P = "ZWVlZWVlZWVlZWVlZWVlZWVlZWVlZWVlZWVlZWVlZWU="


def check(judged: WantedRecord, state: RecordState, advice: str) -> None:
    """`advice` is a part of it; empty: there is none."""
    assert judged.state is state
    assert (advice in judged.advice) if advice else judged.advice == ""


@pytest.mark.parametrize(
    ("exchanges", "state", "advice"),
    [
        ([], MISSING, "add this MX"),
        ([(10, HOST)], OK, ""),
        ([(0, HOST)], OK, ""),
        ([(0, "")], DIFFERS, "null MX"),
        ([(10, HOST), (20, "mx.elsewhere.example")], DIFFERS, "also goes to mx.elsewhere.example"),
        ([(5, "mx.elsewhere.example")], DIFFERS, "goes to mx.elsewhere.example"),
    ],
)
def test_mx(exchanges: list[tuple[int, str]], state: RecordState, advice: str) -> None:
    judged = judge_mx(plan_mx(Domain(name="example.com"), HOST), exchanges)
    check(judged, state, advice)
    assert judged.live == tuple(f"{number} {host}." for number, host in exchanges)


@pytest.mark.parametrize(
    ("exchanges", "state", "advice"),
    [
        ([(10, HOST), (20, "backup.example")], OK, ""),
        ([(10, "backup.example")], OK, ""),
        ([(10, HOST)], OK, ""),
        ([(10, HOST), (20, "mx.elsewhere.example")], DIFFERS, "also goes to mx.elsewhere.example"),
        ([(10, "backup.example"), (20, "mx.elsewhere.example")], DIFFERS, "goes to backup.example, mx.elsewhere"),
    ],
)
def test_mx_beside_or_behind_an_alternate(exchanges: list[tuple[int, str]], state: RecordState, advice: str) -> None:
    domain = Domain(name="example.com", alternate_mx=("192.0.2.0/24", "backup.example"))
    check(judge_mx(plan_mx(domain, HOST), exchanges), state, advice)


@pytest.mark.parametrize(
    ("texts", "state", "advice"),
    [
        ([], MISSING, "add this TXT"),
        (["site-verification=1", "v=spf10 -all"], MISSING, "add this TXT"),
        (["v=spf1 a:mail.example.net -all"], OK, ""),
        (["V=SPF1 +A:Mail.Example.Net. ~all", "other"], OK, ""),
        (["v=spf1 mx include:_spf.example.org a:mail.example.net ip4:192.0.2.1 ~all"], OK, ""),
        (["v=spf1 a:mail.example.net redirect=_spf.example.org"], OK, ""),
        (["v=spf1 include:_spf.example.org -all"], DIFFERS, "put a:mail.example.net into"),
        (["v=spf1 -all a:mail.example.net"], DIFFERS, "before its all"),
        (["v=spf1 -a:mail.example.net -all"], DIFFERS, "put a:mail.example.net into"),
        (["v=spf1 ?a:mail.example.net -all"], DIFFERS, "put a:mail.example.net into"),
        (["v=spf1 a:mail.example.netz -all"], DIFFERS, "put a:mail.example.net into"),
        (["v=spf1 a -all"], DIFFERS, "put a:mail.example.net into"),
        (["v=spf1 a:mail.example.net +all"], DIFFERS, "+all"),
        (["v=spf1 a:mail.example.net -all", "v=spf1 -all"], DIFFERS, "more than one SPF record"),
        (["v=spf1"], DIFFERS, "put a:mail.example.net into"),
    ],
)
def test_spf(texts: list[str], state: RecordState, advice: str) -> None:
    judged = judge_spf(plan_spf(Domain(name="example.com"), HOST), texts)
    check(judged, state, advice)
    assert all(text.lower().startswith("v=spf1") for text in judged.live)


def test_a_alone_means_the_mail_host_where_it_is_the_domain() -> None:
    check(judge_spf(plan_spf(Domain(name=HOST), HOST), ["v=spf1 a -all"]), OK, "")


def test_spf_with_a_relay_reminds_until_somebody_adds_to_it() -> None:
    wanted = plan_spf(Domain(name="example.com", relay=Relay(host="smtp.relay.example")), HOST)
    check(judge_spf(wanted, []), MISSING, "smtp.relay.example")
    check(judge_spf(wanted, ["v=spf1 a:mail.example.net ~all"]), OK, "smtp.relay.example")
    check(judge_spf(wanted, ["v=spf1 a:mail.example.net include:_spf.relay.example ~all"]), OK, "")
    check(judge_spf(wanted, ["v=spf1 include:_spf.relay.example ~all"]), DIFFERS, "smtp.relay.example")


@pytest.mark.parametrize(
    ("texts", "state", "advice"),
    [
        ([], MISSING, "add this TXT"),
        ([f"v=DKIM1; k=ed25519; p={P}"], OK, ""),
        ([f"k=ed25519;p={P[:20]} {P[20:]} ; n=note"], OK, ""),
        ([f"v=DKIM1; k=ed25519; t=s; s=email; h=sha256; p={P}"], OK, ""),
        ([f"v=DKIM1; k=ed25519; t=y; p={P}"], OK, "t=y"),
        ([f"v=DKIM1; p={P}"], DIFFERS, "another key"),
        ([f"v=DKIM1; k=ed25519; p={P.lower()}"], DIFFERS, "another key"),
        (["v=DKIM1; k=ed25519; p="], DIFFERS, "revoked"),
        (["v=DKIM1; k=ed25519"], DIFFERS, "no key record"),
        ([f"v=DKIM2; k=ed25519; p={P}"], DIFFERS, "no key record"),
        ([f"v=DKIM1; k=ed25519; s=tlsrpt; p={P}"], DIFFERS, "not for mail"),
        ([f"v=DKIM1; k=ed25519; h=sha1; p={P}"], DIFFERS, "sha256"),
        ([f"v=DKIM1; k=ed25519; p={P}", "other"], DIFFERS, "more than one record"),
    ],
)
def test_dkim(texts: list[str], state: RecordState, advice: str) -> None:
    judged = judge_dkim(plan_dkim("example.com", KEY), texts)
    check(judged, state, advice)
    assert judged.live == tuple(texts)


@pytest.mark.parametrize(
    ("texts", "state", "advice"),
    [
        ([], MISSING, "add this TXT"),
        (["v=spf1 -all", "dmarc"], MISSING, "add this TXT"),
        (["v=DMARC1; p=reject; rua=mailto:postmaster@example.com; pct=100"], OK, ""),
        (["v=DMARC1;p=reject", "other"], OK, ""),
        (["v=DMARC1; p=quarantine"], OK, "p=quarantine is weaker"),
        (["v=DMARC1; p=none; rua=mailto:a@example.org"], OK, "p=none is weaker"),
        (["v=DMARC1; p=reject; pct=20"], OK, "part of the mail"),
        (["v=DMARC1; p=reject; t=y"], OK, "part of the mail"),
        (["v=DMARC1; p=refuse"], DIFFERS, "no p="),
        (["v=DMARC1; rua=mailto:a@example.org"], DIFFERS, "no p="),
        (["v=DMARC1; p=reject", "v=DMARC1; p=none"], DIFFERS, "more than one DMARC"),
    ],
)
def test_dmarc(texts: list[str], state: RecordState, advice: str) -> None:
    check(judge_dmarc(plan_dmarc("example.com"), texts), state, advice)


def test_silence_is_neither_right_nor_wrong() -> None:
    check(judge_silence(plan_dmarc("example.com"), "dns: no answer"), RecordState.UNKNOWN, "dns: no answer")


def test_what_is_shown_is_bounded() -> None:
    judged = judge_dkim(plan_dkim("example.com", KEY), ["x" * 5000])
    assert len(judged.live[0]) <= 1000
    assert msgspec.structs.replace(judged, live=()).state is DIFFERS
