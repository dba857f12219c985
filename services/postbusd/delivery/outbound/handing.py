"""One batch for one destination: route, content, and what becomes of each copy."""

import asyncio
import logging
import random
from collections import defaultdict
from collections.abc import Callable, Sequence

import msgspec
from prometheus_client import CollectorRegistry, Counter, Histogram

from postbus.blobs.ports import BlobStore
from postbus.contracts.delivery import QueueState
from postbus.contracts.directory import FindRouteRequest, Route, RouteFinder
from postbus.contracts.events import Event
from postbus.core.clock import Clock
from postbus.core.errors import MailError
from postbus.core.trace import new_trace, use_trace
from postbusd.delivery.outbound.news import deferred_event, failed_event, relay_event, sent_event
from postbusd.delivery.outbound.ports import Signer, Transmitter
from postbusd.delivery.outbound.queue import Attempt, Claimed, Outcomes, QueueLeases
from postbusd.delivery.outbound.reporting import Failure, Reporter
from postbusd.delivery.outbound.retries import next_delay_seconds
from postbusd.delivery.outbound.values import (
    NextHop,
    Outcome,
    OutgoingMessage,
    OutgoingRecipient,
    RecipientResult,
)
from postbusd.delivery.settings import DeliverySettings

log = logging.getLogger(__name__)

ROUTE_SECONDS = 60.0
POSTPONE_MS = 30_000
"""While a part of ours is away: nobody was asked, so it is no attempt."""
COMMIT_SECONDS = 600.0
"""How long an outcome that can't be committed is kept; less than a lease."""
COMMIT_PAUSE_SECONDS = 0.5
EXPIRED_STATUS = "4.4.7"  # RFC 3463 §3.5: delivery time expired
MAX_ROUTES = 1000


class Batch:
    """Copies for one destination."""

    def __init__(self, *, destination: tuple[str, str], copies: list[Claimed]) -> None:
        self.destination = destination
        self.copies = copies


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
    committed: Callable[[], None]
    """Called after each commit: there are events to relay."""


