"""Notices: what they look like, where they go, what is refused."""

from email import message_from_bytes, policy

import pytest

from postbus.contracts.events import MailAccepted, Origin
from postbus.contracts.notices import SendNoticeRequest
from postbus.core.errors import ErrorKind, MailError
from postbus.testing.outbound import Outbound
from postbusd.delivery.outbound.notices import Notices
from postbusd.delivery.outbound.own_mail import OwnMail


@pytest.fixture
def outbound() -> Outbound:
    return Outbound()


def notices(outbound: Outbound) -> Notices:
    own_mail = OwnMail(outbound.blobs, outbound.clock, "mail.ours.example")
    return Notices(own_mail, outbound.queue, outbound.clock)


def ask(recipient: str = "kim@else.example", subject: str = "Hello", text: str = "One\nTwo\n") -> SendNoticeRequest:
    return SendNoticeRequest(recipient=recipient, subject=subject, text=text)


@pytest.mark.parametrize("text", ["One\nTwo\n", "Schöne Grüße\n" + "x" * 2_000])
async def test_a_notice_is_mail_of_our_own(outbound: Outbound, text: str) -> None:
    reply = await notices(outbound).send_notice(ask(subject="Ein neues Paßwort", text=text))
    published: list[MailAccepted] = []

    async def publish(accepted: MailAccepted, /) -> int:
        published.append(accepted)
        return 1

    assert await outbound.queue.relay_reports(10, publish) == 1
    (accepted,) = published
    assert (accepted.queue_id, accepted.origin, accepted.envelope.reverse_path) == (reply.queue_id, Origin.DSN, "")
    assert [each.address for each in accepted.envelope.forward_paths] == ["kim@else.example"]
    content = await outbound.blobs.get(accepted.blob_id)
    assert accepted.blob_octets == len(content)
    assert content.isascii()
    assert b"\n" not in content.replace(b"\r\n", b"")
    assert max(map(len, content.split(b"\r\n"))) <= 998
    message = message_from_bytes(content, policy=policy.default)
    assert (message["To"], message["Subject"]) == ("kim@else.example", "Ein neues Paßwort")
    assert (message["From"], message["Auto-Submitted"]) == ("Postbus <postmaster@mail.ours.example>", "auto-generated")
    assert message["Message-ID"] == f"<{reply.queue_id}@mail.ours.example>"
    assert message.get_content().replace("\r\n", "\n").strip() == text.strip()


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (ask(recipient="nobody"), "recipient"),
        (ask(recipient="kim@else.example\r\nBcc: x@y.example"), "recipient"),
        (ask(subject="a\r\nBcc: x@y.example"), "subject"),
        (ask(subject=""), "subject"),
        (ask(text=""), "text"),
        (ask(text="a\0"), "text"),
        (ask(text="x" * 20_001), "text"),
    ],
)
async def test_what_is_refused(outbound: Outbound, request_: SendNoticeRequest, field: str) -> None:
    with pytest.raises(MailError) as refusal:
        await notices(outbound).send_notice(request_)
    assert refusal.value.kind is ErrorKind.INVALID
    assert refusal.value.detail.startswith(f"{field}: ")
    assert not outbound.queue.reports
