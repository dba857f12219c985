"""The fake of pinned expansions keeps the contract of the real one."""

import pytest

from postbus.testing.expansions import ExpansionsContract, MemoryExpansions


class TestMemoryExpansions(ExpansionsContract):
    @pytest.fixture
    def expansions(self) -> MemoryExpansions:
        return MemoryExpansions()
