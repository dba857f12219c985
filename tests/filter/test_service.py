"""The filter's port, on a DNS and a blob store in memory."""

import asyncio
import re
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from postbus.contracts.filter import CheckConnectionRequest, Verdict
from postbus.contracts.policy import DmarcReject, Policy
from postbus.core.errors import ErrorKind, MailError
from postbus.core.ids import BlobId
from postbus.mime.codec import encode_scan
from postbus.mime.scanner import scan_message
from postbus.runtime.dns import RecordType
from postbus.testing.filter_bench import (
    MESSAGE,
    FilterBench,
    SilentResolver,
    names,
    request,
)
from postbusd.filter.service import MAX_CONTENT_OCTETS
from postbusd.filter.settings import FilterSettings

GTUBE_LINE = b"XJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X\r\n"


@pytest.fixture
async def bench() -> AsyncIterator[FilterBench]:
    with ThreadPoolExecutor(2) as executor:
        yield FilterBench(executor)


async def test_good_mail_is_accepted_with_its_results(bench: FilterBench) -> None:
    bench.zone.add_txt("_dmarc.example.com", "v=DMARC1; p=reject")
    reply = await bench.check()
    assert (reply.verdict, reply.spf, reply.dkim, reply.dmarc) == (Verdict.ACCEPT, "pass", "none", "pass")
    assert reply.author_domain == "example.com"
    assert names(reply) == {"SPF_PASS", "DMARC_PASS"}
    assert reply.prefix == (
        b"Authentication-Results: mail.demo.example;\r\n\tspf=pass smtp.mailfrom=anna@example.com;\r\n"
        b"\tdkim=none;\r\n\tdmarc=pass header.from=example.com\r\n"
        b"X-Spam-Status: No, score=-0.3 required=5.0 tests=DMARC_PASS,SPF_PASS\r\n"
    )
    assert bench.registry.get_sample_value("postbus_filter_messages_total", {"verdict": "accept"}) == 1
    assert bench.registry.get_sample_value("postbus_filter_checks_total", {"check": "spf", "result": "pass"}) == 1


@pytest.mark.parametrize(
    ("record", "setting", "verdict", "enhanced"),
    [
        ("p=reject", "reject", Verdict.REJECT, "5.7.1"),
        ("p=reject", "quarantine", Verdict.QUARANTINE, ""),
        ("p=quarantine", "reject", Verdict.QUARANTINE, ""),
        ("p=none", "reject", Verdict.ACCEPT, ""),
        ("p=reject; t=y", "reject", Verdict.QUARANTINE, ""),
    ],
)
async def test_dmarc_policies(bench: FilterBench, record: str, setting: str, verdict: Verdict, enhanced: str) -> None:
    bench.zone.add_txt("_dmarc.example.com", f"v=DMARC1; {record}")
    bench.policy.policy = Policy(dmarc_reject=DmarcReject(setting))
    reply = await bench.check(reverse_path="eve@example.net")
    assert (reply.verdict, reply.reply_enhanced, reply.dmarc) == (verdict, enhanced, "fail")
    assert ("example.com" in reply.reply_text) is (verdict is Verdict.REJECT)
    assert reply.reply_text.isascii()


async def test_submissions_skip_the_checks(bench: FilterBench) -> None:
    bench.zone.add_txt("_dmarc.example.com", "v=DMARC1; p=reject")
    reply = await bench.check(authenticated_as="alice@demo.example", reverse_path="alice@demo.example")
    assert (reply.verdict, reply.spf, reply.dmarc) == (Verdict.ACCEPT, "none", "none")
    assert bench.zone.queries == []
    assert reply.prefix.startswith(b"Authentication-Results: mail.demo.example;\r\n\tauth=pass\r\nX-Spam-Status: No,")
    shown = await bench.check(settings=FilterSettings(show_login=True), authenticated_as="alice@demo.example")
    assert b"auth=pass smtp.auth=alice@demo.example\r\n" in shown.prefix


async def test_the_generic_test_message_is_quarantined(bench: FilterBench) -> None:
    reply = await bench.check(MESSAGE + GTUBE_LINE)
    assert reply.verdict is Verdict.QUARANTINE
    assert reply.score > 990
    assert b"X-Spam-Flag: YES\r\n" in reply.prefix
    encoded = MESSAGE.replace(b"\r\n\r\n", b"\r\nContent-Transfer-Encoding: base64\r\n\r\n").removesuffix(
        b"At noon?\r\n"
    )
    encoded += b"WEpTKkM0SkRCUUFETjEuTlNCTjMqMklETkVOKkdUVUJFLVNUQU5EQVJELUFOVEktVUJFLVRF\r\nU1QtRU1BSUwqQy4zNFg=\r\n"
    assert "GTUBE" in names(await bench.check(encoded))


