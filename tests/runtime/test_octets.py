"""What many tasks hold together stays within the budget, in order, and nothing is lost."""

import asyncio

import pytest

from postbus.runtime.octets import OctetBudget


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_the_small_pass_and_the_large_wait_in_order() -> None:
    budget = OctetBudget(100, small_octets=10)
    assert await budget.take(10) == 0
    first = await budget.take(60)
    second, third = asyncio.ensure_future(budget.take(50)), asyncio.ensure_future(budget.take(20))
    await settle()
    assert not second.done()
    assert not third.done()  # it would fit, but others were first
    assert await budget.take(5) == 0
    budget.give_back(first)
    assert (await second, await third) == (50, 20)
    assert budget.held == 70


async def test_what_is_larger_than_all_goes_alone() -> None:
    budget = OctetBudget(100, small_octets=0)
    taken = await budget.take(1000)
    assert taken == budget.held == 100
    other = asyncio.ensure_future(budget.take(1))
    await settle()
    assert not other.done()
    budget.give_back(taken)
    assert await other == 1


@pytest.mark.parametrize("granted", [False, True])
async def test_who_is_cancelled_takes_nothing(granted: bool) -> None:
    budget = OctetBudget(100, small_octets=0)
    first = await budget.take(100)
    waiting = [asyncio.ensure_future(budget.take(60)), asyncio.ensure_future(budget.take(40))]
    await settle()
    if granted:
        budget.give_back(first)
    waiting[0].cancel()
    await asyncio.gather(waiting[0], return_exceptions=True)
    assert waiting[0].cancelled()
    if not granted:
        budget.give_back(first)
    assert await waiting[1] == 40
    assert budget.held == 40


async def test_it_is_given_back_whatever_happens() -> None:
    budget = OctetBudget(100, small_octets=0)

    async def fail() -> None:
        async with budget.hold(80):
            assert budget.held == 80
            raise KeyError

    with pytest.raises(KeyError):
        await fail()
    assert budget.held == 0
