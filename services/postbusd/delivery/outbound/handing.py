"""One batch for one destination: route, content, and what becomes of each copy.

What a remote has answered is committed before anything else happens, also while the process ends, and again and again
while the database is away: an answer that is lost is a copy sent twice. What cannot be decided (a part of ours is away,
the DSN cannot be stored) is put off without an attempt being counted.
"""

import asyncio
import logging
import random
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence

import msgspec
from prometheus_client import CollectorRegistry, Counter, Histogram

from postbus.blobs.ports import BlobStore
from postbus.contracts.delivery import QueueState
from postbus.contracts.directory import FindRouteRequest, Route, RouteFinder
from postbus.contracts.events import MailAccepted
from postbus.core.clock import Clock
from postbus.core.errors import ErrorKind, MailError
from postbus.core.lists import make_mark
from postbus.core.trace import use_trace
from postbus.runtime.octets import OctetBudget
from postbusd.delivery.outbound.judging import Judgement, judge_result, postpone, tell
from postbusd.delivery.outbound.ports import Signer, Transmitter
from postbusd.delivery.outbound.queue import Attempt, Claimed, Outcomes, QueueLeases
from postbusd.delivery.outbound.reporting import Reporter, wants_report
from postbusd.delivery.outbound.retries import next_delay_seconds
from postbusd.delivery.outbound.tracing import AttemptSpans, Key
from postbusd.delivery.outbound.values import NextHop, Outcome, OutgoingMessage, OutgoingRecipient, RecipientResult
from postbusd.delivery.settings import DeliverySettings

log = logging.getLogger(__name__)

ROUTE_SECONDS = 60.0
MAX_ROUTES = 1000
COMMIT_SECONDS = 300.0
"""How long an answer is kept for a database that is away; well below what is left of a lease then."""
COMMIT_PAUSE_SECONDS = 1.0
LAST_COMMIT_SECONDS = 5.0
"""For an answer that is being committed when the process has to end."""
MAX_CONTENT_OCTETS = 128 * 1024 * 1024
"""Of large messages that are handed over at a time: each is in memory as a whole meanwhile. The others wait."""
_NETWORK_STATUS = "4.4."  # RFC 3463 §3.5: network and routing


class Batch:
    """Copies for one destination."""

    def __init__(self, *, destination: tuple[str, str], copies: list[Claimed]) -> None:
        self.destination = destination
        self.copies = copies
        self.answered = False
        """Whether any host of the destination spoke to us."""
        self.unreachable = False
        """Whether a copy was put off since none did."""
        self._reported: set[int] = set()

    @property
    def unreported(self) -> list[Claimed]:
        """Those about which nothing is committed yet."""
        return [each for each in self.copies if each.lease_token not in self._reported]

    def note(self, attempts: Sequence[Attempt]) -> None:
        """These are committed."""
        self._reported.update(attempt.lease_token for attempt in attempts)

    def note_contact(self, results: Sequence[RecipientResult]) -> None:
        """Whether somebody spoke; a DNS that does not answer is as silent as a host."""
        self.answered |= any(result.remote_host for result in results)
        self.unreachable |= any(
            result.outcome is Outcome.DEFERRED and not result.remote_host and result.status.startswith(_NETWORK_STATUS)
            for result in results
        )


class QueueMetrics:
    """postbus_delivery_queue_*; label `outcome`: sent | deferred | failed."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.attempts = Counter(
            "postbus_delivery_queue_attempts",
            "Attempts to hand a copy to another host, by outcome.",
            ["outcome"],
            registry=registry,
        )
        self.seconds = Histogram(
            "postbus_delivery_queue_accepted_to_sent_seconds",
            "Time from acceptance to the remote's reply to a copy.",
            registry=registry,
            buckets=(0.05, 0.1, 0.25, 0.5, 1, 2, 5, 15, 60, 300, 3600, 86400),
        )


class Parts(msgspec.Struct, frozen=True, kw_only=True):
    """What a handover works with."""

    queue: QueueLeases
    directory: RouteFinder
    transmitter: Transmitter
    signer: Signer
    reporter: Reporter
    blobs: BlobStore
    clock: Clock
    settings: DeliverySettings
    metrics: QueueMetrics
    chance: random.Random
    memory: OctetBudget = msgspec.field(default_factory=lambda: OctetBudget(MAX_CONTENT_OCTETS))
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep


class Handover:
    """Hands batches to the Transmitter."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._routes: dict[str, tuple[float, Route]] = {}
        self._generation = 0

    async def forget_routes(self) -> None:
        """directory.changed, or a lost one."""
        self._routes.clear()
        self._generation += 1

    async def hand_over(self, owner: str, batch: Batch) -> None:
        """Sends a batch; what it leaves in `batch.unreported` is to be given back."""
        delivery = _Delivery(self._parts, owner, batch)
        with use_trace(delivery.spans.first):
            try:
                route = await self._route(batch.destination[0])
            except MailError as error:
                await self._postpone(owner, batch, f"the route is not known: {error.detail}")
                delivery.spans.postpone()
                return
            await delivery.run(route)

    async def _postpone(self, owner: str, batch: Batch, reason: str) -> None:
        log.warning("delivery.queue.postponed", extra={"copies": len(batch.copies), "reason": reason})
        now_ms = self._parts.clock.now_ms()
        attempts = tuple(postpone(each, now_ms, reason) for each in batch.copies)
        try:
            if await self._parts.queue.finish(owner, Outcomes(attempts=attempts)):
                batch.note(attempts)
        except MailError as error:
            log.warning("delivery.queue.postpone_failed", extra={"reason": str(error)})

    async def _route(self, domain: str) -> Route:
        now = self._parts.clock.monotonic()
        known = self._routes.get(domain)
        if known is not None and known[0] > now:
            return known[1]
        generation = self._generation
        route = await self._parts.directory.find_route(FindRouteRequest(domain=domain))
        if generation == self._generation:
            if len(self._routes) >= MAX_ROUTES:
                self._routes.clear()
            self._routes[domain] = (now + ROUTE_SECONDS, route)
        return route


