"""An installation that is watched: a process for each service, a collector, a mail server outside and a DNS.

What is sent to it carries secrets that must not come out of any log, trace, event or metric.
"""

import contextlib
import imaplib
import json
import smtplib
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec

from postbus.testing.collector import Collector, running_collector
from postbus.testing.dns_server import running_dns
from postbus.testing.installation import CLIENT_SECONDS, Platform, postbus, short_folder, start_platform
from postbus.testing.sink import TAKEN, Sink, running_sink

REMOTE = "remote.example"
SECRETS = {
    "subject": "subject-4be61a",
    "body": "body-77c0de",
    "field": "field-19aa2f",
    "password": "password-5dd07e",
    "token": "token-90ffab",
}
"""Words by where they stand."""
DEFERRED, REFUSED = "later", "never"
"""Local parts at REMOTE: put off once, refused for good."""


class Page(NamedTuple):
    """What a listener answered."""

    status: int
    content_type: str
    text: str


class Observed(msgspec.Struct, frozen=True, kw_only=True):
    """The installation and what watches it."""

    platform: Platform
    collector: Collector
    sink: Sink

    def text(self, author: str, recipient: str, name: str) -> bytes:
        """A message with that Message-ID, and secrets."""
        return (
            f"From: {author}\r\nTo: {recipient}\r\nSubject: {SECRETS['subject']} {name}\r\nMessage-ID: <{name}>\r\n"
            f"X-Private: {SECRETS['field']}\r\n\r\n{SECRETS['body']}\r\n"
        ).encode()

    def receive(self, *recipients: str) -> str:
        """Sends one from outside; its queue id."""
        name = f"{uuid.uuid4()}@example.net"
        with smtplib.SMTP(self.platform.host, self.platform.port("smtp"), "c.example.net", timeout=70) as client:
            return _send(client, "ann@example.net", recipients, self.text("ann@example.net", recipients[0], name))

    def submit(self, *recipients: str) -> str:
        """Sends one as the first mailbox; its queue id."""
        address, password = self.platform.mailboxes[0]
        name = f"{uuid.uuid4()}@demo.example"
        port = self.platform.port("submissions")
        with smtplib.SMTP_SSL(self.platform.host, port, context=self.platform.tls(), timeout=70) as client:
            client.login(address, password)
            return _send(client, address, recipients, self.text(address, recipients[0], name))

    def run(self, *arguments: str) -> Any:
        """A command's JSON."""
        return json.loads(postbus(*arguments, "--json", "--data-dir", str(self.platform.data_dir)).stdout)

    def show(self, *arguments: str) -> str:
        """What a command prints for people."""
        return postbus(*arguments, "--data-dir", str(self.platform.data_dir)).stdout

    def misuse(self) -> None:
        """Wrong logins at every door, by secrets."""
        platform = self.platform
        with (
            contextlib.suppress(smtplib.SMTPException),
            smtplib.SMTP_SSL(
                platform.host, platform.port("submissions"), context=platform.tls(), timeout=CLIENT_SECONDS
            ) as client,
        ):
            client.login(platform.mailboxes[0][0], SECRETS["password"])
        session = imaplib.IMAP4_SSL(platform.host, platform.port("imaps"), ssl_context=platform.tls(), timeout=30)
        with contextlib.suppress(imaplib.IMAP4.error):
            session.login(platform.mailboxes[0][0], SECRETS["password"])
        session.shutdown()
        request = urllib.request.Request(  # noqa: S310
            f"{platform.admin_url}/api/v1/domains", headers={"Authorization": f"Bearer {SECRETS['token']}"}
        )
        with contextlib.suppress(OSError):
            urllib.request.urlopen(request, timeout=CLIENT_SECONDS, context=platform.tls()).close()  # noqa: S310

    def read(self) -> None:
        """An IMAP session that looks, searches and stores."""
        with self.platform.reader() as client:
            client.select("INBOX")
            client.uid("SEARCH", "BODY", SECRETS["body"])
            client.append("INBOX", "", "", self.text("me@demo.example", "me@demo.example", str(uuid.uuid4())))
            client.uid("FETCH", "1:*", "(FLAGS BODY[])")


def pages(platform: Platform, page: str) -> dict[str, Page]:
    """A page (metrics, healthz, readyz) of each service."""
    return {name: fetch(url.removesuffix("metrics") + page) for name, url in platform.metrics.items()}


def fetch(url: str) -> Page:
    """A page, whatever its status."""
    try:
        with urllib.request.urlopen(url, timeout=CLIENT_SECONDS) as answer:  # noqa: S310
            return Page(answer.status, answer.headers["Content-Type"], answer.read().decode())
    except urllib.error.HTTPError as error:
        with error:
            return Page(error.code, error.headers["Content-Type"], error.read().decode())


def _send(client: smtplib.SMTP, reverse_path: str, recipients: tuple[str, ...], content: bytes) -> str:
    client.ehlo()
    client.mail(reverse_path)
    for recipient in recipients:
        code, reply = client.rcpt(recipient)
        assert code == 250, reply  # SMTP
    code, reply = client.data(content)
    assert code == 250, reply
    return reply.decode().rpartition(" ")[2]


@contextlib.contextmanager
def running_observed() -> Iterator[Observed]:
    """The installation after some traffic of every kind."""
    with running_dns() as dns, running_sink() as sink, running_collector() as collector, short_folder() as folder:
        dns.add(REMOTE, "MX", f"10 mx.{REMOTE}.")
        dns.add(f"mx.{REMOTE}", "A", "127.0.0.1")
        seen: set[str] = set()

        def answer(address: str) -> str:
            if address.startswith(REFUSED):
                return "550 5.1.1 no such user"
            if address.startswith(DEFERRED) and address not in seen:
                seen.add(address)
                return "451 4.7.1 come again"
            return TAKEN

        sink.answer = answer
        platform = start_platform(
            folder,
            "--workers",
            "separate",
            "--resolver",
            f"127.0.0.1:{dns.port}",
            environment={
                "POSTBUS_DELIVERY_MX_PORT": str(sink.port),
                "POSTBUS_DELIVERY_EGRESS_ALLOW": "127.0.0.0/8",
                "POSTBUS_DELIVERY_RETRY_SECONDS": "1",
                "POSTBUS_RUNTIME_OTLP_ENDPOINT": collector.url,
            },
        )
        yield Observed(platform=platform, collector=collector, sink=sink)
