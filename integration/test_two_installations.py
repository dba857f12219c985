"""Two installations, two data folders, one DNS: a message goes to the other one, is read, answered and traced."""

import contextlib
import functools
import imaplib
import json
import smtplib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from postbus.testing.dns_server import LoopbackDns, running_dns
from postbus.testing.installation import Platform, free_port_base, postbus, short_folder, start_platform
from postbus.testing.neomutt import Person, neomutt_is_here

ADDRESS = "127.0.0.1"
HEAL_SECONDS = 60.0
PASSWORD = "a long pass phrase"


class Site(msgspec.Struct, frozen=True, kw_only=True):
    """One installation with its domain and a person."""

    platform: Platform
    domain: str
    person: Person
    start: Callable[[], Platform]
    """Starts it, and again after it was stopped."""

    def run(self, *arguments: str) -> Any:
        """A command's JSON."""
        done = postbus(*arguments, "--json", "--data-dir", str(self.platform.data_dir))
        return json.loads(done.stdout)

    def events(self, *arguments: str) -> list[dict[str, Any]]:
        """Of the event log: an object a line."""
        done = postbus("events", *arguments, "--json", "--data-dir", str(self.platform.data_dir))
        return [json.loads(line) for line in done.stdout.splitlines()]

    def copies(self, recipient: str) -> list[dict[str, Any]]:
        """The outgoing copies for a recipient, finished ones too, the latest last."""
        found: list[dict[str, Any]] = self.run("queue", "list", "--finished")["entries"]
        return [entry for entry in found if entry["recipient"] == recipient]

    def wait_copy(self, recipient: str, *states: str) -> dict[str, Any]:
        """The latest copy for a recipient, once it is in one of the states."""
        deadline = time.monotonic() + HEAL_SECONDS
        while True:
            found = self.copies(recipient)
            if found and found[-1]["state"] in states and found[-1]["last_reply"]:
                return found[-1]
            assert time.monotonic() < deadline, found
            time.sleep(0.3)

    def hold(self, queue_id: str) -> None:
        """Holds a message that is not being sent right now."""
        deadline = time.monotonic() + HEAL_SECONDS
        while postbus("queue", "hold", queue_id, "--data-dir", str(self.platform.data_dir), check=False).returncode:
            assert time.monotonic() < deadline, "always busy"

    def wait_story(self, queue_id: str, *types: str) -> dict[str, Any]:
        """A message's trace, once it tells of these events in this order: the log gets them in batches."""
        deadline = time.monotonic() + HEAL_SECONDS
        while True:
            told: dict[str, Any] = self.run("trace", queue_id)
            found = [event["type"] for event in told["story"]]
            if found == list(types):
                return told
            assert time.monotonic() < deadline, found
            time.sleep(0.3)


@contextlib.contextmanager
def site(name: str, person: str, base: int, other: int, dns: LoopbackDns, homes: Path) -> Iterator[Site]:
    """A running installation that serves `name`; its MX and mail host are in the DNS as `domain dns --zone` says."""
    with short_folder() as folder:
        start = functools.partial(
            start_platform,
            folder,
            "--port-base",
            str(base),
            "--resolver",
            f"{ADDRESS}:{dns.port}",
            environment={
                "POSTBUS_RUNTIME_MAIL_HOST": f"mail.{name}",
                "POSTBUS_DELIVERY_MX_PORT": str(other + 25),
                "POSTBUS_DELIVERY_EGRESS_ALLOW": f"{ADDRESS}/32",
                "POSTBUS_DELIVERY_RETRY_SECONDS": "2",
            },
        )
        platform = start()
        data = ("--data-dir", str(folder))
        postbus("domain", "add", name, *data)
        address = f"{person}@{name}"
        postbus("mailbox", "add", address, "--password", PASSWORD, *data)
        dns.add(f"mail.{name}", "A", ADDRESS)
        dns.add_zone(postbus("domain", "dns", name, "--zone", *data).stdout, name)
        home = homes / person
        yield Site(
            platform=platform,
            domain=name,
            start=start,
            person=Person(platform=platform, address=address, password=PASSWORD, home=home),
        )


@pytest.fixture(scope="module")
def sites(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Site, Site]]:
    homes = tmp_path_factory.mktemp("homes")
    first = free_port_base()
    second = free_port_base(first)
    with (
        running_dns() as dns,
        site("alpha.example", "ann", first, second, dns, homes) as alpha,
        site("beta.example", "bea", second, first, dns, homes) as beta,
    ):
        yield alpha, beta


@pytest.mark.skipif(not neomutt_is_here(), reason="neomutt is not installed")
def test_a_message_crosses_is_read_and_answered(sites: tuple[Site, Site]) -> None:
    alpha, beta = sites
    alpha.person.write(beta.person.address, "Crossing", "How is it over there?")
    arrived = wait_subject(beta, "Crossing").decode()
    results = arrived.partition("Authentication-Results:")[2].partition("\r\nX-")[0]
    assert "spf=pass" in results, arrived
    assert "dkim=pass" in results, arrived
    assert "dmarc=pass" in results, arrived
    assert "header.d=alpha.example" in results
    beta.person.answer_last("It is fine.")
    answer = wait_subject(alpha, "Re: Crossing").decode()
    assert "It is fine." in answer
    assert "> How is it over there?" in answer
    assert "dmarc=pass" in answer


