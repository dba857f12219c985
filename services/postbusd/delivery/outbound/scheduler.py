"""Who takes what from the queue when (architecture §3): due copies, grouped by route and recipient domain.

Theory of operation. One loop claims due copies under leases: a batch for each of as many destinations as there are
connections free, none for a destination that has as many as it may, so that a slow one never takes them all. Each batch
is a task: it asks for the route, hands its messages to the Transmitter, and commits what became of each before the next
is begun. What it leaves unreported is given back.

A destination of which no host spoke rests: its due copies wait together, then one connection tries again, and only when
that is answered more of them do. So a host that is down costs a connection's time-out now and then, not one a copy.

Leases end with the process. They are longer than the longest wait for a remote's reply (10 minutes at end of DATA, RFC
5321 §4.5.3.2.6), renewed while the process lives, and fenced by a token: who lost one commits nothing. So that a killed
process does not keep its copies for a quarter of an hour, each holds an advisory lock in the database for its owner id
and claims nothing without it; where the lock is free at two looks `lease_grace_seconds` apart, the process is dead or
has been without a database for that long, and its leases are freed. In the latter case an answer that it could not
commit by then comes too late: that copy is sent once more. One double for a broken database connection is the price; a
copy is never lost.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Sequence

from postbus.core.clock import Clock
from postbus.core.errors import MailError
from postbusd.delivery.outbound.handing import Batch, Handover
from postbusd.delivery.outbound.judging import POSTPONE_MS
from postbusd.delivery.outbound.queue import Claimed, ClaimLimits, QueueLeases
from postbusd.delivery.settings import DeliverySettings

log = logging.getLogger(__name__)

MAX_REST_SECONDS = 900.0
MAX_RESTING = 1000
"""Destinations that rest; with more of them the oldest is tried again."""
LEASE_MS = 15 * 60 * 1000
RENEW_SECONDS = 60.0
AWAY_SECONDS = 1.0
DRAIN_SECONDS = 20.0
"""How long transactions under way may take at the end; what is not done then is freed and tried again."""


class Scheduler:
    """The queue's loop; several processes may run one each."""

    def __init__(
        self, *, owner: str, queue: QueueLeases, handover: Handover, clock: Clock, settings: DeliverySettings
    ) -> None:
        """`owner` is unique to this process."""
        self._owner = owner
        self._queue = queue
        self._handover = handover
        self._clock = clock
        self._settings = settings
        self._wanted = asyncio.Event()
        self._running: dict[asyncio.Task[None], Batch] = {}
        self._silent: dict[tuple[str, str], tuple[int, float]] = {}
        """Destinations that did not answer: how often in a row, and until when they rest."""
        self._left: list[Claimed] = []
        """What ended batches left unreported and is not given back yet."""
        self._claiming = asyncio.Lock()
        self._draining = False

    def wake(self) -> None:
        """There may be copies that are due."""
        self._wanted.set()

    def forget_rests(self) -> None:
        """An administrator wants copies tried now."""
        self._silent.clear()

    async def run(self) -> None:
        """Until cancelled."""
        try:
            while not self._draining:
                self._wanted.clear()
                try:
                    begun = await self._begin()
                except MailError as error:
                    log.warning("delivery.queue.away", extra={"reason": str(error)})
                    await asyncio.sleep(AWAY_SECONDS)
                    continue
                if not begun:
                    await self._rest()
            await asyncio.Event().wait()
        finally:
            for task in self._running:
                task.cancel()
            if self._running:
                await asyncio.wait(self._running)

    async def work_once(self) -> None:
        """Hands over what is due now, all of it: a round of `run`, for tests and tools."""
        while await self._begin():
            await asyncio.wait(self._running)

    async def keep_leases(self) -> None:
        """Renews ours and frees those of the dead, until cancelled."""
        suspects: list[str] = []
        renewed = self._clock.monotonic()
        while True:
            await asyncio.sleep(self._settings.lease_grace_seconds)
            try:
                await self._give_back()
                suspects = await self._queue.release_orphans(self._owner, suspects)
                if self._clock.monotonic() - renewed > RENEW_SECONDS:
                    await self.renew()
                    renewed = self._clock.monotonic()
            except MailError as error:
                log.warning("delivery.queue.leases_unknown", extra={"reason": str(error)})
                suspects = []

    async def renew(self) -> None:
        """Keeps the leases that we work on, and no others: those of a claim whose answer was lost have to lapse.

        Raises MailError: UNAVAILABLE.
        """
        tokens = [each.lease_token for batch in self._running.values() for each in batch.unreported]
        if tokens:
            await self._queue.renew(self._owner, tokens, self._clock.now_ms() + LEASE_MS)

    async def drain(self) -> None:
        """Claims nothing more, lets transactions under way end, frees what is left."""
        async with self._claiming:
            self._draining = True
        if self._running:
            _, late = await asyncio.wait(self._running, timeout=DRAIN_SECONDS)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late)
        try:
            await self._queue.release(self._owner)
        except MailError as error:
            log.warning("delivery.queue.release_failed", extra={"reason": str(error)})

    async def give_back(self, left: Sequence[Claimed]) -> None:
        """Ends leases of ours about which nothing is reported, now or as soon as there is a database."""
        self._left += left
        try:
            await self._give_back()
        except MailError as error:
            log.warning("delivery.queue.give_back_waits", extra={"copies": len(self._left), "reason": str(error)})

    async def _begin(self) -> int:
        """Claims what there are connections for and starts it; how many batches. Raises MailError."""
        async with self._claiming:
            batches = [] if self._draining else make_batches(await self._claim())
            for batch in batches:
                task = asyncio.get_running_loop().create_task(self._work(batch))
                self._running[task] = batch
                task.add_done_callback(self._ended)
        return len(batches)

    async def _claim(self) -> list[Claimed]:
        free = self._settings.queue_connections - len(self._running)
        if free <= 0 or not self._queue.holds_lock:
            return []
        limits = ClaimLimits(
            destinations=free, copies_each=self._settings.queue_batch_copies, full=tuple(sorted(self._full()))
        )
        now_ms = self._clock.now_ms()
        return await self._queue.claim(self._owner, now_ms, now_ms + LEASE_MS, limits)

    def _full(self) -> set[tuple[str, str]]:
        """Destinations that rest, or have as many connections as they may: one, while nobody has answered there."""
        most = self._settings.queue_connections_per_destination
        now = self._clock.monotonic()
        running = Counter(batch.destination for batch in self._running.values())
        full = {name for name, count in running.items() if count >= (1 if name in self._silent else most)}
        return full | {name for name, (_, until) in self._silent.items() if until > now}

    def _learn(self, batch: Batch) -> None:
        """A destination that is silent rests, longer each time; one that answers does not."""
        if batch.answered:
            self._silent.pop(batch.destination, None)
        elif batch.unreachable:
            now = self._clock.monotonic()
            times, until = self._silent.pop(batch.destination, (0, 0.0))
            if until <= now or not times:
                times += 1
                pauses = self._settings.retry_seconds
                until = now + min(pauses[min(times, len(pauses)) - 1], MAX_REST_SECONDS)
            self._silent[batch.destination] = (times, until)
            while len(self._silent) > MAX_RESTING:
                del self._silent[next(iter(self._silent))]

    async def _work(self, batch: Batch) -> None:
        """A cancelled batch is given back by `drain`, or by whoever finds us dead."""
        try:
            await self._handover.hand_over(self._owner, batch)
        except Exception:
            log.exception("delivery.queue.batch_failed")
        self._learn(batch)
        await self.give_back(batch.unreported)

    async def _give_back(self) -> None:
        left, self._left = self._left, []
        if not left:
            return
        try:
            await self._queue.give_back(self._owner, left, self._clock.now_ms() + POSTPONE_MS)
        except BaseException:
            self._left += left
            raise
        log.warning("delivery.queue.given_back", extra={"copies": len(left)})

    def _ended(self, task: asyncio.Task[None]) -> None:
        del self._running[task]
        self._wanted.set()

    async def _rest(self) -> None:
        try:
            async with asyncio.timeout(self._settings.queue_poll_seconds):
                await self._wanted.wait()
        except TimeoutError:
            return


def make_batches(claimed: Sequence[Claimed]) -> list[Batch]:
    """One a destination, in the order of the claim."""
    found: dict[tuple[str, str], list[Claimed]] = {}
    for each in claimed:
        found.setdefault(each.destination, []).append(each)
    return [Batch(destination=destination, copies=copies) for destination, copies in found.items()]
