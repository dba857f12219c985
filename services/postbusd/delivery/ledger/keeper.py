"""Keeps the books: looks at them again and again, tells what is wrong once, delivers again what is missing.

Every process looks, so that each one's metrics are true; one at a time, by a lease in the book, verifies, tells and
replays. A missing message is replayed when it was missing at the look before too, from the stream and by the same keys:
whoever has it already gets no second copy.
"""

import asyncio
import itertools
import logging
from collections.abc import Awaitable, Callable, Sequence

import msgspec

from postbus.bus.ports import MailConsumer, MailDelivery
from postbus.core.clock import Clock
from postbus.core.errors import MailError
from postbusd.delivery.ledger.audit import Auditor, Look
from postbusd.delivery.ledger.balance import replayable
from postbusd.delivery.ledger.metrics import LedgerMetrics
from postbusd.delivery.ledger.ports import Books, Seen

log = logging.getLogger(__name__)

REPLAY_MESSAGES = 512
"""Replayed after one look."""
REPLAY_BATCH = 64
TOLD_MESSAGES = 20
"""Missing messages of one look that are told by queue_id."""
LEASE_LOOKS = 4
MIN_LEASE_SECONDS = 60.0
TRIM_NUMBERS = 5000
TRIM_PAUSE_SECONDS = 0.5
DAY_MS = 86_400_000

Deliver = Callable[[Sequence[MailDelivery]], Awaitable[None]]


class Parts(msgspec.Struct, frozen=True, kw_only=True):
    """What a keeper needs."""

    auditor: Auditor
    books: Books
    bus: MailConsumer
    deliver: Deliver
    metrics: LedgerMetrics
    clock: Clock


class Keeper:
    """The loop of the ledger."""

    def __init__(self, owner: str, parts: Parts, check_seconds: float) -> None:
        """`owner` names this process."""
        self._owner = owner
        self._parts = parts
        self._check_seconds = check_seconds
        self._done_before = 0
        """Every number up to here was acknowledged at the look before."""
        self._missing_before = 0
        self._tries: dict[int, int] = {}
        """Replays by sequence, of what is missing still."""
        self._told: frozenset[str] = frozenset()

    async def run(self) -> None:
        """Looks until cancelled."""
        while True:
            try:
                again = await self.turn()
            except MailError as error:
                again = False
                if not self._parts.metrics.failing:
                    log.warning("delivery.ledger.check_deferred", extra={"reason": str(error)})
                self._parts.metrics.failing = True
            if not again:
                await asyncio.sleep(self._check_seconds)

    async def turn(self) -> bool:
        """One look and what follows from it; True: there is more to replay, and it gets less."""
        parts = self._parts
        look = await parts.auditor.look(TOLD_MESSAGES)
        parts.metrics.reply, parts.metrics.failing = look.balance.reply, False
        if not await parts.books.note(self._owner, self._lease_seconds(), _seen(look)):
            self._done_before = 0
            return False
        await self._tell(look)
        missing = look.balance.reply.missing_count
        progress = missing < self._missing_before
        self._missing_before = missing
        replayed = await self._replay(look)
        self._done_before = look.balance.done
        return progress and replayed == REPLAY_MESSAGES

    def _lease_seconds(self) -> float:
        return max(LEASE_LOOKS * self._check_seconds, MIN_LEASE_SECONDS)

    async def _replay(self, look: Look) -> int:
        wanted = replayable(look.balance, look.state, look.reading, self._done_before, REPLAY_MESSAGES)
        self._tries = {sequence: self._tries.get(sequence, 0) + 1 for sequence in wanted}
        for first in range(0, len(wanted), REPLAY_BATCH):
            deliveries = []
            for sequence in wanted[first : first + REPLAY_BATCH]:
                delivery = await self._parts.bus.read_mail(sequence)
                if delivery is not None:
                    delivery.attempt = self._tries[sequence]
                    deliveries.append(delivery)
            if deliveries:
                log.warning("delivery.ledger.replayed", extra={"messages": len(deliveries)})
                await self._parts.deliver(deliveries)
                self._parts.metrics.replayed.inc(len(deliveries))
        return len(wanted)

    async def _tell(self, look: Look) -> None:
        """Each alarm and each missing message once, as long as it lasts."""
        reply = look.balance.reply
        wrong = {alarm: {"reason": alarm} for alarm in reply.alarms}
        missing = {f"missing {each.stream_sequence}" for each in reply.missing}
        for alarm in wrong.keys() - self._told:
            log.error("delivery.ledger.alarm", extra=wrong[alarm])
        if missing - self._told:
            for each in await self._parts.auditor.name_missing(look, TOLD_MESSAGES):
                if f"missing {each.stream_sequence}" not in self._told:
                    facts = {"stream_sequence": each.stream_sequence, "queue_id": each.queue_id}
                    log.error("delivery.ledger.missing", extra={**facts, "missing": reply.missing_count})
        if self._told and not wrong and not reply.missing_count:
            log.info("delivery.ledger.balanced", extra={"accepted": reply.accepted})
        self._told = frozenset(itertools.chain(wrong, missing))


async def trim_ledger_forever(books: Books, clock: Clock, keep_days: int) -> None:
    """Folds rows that are older than the retention into counts, once a day."""
    while True:
        before_ms = clock.now_ms() - keep_days * DAY_MS
        try:
            more = await books.trim(before_ms, TRIM_NUMBERS)
            while more:
                await asyncio.sleep(TRIM_PAUSE_SECONDS)
                more = await books.trim(before_ms, TRIM_NUMBERS)
        except MailError as error:
            log.warning("delivery.ledger.trim_deferred", extra={"reason": str(error)})
        await asyncio.sleep(DAY_MS / 1000)


def _seen(look: Look) -> Seen:
    return Seen(
        volume=len(look.reading.volumes),
        last_sequence=look.state.last_sequence,
        last_stored_ns=look.state.last_stored_ns,
        verified=look.balance.verified,
        deletions=look.reading.deletions,
    )
