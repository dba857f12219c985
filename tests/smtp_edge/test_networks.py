"""filter's absence refuses no connection, and is told once."""

import logging

import pytest

from postbus.contracts.filter import Verdict
from postbus.contracts.policy import Policy
from postbus.core.clock import SystemClock
from postbus.core.errors import LATER, ErrorKind, MailError
from postbus.testing.smtp_edge import FakeFilter
from postbusd.smtp_edge.networks import BlockedNetworks, ConnectionChecks


async def test_an_outage_of_filter_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    checker = FakeFilter()
    checks = ConnectionChecks(checker, SystemClock(), 60.0)
    with caplog.at_level(logging.INFO):
        for outage in range(1, 3):
            checker.fail_with = MailError(ErrorKind.UNAVAILABLE, "filter: away", LATER)
            for number in range(5):
                assert (await checks.check(f"192.0.2.{number}")).verdict is Verdict.ACCEPT
            assert [record.message for record in caplog.records] == ["smtp.connection.unchecked"] * outage
            checker.fail_with = None
            await checks.check("192.0.2.1")


def test_blocked_networks() -> None:
    blocked = BlockedNetworks()
    assert not blocked.has("192.0.2.1")
    blocked.set(Policy(blocked_networks=("192.0.2.0/24", "198.51.100.7/32", "2001:db8::/32")))
    inside = ("192.0.2.1", "192.0.2.255", "::ffff:192.0.2.9", "198.51.100.7", "2001:db8:ffff::1", "2001:db8::1%eth0")
    for address in inside:
        assert blocked.has(address), address
    for address in ("192.0.3.1", "198.51.100.8", "2001:db9::1", "::1", "nonsense", ""):
        assert not blocked.has(address), address
    blocked.set(Policy())
    assert not blocked.has("192.0.2.1")