def test_queue_events_and_trace_tell_the_story(sites: tuple[Site, Site]) -> None:
    alpha, beta = sites
    message_id = "<story@alpha.example>"
    send(alpha, beta.person.address, "Story", message_id)
    wait_subject(beta, "Story")
    copy = alpha.wait_copy(beta.person.address, "sent")
    queue_id, there = copy["queue_id"], copy["last_reply"].rpartition(" ")[2]
    assert copy["remote_host"] == "mail.beta.example"
    assert copy["tls"].startswith("TLSv1.3")
    assert copy["message_id"].strip("<>") == message_id.strip("<>")
    told = alpha.wait_story(queue_id, "received", "queued", "delivered")
    assert told["outgoing"][0]["recipient"] == beta.person.address
    assert beta.run("trace", there)["placements"][0]["folder"] == "INBOX"
    assert {event["queue_id"] for event in alpha.events("--queue-id", queue_id)} == {queue_id}
    shown = postbus("trace", queue_id, "--data-dir", str(alpha.platform.data_dir)).stdout
    assert there in shown


def test_a_refusal_comes_back_as_a_report(sites: tuple[Site, Site]) -> None:
    alpha, beta = sites
    nobody = f"nobody@{beta.domain}"
    send(alpha, nobody, "Refused", "<refused@alpha.example>")
    copy = alpha.wait_copy(nobody, "failed")
    assert copy["last_reply"].startswith("550 5.1.1")
    report = wait_header(alpha, "Auto-Submitted", "auto-replied").decode()
    assert "report-type=delivery-status" in report
    assert f"Final-Recipient: rfc822;{nobody}" in report.replace("; ", ";").replace("rfc822;", "rfc822;").replace(
        "Final-Recipient:rfc822", "Final-Recipient: rfc822"
    )
    assert "Status: 5.1.1" in report
    assert "refused@alpha.example" in report
    alpha.wait_story(copy["queue_id"], "received", "queued", "bounced")


def test_an_absent_host_is_tried_again(sites: tuple[Site, Site]) -> None:
    alpha, beta = sites
    data_dir = beta.platform.data_dir
    postbus("down", "--data-dir", str(data_dir))
    try:
        send(alpha, beta.person.address, "Later", "<later@alpha.example>")
        waiting = alpha.wait_copy(beta.person.address, "waiting")
        assert "refused" in waiting["last_reply"]
        alpha.hold(waiting["queue_id"])
    finally:
        beta.start()
    assert alpha.copies(beta.person.address)[-1]["state"] == "held"
    postbus("queue", "release", waiting["queue_id"], "--data-dir", str(alpha.platform.data_dir))
    wait_subject(beta, "Later")
    assert alpha.wait_copy(beta.person.address, "sent")["queue_id"] == waiting["queue_id"]


def test_lists_that_name_each_other_do_not_loop(sites: tuple[Site, Site]) -> None:
    """RFC 5321 §6.3: each list distributes a message once; the one that would begin again refuses it."""
    alpha, beta = sites
    first, second = f"round@{alpha.domain}", f"round@{beta.domain}"
    for where, address, other in ((alpha, first, second), (beta, second, first)):
        data = ("--data-dir", str(where.platform.data_dir))
        postbus("list", "add", address, "--member", where.person.address, "--member", other, *data)
    send(alpha, first, "Round", "<round@alpha.example>")
    assert f"Delivered-To: {second}" in wait_subject(beta, "Round").decode()
    refused = beta.wait_copy(first, "failed")
    assert refused["last_reply"].startswith("554 5.4.6")
    assert count_header(alpha, "Message-ID", "round@alpha.example") == 1
    assert count_header(beta, "Message-ID", "round@alpha.example") == 1


def send(origin: Site, to: str, subject: str, message_id: str) -> None:
    """Submission by hand."""
    with smtplib.SMTP_SSL(
        "localhost", origin.platform.port("submissions"), context=origin.platform.tls(), timeout=30
    ) as client:
        client.login(origin.person.address, PASSWORD)
        header = f"From: {origin.person.address}\r\nTo: {to}\r\nSubject: {subject}\r\nMessage-ID: {message_id}\r\n"
        client.sendmail(origin.person.address, [to], f"{header}\r\nHello.\r\n")


def wait_subject(where: Site, subject: str) -> bytes:
    """The message with this subject."""
    return wait_header(where, "Subject", subject)


def count_header(where: Site, name: str, text: str) -> int:
    """Messages whose header field has this text."""
    tls = where.platform.tls()
    client = imaplib.IMAP4_SSL("localhost", where.platform.port("imaps"), ssl_context=tls, timeout=HEAL_SECONDS)
    try:
        client.login(where.person.address, where.person.password)
        client.select("INBOX", readonly=True)
        found: bytes = client.uid("SEARCH", "HEADER", name, f'"{text}"')[1][0]
        return len(found.split())
    finally:
        client.logout()


def wait_header(where: Site, name: str, text: str) -> bytes:
    """The last message whose header field has this text."""
    deadline = time.monotonic() + HEAL_SECONDS
    tls = where.platform.tls()
    client = imaplib.IMAP4_SSL("localhost", where.platform.port("imaps"), ssl_context=tls, timeout=HEAL_SECONDS)
    try:
        client.login(where.person.address, where.person.password)
        while time.monotonic() < deadline:
            client.select("INBOX", readonly=True)
            found = client.uid("SEARCH", "HEADER", name, f'"{text}"')[1][0]
            if found:
                answer: Any = client.uid("FETCH", found.split()[-1].decode(), "(BODY.PEEK[])")[1]
                return bytes(answer[0][1])
            time.sleep(0.2)
    finally:
        client.logout()
    raise AssertionError(f"no message with {name}: {text}")