async def test_a_silent_dns_delays_but_never_refuses(bench: FilterBench) -> None:
    settings = FilterSettings(check_seconds=0.05, connection_seconds=0.05)
    service = bench.service(settings, SilentResolver())
    started = time.monotonic()
    reply = await service.check_message(request())
    assert time.monotonic() - started < 1
    assert (reply.verdict, reply.spf, reply.dmarc) == (Verdict.ACCEPT, "temperror", "temperror")
    assert names(reply) == {"SPF_UNAVAILABLE", "DMARC_UNAVAILABLE", "RDNS_UNAVAILABLE"}
    assert reply.score == 0.0
    connection = await service.check_connection(CheckConnectionRequest(client_address="192.0.2.1"))
    assert [hit.name for hit in connection.tests] == ["RDNS_UNAVAILABLE"]


async def test_a_failing_dns_is_not_held_against_the_author(bench: FilterBench) -> None:
    bench.zone.add_txt("_dmarc.example.com", "v=DMARC1; p=reject").fail("example.com", RecordType.TXT)
    reply = await bench.check()
    assert (reply.verdict, reply.spf, reply.dmarc) == (Verdict.ACCEPT, "temperror", "temperror")


async def test_missing_and_doubtful_fields_are_told(bench: FilterBench) -> None:
    forged = b"Authentication-Results: mail.demo.example; dmarc=pass\r\nFrom: a@example.com, b@example.org\r\n\r\nx\r\n"
    reply = await bench.check(forged, reverse_path="", helo="localhost", client_address="192.0.2.9")
    assert {"FORGED_AUTH_RESULTS", "MULTIPLE_AUTHOR_DOMAINS", "MISSING_DATE", "RDNS_NONE", "HELO_NO_DOMAIN"} <= names(
        reply
    )
    assert (reply.dmarc, reply.author_domain, reply.spf) == ("permerror", "", "none")
    assert reply.verdict is Verdict.QUARANTINE


async def test_messages_may_come_by_blob_id_with_their_scan(bench: FilterBench) -> None:
    blob_id = await bench.blobs.put(MESSAGE)
    scan = encode_scan(scan_message(MESSAGE))
    reply = await bench.check(b"", blob_id=blob_id, scan=scan)
    assert (reply.spf, reply.author_domain) == ("pass", "example.com")
    with pytest.raises(MailError) as caught:
        await bench.check(b"x", scan=scan)
    assert caught.value.kind is ErrorKind.INVALID
    with pytest.raises(MailError):
        await bench.check(b"", blob_id=BlobId("20261122-" + "0" * 64))


async def test_a_large_message_is_scanned_off_the_loop(bench: FilterBench) -> None:
    reply = await bench.check(MESSAGE + b"0123456789\r\n" * 40_000 + GTUBE_LINE)
    assert reply.verdict is Verdict.ACCEPT


async def test_connections_get_a_confirmed_name(bench: FilterBench) -> None:
    bench.zone.add_names("2.2.0.192.in-addr.arpa", RecordType.PTR, "out.example.com", "liar.example.net")
    service = bench.service()
    good = await service.check_connection(CheckConnectionRequest(client_address="::ffff:192.0.2.1"))
    assert (good.verdict, good.client_name, good.tests) == (Verdict.ACCEPT, "out.example.com", ())
    for address in ("192.0.2.2", "2001:db8::1"):
        bad = await service.check_connection(CheckConnectionRequest(client_address=address))
        assert (bad.client_name, [hit.name for hit in bad.tests]) == ("", ["RDNS_NONE"])
    for address in ("127.0.0.1", "::1", "unix", ""):
        local = await service.check_connection(CheckConnectionRequest(client_address=address))
        assert (local.client_name, local.tests) == ("", ())


@pytest.mark.parametrize(
    "content", [b"", b"\r\n", b"From", b"From: \r\n\r\n", b"\xff" * 300, b"From: <@>\r\nDate: x\r\n\r\n\0"]
)
async def test_any_octets_get_a_verdict(bench: FilterBench, content: bytes) -> None:
    reply = await bench.check(content, helo="", reverse_path="<>@@\r\n\u00fc")
    assert reply.verdict in {Verdict.ACCEPT, Verdict.QUARANTINE}
    assert re.fullmatch(rb"(?:[A-Za-z-]+: [\x20-\x7e]+\r\n(?:\t[\x20-\x7e]+\r\n)*)+", reply.prefix)


