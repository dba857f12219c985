"""Takes messages from the bus, a batch at a time, and does not let go of one before it is accounted for."""

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

from prometheus_client import CollectorRegistry, Counter, Histogram

from postbus.blobs.ports import BlobStore
from postbus.bus.ports import Bus, MailDelivery
from postbus.contracts.delivery import Accounted
from postbus.contracts.events import MailAccepted
from postbus.core.clock import Clock
from postbus.core.errors import ErrorKind, MailError
from postbus.core.ids import QueueId
from postbus.core.trace import parse_traceparent, use_trace
from postbus.mailstore.ports import MessageAppender
from postbus.mailstore.values import AppendOutcome, AppendResult
from postbus.mime.scanner import scan_message
from postbus.runtime.telemetry import error_word
from postbusd.delivery.expansion import Expander
from postbusd.delivery.journey import Journey, Site, judge, plan_journey
from postbusd.delivery.outbound.queue import QueueWriter
from postbusd.delivery.ports import DeadLetter, Ledger, LedgerEntry
from postbusd.delivery.settings import DeliverySettings
from postbusd.delivery.tracing import DeliverySpans
from postbusd.delivery.waking import wake_readers

log = logging.getLogger(__name__)

FETCH_SECONDS = 20.0
HEARTBEAT_SECONDS = 10.0
"""A third of the consumer's ack wait."""
MAX_RETRY_SECONDS = 30.0
AWAY_SECONDS = 1.0


