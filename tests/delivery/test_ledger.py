"""The fake ledger keeps the contract of the real one."""

import pytest

from postbus.testing.ledger import LedgerContract, MemoryLedger


class TestMemoryLedger(LedgerContract):
    @pytest.fixture
    def ledger(self) -> MemoryLedger:
        return MemoryLedger()