@pytest.mark.shared
async def test_the_published_samples_of_the_generic_test(bench: FilterBench, suites: Path) -> None:
    folder = suites / "spamassassin"
    for path in (folder / "data/spam/gtube.eml", folder / "sample-spam.txt"):
        assert "GTUBE" in names(await bench.check(path.read_bytes()))
    for path in (folder / "data/nice/not_gtube.eml", folder / "sample-nonspam.txt"):
        reply = await bench.check(path.read_bytes())
        assert "GTUBE" not in names(reply)
        assert reply.verdict is Verdict.ACCEPT


@pytest.mark.shared
async def test_every_published_sample_gets_a_verdict(bench: FilterBench, suites: Path) -> None:
    for path in sorted((suites / "spamassassin/data").rglob("*")):
        if path.is_file():
            reply = await bench.check(re.sub(rb"\r?\n", b"\r\n", path.read_bytes()))
            assert reply.verdict in {Verdict.ACCEPT, Verdict.QUARANTINE}


async def test_large_messages_are_judged_within_bounds(bench: FilterBench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever sends a hundred at once does not fill the memory; small ones need not wait."""
    reading = most = 0
    gate = asyncio.Event()
    get = bench.blobs.get

    async def slow_get(blob_id: BlobId, start: int = 0, octets: int | None = None) -> bytes:
        nonlocal reading, most
        reading += 1
        most = max(most, reading)
        await gate.wait()
        reading -= 1
        return await get(blob_id, start, octets)

    monkeypatch.setattr(bench.blobs, "get", slow_get)
    blob_id = await bench.blobs.put(MESSAGE)
    service = bench.service()
    large = request(b"", blob_id=blob_id, size_octets=MAX_CONTENT_OCTETS // 2)
    judging = [asyncio.ensure_future(service.check_message(large)) for _ in range(10)]
    assert (await service.check_message(request())).verdict is Verdict.ACCEPT
    assert reading == 2
    gate.set()
    assert {(await each).verdict for each in judging} == {Verdict.ACCEPT}
    assert most == 2


async def test_the_score_that_is_required_is_the_policys(bench: FilterBench) -> None:
    plain = await bench.check(client_address="203.0.113.9", helo="x")
    assert (plain.verdict, plain.required) == (Verdict.ACCEPT, 5.0)
    bench.policy.policy = Policy(required_score=0.1)
    strict = await bench.check(client_address="203.0.113.9", helo="x")
    assert (strict.verdict, strict.required) == (Verdict.QUARANTINE, 0.1)
    assert b"required=0.1" in strict.prefix


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("anna@example.com", True),
        ("ANNA@EXAMPLE.COM", True),
        ("anna@*.com", True),
        ("a??a@example.com", True),
        ("example.com", True),
        ("*mple.com", True),
        ("e*e*.com", True),
        ("anna@example.co", False),
        ("nna@example.com", False),
        ("xample.com", False),
        ("a?a@example.com", False),
        ("*.example.com", False),
        ("e*x*x*.com", False),
    ],
)
async def test_blocked_senders_are_spam_and_welcome_ones_are_not(bench: FilterBench, pattern: str, found: bool) -> None:
    bench.policy.policy = Policy(blocked_senders=(pattern.lower(),))
    reply = await bench.check()
    assert (reply.verdict is Verdict.QUARANTINE, "USER_IN_BLACKLIST" in names(reply)) == (found, found)
    assert (b"X-Spam-Flag: YES" in reply.prefix) is found
    bench.policy.policy = Policy(welcome_senders=(pattern.lower(),), required_score=0.1)
    reply = await bench.check(client_address="203.0.113.9", helo="x")
    assert (reply.verdict is Verdict.ACCEPT, "USER_IN_WELCOMELIST" in names(reply)) == (found, found)


async def test_lists_look_at_the_author_too_but_not_at_submissions(bench: FilterBench) -> None:
    bench.policy.policy = Policy(blocked_senders=("example.com",))
    assert (await bench.check(reverse_path="bounce@lists.example.net")).verdict is Verdict.QUARANTINE
    assert (await bench.check(reverse_path="")).verdict is Verdict.QUARANTINE
    submitted = await bench.check(authenticated_as="anna@example.com")
    assert submitted.verdict is Verdict.ACCEPT


@pytest.mark.parametrize(
    ("record", "verdict"), [("p=quarantine", Verdict.ACCEPT), ("p=reject", Verdict.REJECT), ("p=none", Verdict.ACCEPT)]
)
async def test_who_is_welcome_never_passes_a_dmarc_reject(bench: FilterBench, record: str, verdict: Verdict) -> None:
    bench.zone.add_txt("_dmarc.example.com", f"v=DMARC1; {record}")
    bench.policy.policy = Policy(welcome_senders=("anna@example.com",))
    reply = await bench.check(reverse_path="eve@example.net")
    assert (reply.verdict, reply.dmarc) == (verdict, "fail")
