"""Who takes what from the queue when (architecture §3): due copies, grouped by route and recipient domain.

Theory of operation. One loop claims due copies under leases, as many as there are free connections for, and starts one
task a destination and batch; a destination has a few at most, so that a slow one never takes all connections. A task
asks for the route, hands its messages to the Transmitter, and commits what became of each before the next is begun.

Leases end with the process. They are longer than the longest wait for a remote's reply (10 minutes at end of DATA, RFC
5321 §4.5.3.2.6), renewed while the process lives, and fenced by a token: who lost one commits nothing. So that a killed
process does not keep its copies for a quarter of an hour, each holds an advisory lock in the database for its owner id;
where the lock is free at two looks `lease_grace_seconds` apart, the process is dead or has been without a database for
that long, and its leases are freed. In the latter case a reply that it is waiting for at that moment may come too late
to be committed: that copy is sent once more. One double for a broken database connection is the price; a copy is never
lost.
"""

import asyncio
import logging
from collections import Counter, deque
from collections.abc import Sequence

from postbus.core.clock import Clock
from postbus.core.errors import MailError
from postbusd.delivery.outbound.handing import Batch, Handover
from postbusd.delivery.outbound.queue import Claimed, QueueLeases
from postbusd.delivery.settings import DeliverySettings

log = logging.getLogger(__name__)

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
        self._running: dict[asyncio.Task[None], tuple[str, str]] = {}
        self._waiting: deque[Batch] = deque()
        self._draining = False

    def wake(self) -> None:
        """There may be copies that are due."""
        self._wanted.set()

    async def run(self) -> None:
        """Until cancelled."""
        try:
            while not self._draining:
                self._wanted.clear()
                try:
                    claimed = await self._claim()
                except MailError as error:
                    log.warning("delivery.queue.away", extra={"reason": str(error)})
                    await asyncio.sleep(AWAY_SECONDS)
                    continue
                self._waiting.extend(make_batches(claimed, self._settings.queue_batch_copies))
                self._start()
                if not claimed:
                    await self._rest()
            await asyncio.Event().wait()
        finally:
            for task in self._running:
                task.cancel()
            if self._running:
                await asyncio.wait(self._running)

    async def work_once(self) -> None:
        """Claims what is due and waits until it is handed over: a round of `run`, for tests and tools."""
        self._waiting.extend(make_batches(await self._claim(), self._settings.queue_batch_copies))
        self._start()
        while self._running:
            await asyncio.wait(self._running)

    async def keep_leases(self) -> None:
        """Renews ours and frees those of the dead, until cancelled."""
        suspects: list[str] = []
        renewed = self._clock.monotonic()
        while True:
            await asyncio.sleep(self._settings.lease_grace_seconds)
            try:
                suspects = await self._queue.release_orphans(self._owner, suspects)
                if self._clock.monotonic() - renewed > RENEW_SECONDS:
                    await self._queue.renew(self._owner, self._clock.now_ms() + LEASE_MS)
                    renewed = self._clock.monotonic()
            except MailError as error:
                log.warning("delivery.queue.leases_unknown", extra={"reason": str(error)})
                suspects = []

    async def drain(self) -> None:
        """Claims nothing more, lets transactions under way end, frees what was not begun."""
        self._draining = True
        self._waiting.clear()
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

    async def _claim(self) -> list[Claimed]:
        free = self._settings.queue_connections - len(self._running) - len(self._waiting)
        if free <= 0:
            return []
        per_destination = self._settings.queue_connections_per_destination
        busy = Counter([*self._running.values(), *(batch.destination for batch in self._waiting)])
        full = [destination for destination, count in busy.items() if count >= per_destination]
        now_ms = self._clock.now_ms()
        limit = free * self._settings.queue_batch_copies
        return await self._queue.claim(self._owner, now_ms, now_ms + LEASE_MS, limit, full)

    def _start(self) -> None:
        """Starts what connections are free for; batches of a full destination keep their place."""
        kept: deque[Batch] = deque()
        busy = Counter(self._running.values())
        while self._waiting:
            batch = self._waiting.popleft()
            free = len(self._running) < self._settings.queue_connections
            if not free or busy[batch.destination] >= self._settings.queue_connections_per_destination:
                kept.append(batch)
                continue
            busy[batch.destination] += 1
            task = asyncio.get_running_loop().create_task(self._handover.hand_over(self._owner, batch))
            self._running[task] = batch.destination
            task.add_done_callback(self._ended)
        self._waiting = kept

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._running.pop(task, None)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("delivery.queue.batch_failed", exc_info=error)
        if not self._draining:
            self._start()
        self._wanted.set()

    async def _rest(self) -> None:
        try:
            async with asyncio.timeout(self._settings.queue_poll_seconds):
                await self._wanted.wait()
        except TimeoutError:
            return


def make_batches(claimed: Sequence[Claimed], size: int) -> list[Batch]:
    """Copies grouped by destination, in batches of about `size`; copies of one message stay together."""
    found: dict[tuple[str, str], list[Batch]] = {}
    for each in claimed:
        batches = found.setdefault(each.destination, [])
        last = batches[-1] if batches else None
        same = last is not None and last.copies[-1].message.queue_id == each.message.queue_id
        if last is None or (len(last.copies) >= size and not same):
            batches.append(Batch(destination=each.destination, copies=[each]))
        else:
            last.copies.append(each)
    return [batch for batches in found.values() for batch in batches]
