"""The fake queue keeps the contract."""

import pytest

from postbus.testing.ledger import MemoryLedger
from postbus.testing.queue import MemoryQueue
from postbus.testing.queue_contract import QueueContract


class TestMemoryQueue(QueueContract):
    @pytest.fixture
    def ledger(self) -> MemoryLedger:
        return MemoryLedger()

    @pytest.fixture
    def queue(self, ledger: MemoryLedger) -> MemoryQueue:
        return MemoryQueue(ledger)