class Metrics:
    """postbus_delivery_*; label `outcome`: folder | queued | held."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.messages = Counter(
            "postbus_delivery_messages", "Messages accounted for, by outcome.", ["outcome"], registry=registry
        )
        for outcome in (Accounted.FOLDER, Accounted.QUEUED, Accounted.HELD):
            self.messages.labels(outcome)  # from zero on: an alert sees the first one too
        self.redelivered = Counter(
            "postbus_delivery_redelivered_messages", "Messages that came again from the bus.", registry=registry
        )
        self.ledger_clashes = Counter(
            "postbus_delivery_ledger_clashes", "Stream sequences seen with another queue_id.", registry=registry
        )
        self.seconds = Histogram(
            "postbus_delivery_accepted_to_visible_seconds",
            "Time from acceptance to the commit that makes a message visible.",
            registry=registry,
            buckets=(0.005, 0.01, 0.02, 0.03, 0.05, 0.1, 0.25, 0.5, 1, 5, 30),
        )


class Worker:
    """The consumer loop of delivery."""

    def __init__(  # noqa: PLR0913  # the composition root's list of ports
        self,
        *,
        bus: Bus,
        store: MessageAppender,
        blobs: BlobStore,
        ledger: Ledger,
        queue: QueueWriter,
        wake_queue: Callable[[], None],
        site: Site,
        expander: Expander,
        clock: Clock,
        settings: DeliverySettings,
        metrics: Metrics,
    ) -> None:
        self._bus = bus
        self._store = store
        self._blobs = blobs
        self._ledger = ledger
        self._queue = queue
        self._wake_queue = wake_queue
        self._site = site
        self._expander = expander
        self._clock = clock
        self._settings = settings
        self._metrics = metrics
        self._spans = DeliverySpans()
        self._idle = asyncio.Event()
        self._idle.set()
        self._draining = False

    async def run(self) -> None:
        """Works until cancelled; an absent bus is waited for."""
        while not self._draining:
            try:
                deliveries = await self._bus.fetch_mail(self._settings.batch_messages, FETCH_SECONDS)
            except MailError as error:
                log.warning("delivery.bus.away", extra={"reason": str(error)})
                await asyncio.sleep(AWAY_SECONDS)
                continue
            if deliveries:
                self._idle.clear()
                try:
                    await self.deliver(deliveries)
                finally:
                    self._idle.set()
        await asyncio.Event().wait()

    async def drain(self) -> None:
        """Takes nothing new and waits for the batch in hand."""
        self._draining = True
        await self._idle.wait()

    async def deliver(self, deliveries: Sequence[MailDelivery]) -> None:
        """One batch, each message able to fail alone."""
        redelivered = sum(delivery.attempt > 1 for delivery in deliveries)
        if redelivered:
            self._metrics.redelivered.inc(redelivered)
        async with _heartbeats(deliveries):
            try:
                plans = [(delivery, await self._plan(delivery, len(deliveries))) for delivery in deliveries]
                planned = [(delivery, journey) for delivery, journey in plans if journey is not None]
                if planned:
                    await self._store_all(planned)
            finally:
                self._spans.end(deliveries)

    async def _plan(self, delivery: MailDelivery, batch: int) -> Journey | None:
        """The journey of one message; None when it was put aside."""
        accepted = delivery.accepted
        if accepted is None:
            await self._hold(delivery, QueueId(""), "not a mail.accepted")
            return None
        accepted = self._spans.begin(delivery, accepted, batch)
        with use_trace(parse_traceparent(accepted.traceparent)):
            try:
                accepted = await self._expander.expand(accepted)
                scan = None if accepted.scan else scan_message(await self._blobs.get(accepted.blob_id))
                return plan_journey(delivery.stream_sequence, accepted, scan, self._clock.now_ms(), self._site)
            except MailError as error:
                await self._put_aside(delivery, accepted, error)
            except Exception as error:
                incident = os.urandom(6).hex()
                log.exception("delivery.plan.failed", extra={"queue_id": accepted.queue_id, "incident": incident})
                await self._put_aside(
                    delivery, accepted, MailError(ErrorKind.INTERNAL, f"incident {incident}: {type(error).__name__}")
                )
        return None

    async def _store_all(self, planned: list[tuple[MailDelivery, Journey]]) -> None:
        """Appends the batch; when it fails for another reason than an absent database, each message by itself."""
        try:
            await self._store_batch(planned)
        except MailError as error:
            if error.kind is not ErrorKind.UNAVAILABLE and len(planned) > 1:
                await self._store_singly(planned)
                return
            for delivery, journey in planned:
                with use_trace(parse_traceparent(journey.accepted.traceparent)):
                    await self._put_aside(delivery, journey.accepted, error)
            if error.kind is ErrorKind.UNAVAILABLE:
                await asyncio.sleep(AWAY_SECONDS)
        except Exception as error:
            incident = os.urandom(6).hex()
            log.exception("delivery.batch.failed", extra={"incident": incident, "messages": len(planned)})
            if len(planned) > 1:
                await self._store_singly(planned)
                return
            delivery, journey = planned[0]
            own = MailError(ErrorKind.INTERNAL, f"incident {incident}: {type(error).__name__}")
            await self._put_aside(delivery, journey.accepted, own)

    async def _store_singly(self, planned: list[tuple[MailDelivery, Journey]]) -> None:
        for one in planned:
            await self._store_all([one])

    async def _store_batch(self, planned: list[tuple[MailDelivery, Journey]]) -> None:
        appends = [append for _, journey in planned for append in journey.appends]
        with self._spans.storing(planned):
            results = await self._store.append(appends) if appends else []
        self._note_visible(planned, results)
        await wake_readers(self._bus, [append for _, journey in planned for append in journey.appends], results)
        await self._account(planned, results)

    def _note_visible(self, planned: list[tuple[MailDelivery, Journey]], results: Sequence[AppendResult]) -> None:
        now_ms = self._clock.now_ms()
        for _, journey in planned:
            if journey.appends:
                self._metrics.seconds.observe(max(now_ms - journey.accepted.accepted_ms, 0) / 1000)
        duplicates = sum(result.outcome is AppendOutcome.DUPLICATE for result in results)
        if duplicates:
            log.info("delivery.duplicates.skipped", extra={"count": duplicates})

    async def _account(self, planned: list[tuple[MailDelivery, Journey]], results: Sequence[AppendResult]) -> None:
        """Ledger, then acks."""
        entries = _ledger_entries(planned, results)
        held = [
            DeadLetter(
                stream_sequence=entry.stream_sequence,
                queue_id=entry.queue_id,
                reason=entry.detail,
                payload=delivery.payload,
                accepted_ms=entry.accepted_ms,
                placements=entry.placements,
                traceparent=entry.traceparent,
                stored_ns=entry.stored_ns,
            )
            for entry, (delivery, _) in zip(entries, planned, strict=True)
            if entry.accounted is Accounted.HELD
        ]
        if held:
            await self._ledger.hold(held)
        outgoing = [journey.outgoing for _, journey in planned if journey.outgoing is not None]
        if outgoing:
            clashes = await self._queue.enter(entries, outgoing, self._clock.now_ms())
            self._wake_queue()
        else:
            clashes = await self._ledger.record(entries)
        for clash in clashes:
            self._tell_clash(clash.stream_sequence, clash.queue_id)
        await asyncio.gather(*(self._ack(delivery) for delivery, _ in planned))
        for entry in entries:
            self._metrics.messages.labels(entry.accounted).inc()
            level = logging.ERROR if entry.accounted is Accounted.HELD else logging.INFO
            facts = {"queue_id": entry.queue_id, "outcome": entry.accounted, "copies": len(entry.placements)}
            with use_trace(parse_traceparent(entry.traceparent)):
                log.log(level, "delivery.message.accounted", extra={**facts, "detail": entry.detail})
            self._spans.set_outcome(entry.stream_sequence, entry.accounted)

    def _tell_clash(self, stream_sequence: int, queue_id: QueueId) -> None:
        self._metrics.ledger_clashes.inc()
        log.error("delivery.ledger.clash", extra={"queue_id": queue_id, "stream_sequence": stream_sequence})

    async def _ack(self, delivery: MailDelivery) -> None:
        """An ack that gets lost leads to a redelivery, which the key makes harmless."""
        try:
            await delivery.ack()
        except MailError as error:
            log.warning("delivery.ack.lost", extra={"stream_sequence": delivery.stream_sequence, "reason": str(error)})

    async def _put_aside(self, delivery: MailDelivery, accepted: MailAccepted, error: MailError) -> None:
        """Later again while a dependency is away; a message that fails for itself ends as a dead letter."""
        if error.kind is ErrorKind.UNAVAILABLE or delivery.attempt < self._settings.poison_attempts:
            self._spans.set_outcome(delivery.stream_sequence, "deferred", error_word(error))
            seconds = min(0.5 * 2 ** min(delivery.attempt, 10), MAX_RETRY_SECONDS)
            log.warning(
                "delivery.message.deferred",
                extra={"queue_id": accepted.queue_id, "reason": str(error), "attempt": delivery.attempt},
            )
            try:
                await delivery.retry(seconds)
            except MailError as lost:
                log.warning("delivery.retry.lost", extra={"queue_id": accepted.queue_id, "reason": str(lost)})
        else:
            self._spans.set_outcome(delivery.stream_sequence, "held", error_word(error))
            await self._hold(delivery, accepted.queue_id, str(error))

    async def _hold(self, delivery: MailDelivery, queue_id: QueueId, reason: str) -> None:
        accepted = delivery.accepted
        letter = DeadLetter(
            stream_sequence=delivery.stream_sequence,
            queue_id=queue_id,
            reason=reason,
            payload=delivery.payload,
            accepted_ms=accepted.accepted_ms if accepted else self._clock.now_ms(),
            traceparent=accepted.traceparent if accepted else "",
            stored_ns=delivery.stored_ns,
        )
        try:
            clashes = await self._keep(letter)
        except MailError as error:
            log.warning("delivery.hold.deferred", extra={"queue_id": queue_id, "reason": str(error)})
            return
        for clash in clashes:
            self._tell_clash(clash.stream_sequence, clash.queue_id)
        self._metrics.messages.labels(Accounted.HELD).inc()
        log.error(
            "delivery.message.held",
            extra={"queue_id": queue_id, "stream_sequence": delivery.stream_sequence, "reason": reason},
        )
        await self._ack(delivery)

    async def _keep(self, letter: DeadLetter) -> list[DeadLetter]:
        """As it is, or without what it tells of itself where that can't be kept: its payload has all of it.

        Raises MailError.
        """
        try:
            return await self._ledger.hold([letter])
        except MailError as error:
            if error.kind is ErrorKind.UNAVAILABLE:
                raise
        bare = DeadLetter(
            stream_sequence=letter.stream_sequence,
            queue_id=letter.queue_id if letter.queue_id.isascii() and letter.queue_id.isalnum() else QueueId(""),
            reason=letter.reason.encode("ascii", "backslashreplace").decode().replace("\0", "?"),
            payload=letter.payload,
            accepted_ms=self._clock.now_ms(),
            stored_ns=letter.stored_ns,
        )
        return await self._ledger.hold([bare])


def _ledger_entries(planned: list[tuple[MailDelivery, Journey]], results: Sequence[AppendResult]) -> list[LedgerEntry]:
    """One entry a message, from its own slice of the batch's results."""
    remaining = iter(results)
    entries = []
    for delivery, journey in planned:
        arrival = judge(journey, [next(remaining) for _ in journey.appends])
        entries.append(
            LedgerEntry(
                stream_sequence=delivery.stream_sequence,
                queue_id=journey.accepted.queue_id,
                accounted=arrival.accounted,
                accepted_ms=journey.accepted.accepted_ms,
                detail=arrival.detail,
                placements=arrival.placements,
                traceparent=journey.accepted.traceparent,
                stored_ns=delivery.stored_ns,
            )
        )
    return entries


@asynccontextmanager
async def _heartbeats(deliveries: Sequence[MailDelivery]) -> AsyncIterator[None]:
    """Keeps the bus from redelivering what is being worked on."""

    async def beat() -> None:
        while True:
            await asyncio.sleep(HEARTBEAT_SECONDS)
            for delivery in deliveries:
                try:
                    await delivery.heartbeat()
                except MailError:
                    log.info("delivery.heartbeat.lost", extra={"stream_sequence": delivery.stream_sequence})

    async with asyncio.TaskGroup() as group:
        beating = group.create_task(beat())
        try:
            yield
        finally:
            beating.cancel()