class Handover:
    """Hands batches to the Transmitter."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._routes: dict[str, tuple[float, Route]] = {}

    async def forget_routes(self) -> None:
        """directory.changed, or a lost one."""
        self._routes.clear()

    async def hand_over(self, owner: str, batch: Batch) -> None:
        """Sends a batch; every copy is reported, or its lease runs out."""
        with use_trace(new_trace()):
            try:
                route = await self._route(batch.destination[0])
            except MailError as error:
                await self._postpone(owner, batch.copies, f"the route is not known: {error.detail}")
                return
            await _Delivery(self._parts, owner, batch, route).run()

    async def _postpone(self, owner: str, copies: Sequence[Claimed], reason: str) -> None:
        log.warning("delivery.queue.postponed", extra={"copies": len(copies), "reason": reason})
        due_ms = self._parts.clock.now_ms() + POSTPONE_MS
        attempts = tuple(_postponed(each, due_ms, reason) for each in copies)
        try:
            await self._parts.queue.finish(owner, Outcomes(attempts=attempts))
        except MailError as error:
            log.warning("delivery.queue.postpone_failed", extra={"reason": str(error)})

    async def _route(self, domain: str) -> Route:
        now = self._parts.clock.monotonic()
        known = self._routes.get(domain)
        if known is not None and known[0] > now:
            return known[1]
        route = await self._parts.directory.find_route(FindRouteRequest(domain=domain))
        if len(self._routes) >= MAX_ROUTES:
            self._routes.clear()
        self._routes[domain] = (now + ROUTE_SECONDS, route)
        return route


def _postponed(claimed: Claimed, due_ms: int, reason: str) -> Attempt:
    return Attempt(
        queue_id=claimed.message.queue_id,
        recipient=claimed.copy.recipient,
        lease_token=claimed.lease_token,
        state=QueueState.WAITING,
        due_ms=due_ms,
        counts=False,
        reply=reason,
    )


class _Delivery:
    """One run of a batch."""

    def __init__(self, parts: Parts, owner: str, batch: Batch, route: Route) -> None:
        self._parts = parts
        self._owner = owner
        self._route = route
        self._hop = NextHop(domain=batch.destination[1], relay=route.relay)
        grouped: dict[tuple[str, str], list[Claimed]] = defaultdict(list)
        for each in batch.copies:
            grouped[(each.message.queue_id, each.copy.reverse_path)].append(each)
        self._copies = dict(grouped)
        self._open = {each.lease_token: each for each in batch.copies}
        """Not reported yet."""

    async def run(self) -> None:
        """Transmits all messages; what was not reported is due again."""
        messages = [_outgoing(copies) for copies in self._copies.values()]
        await self._parts.transmitter.transmit(self._hop, messages, self._load, self._report)
        if self._open:
            log.warning("delivery.queue.given_back", extra={"next_hop": self._hop.name, "copies": len(self._open)})
            await self._parts.queue.give_back(self._owner, list(self._open.values()))

    async def _load(self, message: OutgoingMessage) -> bytes:
        """DKIM-Signature fields, prefix and blob."""
        first = self._copies[(message.queue_id, message.reverse_path)][0].message
        content = first.prefix + await self._parts.blobs.get(first.blob_id)
        return await self._parts.signer.sign(self._route.signing_domain, content) + content

    async def _report(self, message: OutgoingMessage, results: Sequence[RecipientResult]) -> bool:
        """Commits; a committed outcome must not be lost by a cancellation, so the commit is shielded."""
        claimed = {each.copy.recipient: each for each in self._copies[(message.queue_id, message.reverse_path)]}
        pairs = [(claimed[result.address], result) for result in results]
        return await asyncio.shield(self._commit_at_last(pairs))

    async def _commit_at_last(self, pairs: Sequence[tuple[Claimed, RecipientResult]]) -> bool:
        """The remote has spoken: an absent database must not make us ask it again while the lease is ours."""
        ends = self._parts.clock.monotonic() + COMMIT_SECONDS
        while True:
            try:
                done = await self._commit(pairs)
            except MailError as error:
                log.warning("delivery.queue.commit_waits", extra={"next_hop": self._hop.name, "reason": str(error)})
                if self._parts.clock.monotonic() > ends:
                    return False
                await asyncio.sleep(COMMIT_PAUSE_SECONDS)
                continue
            for claimed, _ in pairs:
                self._open.pop(claimed.lease_token, None)
            return done

    async def _commit(self, pairs: Sequence[tuple[Claimed, RecipientResult]]) -> bool:
        now_ms = self._parts.clock.now_ms()
        attempts, events, failures = [], list[Event](), list[Failure]()
        for claimed, result in pairs:
            attempt, reason = self._judge(claimed, result, now_ms)
            attempts.append(attempt)
            if attempt.state is QueueState.FAILED:
                told = msgspec.structs.replace(result, status=attempt.status)
                failures.append(Failure(claimed=claimed, result=told, reason=reason))
            events.append(_event(claimed, attempt, result, reason, now_ms))
        if relayed := next(((claimed, result) for claimed, result in pairs if result.relay_failed), None):
            events.append(relay_event(relayed[0], self._hop.name, relayed[1], now_ms))
        report = await self._parts.reporter.report(failures) if failures else None
        outcomes = Outcomes(attempts=tuple(attempts), events=tuple(events), report=report)
        if not await self._parts.queue.finish(self._owner, outcomes):
            log.warning("delivery.queue.lease_lost", extra={"queue_id": pairs[0][0].message.queue_id})
            return False
        self._parts.committed()
        self._note(pairs, attempts, now_ms)
        return True

    def _judge(self, claimed: Claimed, result: RecipientResult, now_ms: int) -> tuple[Attempt, str]:
        """What becomes of a copy, and for a failure that the reply does not explain, why."""
        state, due_ms, reason, status = QueueState.SENT, now_ms, "", result.status
        if result.outcome is Outcome.FAILED:
            state = QueueState.FAILED
        elif result.outcome is Outcome.DEFERRED:
            delay = next_delay_seconds(self._parts.settings.retry_seconds, claimed.attempts + 1, self._parts.chance)
            due_ms = now_ms + int(delay * 1000)
            state = QueueState.WAITING
            if due_ms >= claimed.message.expires_ms:
                state, due_ms, status = QueueState.FAILED, now_ms, EXPIRED_STATUS
                reason = f"given up after {self._parts.settings.queue_lifetime_hours:g} hours; last: {result.reply}"
        attempt = Attempt(
            queue_id=claimed.message.queue_id,
            recipient=claimed.copy.recipient,
            lease_token=claimed.lease_token,
            state=state,
            due_ms=due_ms,
            next_hop=self._hop.name,
            reply=result.reply,
            status=status,
            remote_host=result.remote_host,
            tls=result.tls,
        )
        return attempt, reason

    def _note(self, pairs: Sequence[tuple[Claimed, RecipientResult]], attempts: Sequence[Attempt], now_ms: int) -> None:
        for (claimed, result), attempt in zip(pairs, attempts, strict=True):
            outcome = {QueueState.SENT: "sent", QueueState.FAILED: "failed"}.get(attempt.state, "deferred")
            self._parts.metrics.attempts.labels(outcome).inc()
            if attempt.state is QueueState.SENT:
                self._parts.metrics.seconds.observe(max(now_ms - claimed.message.accepted_ms, 0) / 1000)
            facts = {
                "queue_id": attempt.queue_id,
                "forward_path": attempt.recipient,
                "next_hop": attempt.next_hop,
                "remote_host": attempt.remote_host,
                "reply": result.reply,
                "attempt": claimed.attempts + 1,
            }
            log.info(f"delivery.queue.{outcome}", extra=facts)  # noqa: G004  # one of three constant names


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


def _event(claimed: Claimed, attempt: Attempt, result: RecipientResult, reason: str, now_ms: int) -> Event:
    if attempt.state is QueueState.SENT:
        return sent_event(claimed, result, now_ms)
    if attempt.state is QueueState.FAILED:
        return failed_event(claimed, reason or result.reply, now_ms)
    return deferred_event(claimed, result, now_ms)
