"""Counting on the fake bus."""

import pytest

from postbus.bus.ports import Counting
from postbus.testing.bus import FakeBus
from postbus.testing.counting_contract import CountingContract


class TestFakeCounting(CountingContract):
    @pytest.fixture
    def counting(self) -> Counting:
        return FakeBus()
