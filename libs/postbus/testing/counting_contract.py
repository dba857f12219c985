"""What every Counting must do: run on the fake in tests/ and on NATS in integration/.

A subclass gives a fixture `counting`.
"""

import asyncio
import os

import pytest

from postbus.bus.ports import Counting


def unused_key() -> str:
    """A key that nobody has counted."""
    return f"test.{os.urandom(8).hex()}"


class CountingContract:
    """The rules of `postbus.bus.ports.Counting`."""

    async def test_counts_add_up(self, counting: Counting) -> None:
        """Each call tells the total after it."""
        key = unused_key()
        assert [await counting.count(key, amount, 86_400) for amount in (1, 2, 40)] == [1, 3, 43]

    async def test_keys_and_windows_count_apart(self, counting: Counting) -> None:
        """Neither another key nor another length of window has a part in a total."""
        key = unused_key()
        assert await counting.count(key, 1, 86_400) == 1
        assert await counting.count(key, 1, 3600 * 12) == 1
        assert await counting.count(f"{key}.more", 1, 86_400) == 1

    async def test_no_count_is_lost_or_told_twice(self, counting: Counting) -> None:
        """Whoever counts at the same time gets another total."""
        key = unused_key()
        totals = await asyncio.gather(*(counting.count(key, 1, 86_400) for _ in range(50)))
        assert sorted(totals) == list(range(1, 51))

    @pytest.mark.parametrize("key", ["", "a b", "a..b", ".", "a.*", "a.>", "a\n"])
    async def test_keys_are_tokens(self, counting: Counting, key: str) -> None:
        """A key that would mean something else on the bus is our bug."""
        with pytest.raises(ValueError, match="counter"):
            await counting.count(key, 1, 60)
