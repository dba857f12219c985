"""filter's absence refuses no connection, and is told once."""

import logging

import pytest

from postbus.contracts.filter import Verdict
from postbus.core.clock import SystemClock
from postbus.core.errors import LATER, ErrorKind, MailError
from postbus.testing.smtp_edge import FakeFilter
from postbusd.smtp_edge.networks import ConnectionChecks


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
