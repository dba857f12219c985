"""The n-th call of any port fails, before or after it did its work: nothing is lost, nothing is kept for ever."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from postbus.contracts.delivery import Accounted, QueueState
from postbus.core.errors import ErrorKind, MailError
from postbus.testing.mail import PLAIN
from postbus.testing.outbound import FakeSigner, Outbound
from postbus.testing.queue import NOW_MS, ledger_entry, new_copy, queued_message
from postbusd.delivery.outbound.queue import Outgoing
from postbusd.delivery.outbound.scheduler import LEASE_MS
from postbusd.delivery.outbound.values import Outcome

REFUSED, TAKEN = "x@b.example", "y@b.example"
CALLS = 16
"""More than one round makes: the last ones fail in none."""
FAULTS: dict[str, Callable[[], BaseException]] = {
    "away": lambda: MailError(ErrorKind.UNAVAILABLE, "away"),
    "full": lambda: MailError(ErrorKind.LIMIT, "full"),
    "lost": lambda: MailError(ErrorKind.NOT_FOUND, "lost"),
    "bug": ZeroDivisionError,
    "end": asyncio.CancelledError,
}


class Saboteur:
    """Counts the calls of ports and lets one fail."""

    def __init__(self, at: int, fault: Callable[[], BaseException], *, after: bool) -> None:
        self.left = at
        self.fault = fault
        self.after = after
        self.struck = ""

    def wrap(self, name: str, call: Callable[..., Awaitable[object]]) -> Callable[..., Awaitable[object]]:
        async def wrapped(*arguments: object, **options: object) -> object:
            self.left -= 1
            strikes = self.left == 0
            if strikes:
                self.struck = name
            if strikes and not self.after:
                raise self.fault()
            result = await call(*arguments, **options)
            if strikes:
                raise self.fault()
            return result

        return wrapped


def sabotage(outbound: Outbound, patch: pytest.MonkeyPatch, saboteur: Saboteur) -> None:
    for name in ("enter", "claim", "finish", "give_back"):
        patch.setattr(outbound.queue, name, saboteur.wrap(name, getattr(outbound.queue, name)))
    for name in ("get", "put"):
        patch.setattr(outbound.blobs, name, saboteur.wrap(name, getattr(outbound.blobs, name)))
    patch.setattr(outbound.routes, "find_route", saboteur.wrap("find_route", outbound.routes.find_route))
    patch.setattr(FakeSigner, "sign", saboteur.wrap("sign", FakeSigner.sign))


async def accept(outbound: Outbound) -> None:
    """As the worker does: until it is entered; the bus brings again what is not."""
    (blob_id, *_) = outbound.blobs.blobs
    for number, recipients in enumerate([(REFUSED, TAKEN), (TAKEN,)], 1):
        message = queued_message(f"Q{number}", blob_id=blob_id, blob_octets=len(PLAIN), expires_ms=NOW_MS + 86_400_000)
        copies = tuple(new_copy(each) for each in recipients)
        entry = ledger_entry(number, f"Q{number}")
        await outbound.queue.enter([entry], [Outgoing(message=message, copies=copies)], NOW_MS)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("fault", sorted(FAULTS))
@pytest.mark.parametrize("at", range(1, CALLS + 1))
async def test_a_fault_at_any_call(monkeypatch: pytest.MonkeyPatch, at: int, fault: str, after: bool) -> None:
    outbound = Outbound()
    outbound.transmitter.answers = {REFUSED: (Outcome.FAILED, "550 5.1.1 no such user")}
    await outbound.blobs.put(PLAIN)
    saboteur = Saboteur(at, FAULTS[fault], after=after)
    with monkeypatch.context() as patch:
        sabotage(outbound, patch, saboteur)
        for step in (accept(outbound), outbound.work()):
            try:
                await step
            except (MailError, ZeroDivisionError, asyncio.CancelledError):
                assert saboteur.struck
    assert asyncio.all_tasks() == {asyncio.current_task()}, "no task is left"
    await accept(outbound)  # the bus brings it again
    await outbound.scheduler.give_back([])
    if saboteur.struck != "claim" and fault != "end":
        assert not any(row.owner for row in outbound.queue.rows.values()), "what is not reported is given back"
    await outbound.scheduler.renew()
    outbound.clock.advance(LEASE_MS / 1000)
    for _ in range(2):
        await outbound.work()
        outbound.clock.advance(3600)
    states = {key: row.state for key, row in outbound.queue.rows.items()}
    wanted = {("Q1", REFUSED): QueueState.FAILED, ("Q1", TAKEN): QueueState.SENT, ("Q2", TAKEN): QueueState.SENT}
    assert states == wanted
    assert len(outbound.queue.reports) == 1
    answer_was_lost = not after and saboteur.struck == "finish" and fault != "away"
    killed = fault == "end" and saboteur.struck in {"get", "put"}
    assert len(outbound.transmitter.taken[TAKEN]) - 2 <= (answer_was_lost or killed)
    assert [outbound.queue.ledger.entries[number].accounted for number in (1, 2)] == [Accounted.DSN, Accounted.QUEUED]
