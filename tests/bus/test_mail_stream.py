"""Times of stream MAIL are the same whichever way they are read."""

import pytest

from postbus.bus.mail_stream import decode_mail, parse_time, stored_ns


@pytest.mark.parametrize(
    ("text", "ns"),
    [
        ("2026-11-23T03:00:00Z", 1_795_402_800_000_000_000),
        ("2026-11-23T03:00:00.5Z", 1_795_402_800_500_000_000),
        ("2026-11-23T03:00:00.123456789Z", 1_795_402_800_123_456_789),
        ("2026-11-23T04:00:00.000000001+01:00", 1_795_402_800_000_000_001),
    ],
)
def test_nanoseconds_survive(text: str, ns: int) -> None:
    assert parse_time(text) == ns


@pytest.mark.parametrize("text", ["", "now", "2026-11-23", "2026-11-23T03:00:00.1234567890Z"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="time"):
        parse_time(text)


@pytest.mark.parametrize(
    "reply",
    [
        "$JS.ACK.MAIL.delivery.1.7.9.1795402800123456789.0",
        "$JS.ACK._.AbCdEf.MAIL.delivery.1.7.9.1795402800123456789.0.tail",
        "$JS.ACK.hub.AbCdEf.MAIL.delivery.1.7.9.1795402800123456789.0",
    ],
)
def test_a_pulled_message_tells_when_it_was_stored(reply: str) -> None:
    assert stored_ns(reply) == 1_795_402_800_123_456_789


def test_what_is_no_mail_is_told() -> None:
    assert decode_mail(b"\xff\xff") is None