class _Delivery:
    """One run of a batch."""

    def __init__(self, parts: Parts, owner: str, batch: Batch) -> None:
        self._parts = parts
        self._owner = owner
        self._batch = batch
        self._signing_domain = ""
        self._hop = NextHop(domain=batch.destination[1])
        grouped: dict[Key, list[Claimed]] = defaultdict(list)
        for each in batch.copies:
            grouped[(each.message.queue_id, each.copy.reverse_path)].append(each)
        self._copies = dict(grouped)
        self.spans = AttemptSpans(self._copies)
        self._unready: dict[Key, str] = {}
        """Messages whose content can't be had now, and why."""
        self._held: dict[Key, int] = {}
        """Octets of contents that are in memory."""

    async def run(self, route: Route) -> None:
        """Transmits all messages."""
        self._signing_domain = route.signing_domain
        self._hop = msgspec.structs.replace(self._hop, relay=route.relay)
        messages = [_outgoing(copies) for copies in self._copies.values()]
        try:
            await self._parts.transmitter.transmit(self._hop, messages, self._load, self._report)
        except MailError as error:
            log.warning("delivery.queue.report_failed", extra={"next_hop": self._hop.name, "reason": str(error)})
        finally:
            for key in tuple(self._held):
                self._release(key)

    def _release(self, key: Key) -> None:
        self._parts.memory.give_back(self._held.pop(key, 0))

    async def _load(self, message: OutgoingMessage) -> bytes:
        """DKIM-Signature fields, a list's mark, prefix and blob."""
        key = (message.queue_id, message.reverse_path)
        first = self._copies[key][0].message
        self._held[key] = self._held.get(key, 0) + await self._parts.memory.take(first.blob_octets)
        try:
            with use_trace(self.spans.of(key)):
                content = make_mark(message.reverse_path) + first.prefix + await self._parts.blobs.get(first.blob_id)
                return await self._parts.signer.sign(self._signing_domain, content) + content
        except MailError as error:
            if error.kind is ErrorKind.UNAVAILABLE:
                self._unready[key] = error.detail
            else:
                # A store that is restored helps yet; else its sender is told when the copy's time is over.
                facts = {"queue_id": first.queue_id, "blob_id": first.blob_id, "reason": str(error)}
                log.error("delivery.queue.content_lost", extra=facts)
            raise

    async def _report(self, message: OutgoingMessage, results: Sequence[RecipientResult]) -> bool:
        """Commits; whoever cancels us meanwhile waits for the commit, or a copy would be sent twice."""
        key = (message.queue_id, message.reverse_path)
        self._release(key)
        claimed = {each.copy.recipient: each for each in self._copies[key]}
        pairs = [(claimed[result.address], result) for result in results]
        with use_trace(self.spans.of(key)):
            commit = asyncio.get_running_loop().create_task(self._commit(pairs, self._unready.get(key, "")))
        self.spans.end(key, self._hop, results)
        try:
            return await asyncio.shield(commit)
        except asyncio.CancelledError:
            await asyncio.wait([commit], timeout=LAST_COMMIT_SECONDS)
            commit.cancel()
            await asyncio.gather(commit, return_exceptions=True)
            raise

    async def _commit(self, pairs: Sequence[tuple[Claimed, RecipientResult]], unready: str) -> bool:
        now_ms = self._parts.clock.now_ms()
        put_off: list[Attempt] = []
        judged: list[Judgement] = []
        for claimed, result in pairs:
            if unready and result.outcome is Outcome.DEFERRED:
                put_off.append(postpone(claimed, now_ms, f"can't be sent yet: {unready}"))
            else:
                judged.append(judge_result(claimed, result, self._parts.settings, now_ms, self._parts.chance))
        if unready:
            log.warning("delivery.queue.postponed", extra={"copies": len(put_off), "reason": unready})
        report, unreportable = await self._make_report(judged)
        if unreportable is not None:
            put_off += [unreportable(each, now_ms) for each in judged if each.has_failed]
            judged = [each for each in judged if not each.has_failed]
        attempts = [self._complete(each, report) for each in judged] + put_off
        events = tuple(tell(judged, self._hop.name, now_ms))
        if not await self._finish(Outcomes(attempts=tuple(attempts), events=events, report=report)):
            log.warning("delivery.queue.lease_lost", extra={"queue_id": pairs[0][0].message.queue_id})
            return False
        self._batch.note(attempts)
        self._batch.note_contact([result for _, result in pairs])
        self._note(judged, now_ms)
        return True

    async def _make_report(
        self, judged: Sequence[Judgement]
    ) -> tuple[MailAccepted | None, Callable[[Judgement, int], Attempt] | None]:
        """The DSN about what failed; or, where one is due but can't be had, how to put off what has not failed then."""
        failures = [each.as_failure() for each in judged if each.has_failed]
        if not failures:
            return None, None
        try:
            return await self._parts.reporter.report(failures), None
        except MailError as error:
            log.warning("delivery.queue.report_failed", extra={"next_hop": self._hop.name, "reason": str(error)})
            return None, lambda each, now_ms: postpone(each.claimed, now_ms, each.result.reply)
        except Exception:  # what else the remote said must be committed all the same
            log.exception("delivery.queue.report_crashed", extra={"queue_id": failures[0].claimed.message.queue_id})
            return None, self._try_report_later

    def _try_report_later(self, judged: Judgement, now_ms: int) -> Attempt:
        """Of a DSN that a bug of ours prevents: less and less often, as whatever else fails."""
        delay = next_delay_seconds(self._parts.settings.retry_seconds, judged.claimed.attempts + 1, self._parts.chance)
        put_off = postpone(judged.claimed, now_ms, f"no report can be made of: {judged.result.reply}")
        return msgspec.structs.replace(put_off, due_ms=now_ms + int(delay * 1000), counts=True)

    def _complete(self, judged: Judgement, report: MailAccepted | None) -> Attempt:
        told = report is not None and judged.has_failed and wants_report(judged.claimed)
        return msgspec.structs.replace(
            judged.attempt, next_hop=self._hop.name, report_id=report.queue_id if report is not None and told else ""
        )

    async def _finish(self, outcomes: Outcomes) -> bool:
        deadline = self._parts.clock.monotonic() + COMMIT_SECONDS
        while True:
            try:
                return await self._parts.queue.finish(self._owner, outcomes)
            except MailError as error:
                if error.kind is not ErrorKind.UNAVAILABLE or self._parts.clock.monotonic() >= deadline:
                    raise
                log.warning("delivery.queue.commit_waits", extra={"next_hop": self._hop.name, "reason": str(error)})
            await self._parts.sleep(COMMIT_PAUSE_SECONDS)

    def _note(self, judged: Sequence[Judgement], now_ms: int) -> None:
        for each in judged:
            attempt = each.attempt
            outcome = {QueueState.SENT: "sent", QueueState.FAILED: "failed"}.get(attempt.state, "deferred")
            self._parts.metrics.attempts.labels(outcome).inc()
            if attempt.state is QueueState.SENT:
                self._parts.metrics.seconds.observe(max(now_ms - each.claimed.message.accepted_ms, 0) / 1000)
            facts = {
                "queue_id": attempt.queue_id,
                "forward_path": attempt.recipient,
                "next_hop": self._hop.name,
                "remote_host": attempt.remote_host,
                "reply": each.result.reply,
                "attempt": each.claimed.attempts + 1,
            }
            if outcome == "sent":
                log.info("delivery.queue.sent", extra=facts)
            else:
                log.info("delivery.queue.failed" if outcome == "failed" else "delivery.queue.deferred", extra=facts)


def _outgoing(copies: Sequence[Claimed]) -> OutgoingMessage:
    message = copies[0].message
    return OutgoingMessage(
        queue_id=message.queue_id,
        reverse_path=copies[0].copy.reverse_path,
        recipients=tuple(
            OutgoingRecipient(address=each.copy.recipient, notify=each.copy.notify, orcpt=each.copy.orcpt)
            for each in copies
        ),
        octets=message.blob_octets + len(message.prefix),
        body=message.body,
        smtputf8=message.smtputf8,
        ret=message.ret,
        envid=message.envid,
    )
