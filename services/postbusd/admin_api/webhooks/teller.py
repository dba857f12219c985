"""The loop that tells receivers: claims what is due, sends it, writes what became of it.

A row is claimed for LEASE_MS and goes only after the receiver's 2xx: a process that dies in between leaves it to the
next one, and the receiver knows a repeated event by `webhook-id`. A receiver that fails pauses as a whole; an event
that it alone refuses waits longer each time and does not keep the others.
"""

import asyncio
import logging
from collections.abc import Sequence
from typing import Final

import msgspec
from prometheus_client import CollectorRegistry, Counter, Gauge

from postbus.core.clock import Clock
from postbus.core.errors import MailError
from postbus.runtime.sealing import Sealer
from postbusd.admin_api.webhooks.ports import Poster, WebhookStore
from postbusd.admin_api.webhooks.rules import MAX_AGE_MS, compose, describe, judge
from postbusd.admin_api.webhooks.values import Secrets, Verdict, Work

POLL_SECONDS: Final = 5.0
"""Between looks without a reason: events that another process has written, pauses that have ended."""
LEASE_MS: Final = 150_000
WEBHOOKS: Final = 8
"""Told at a time."""
LANES: Final = 4
"""Connections to one receiver."""
CLAIMED: Final = 40
"""Events of one webhook at once; with REQUEST_SECONDS each, a lane of them ends within the lease."""
HOUSEKEEPING_SECONDS: Final = 60.0

log = logging.getLogger(__name__)


class WebhookTeller:
    """One loop a process; any number of processes."""

    def __init__(
        self, store: WebhookStore, poster: Poster, sealer: Sealer, clock: Clock, registry: CollectorRegistry
    ) -> None:
        self._store = store
        self._poster = poster
        self._sealer = sealer
        self._clock = clock
        self._wanted = asyncio.Event()
        self._housekeeping_at = 0.0
        self._attempts = Counter(
            "postbus_admin_api_webhook_attempts", "Requests to receivers of webhooks.", ["outcome"], registry=registry
        )
        self._deliveries = Gauge(
            "postbus_admin_api_webhook_deliveries", "Events that wait to be told.", ["state"], registry=registry
        )
        for outcome in ("told", "failed", "given_up"):
            self._attempts.labels(outcome)

    def wake(self) -> None:
        """There is something to tell."""
        self._wanted.set()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            self._wanted.clear()
            busy = False
            try:
                await self._keep_house()
                busy = await self.tell_due()
            except MailError as error:
                log.warning("admin_api.webhook.waiting", extra={"reason": str(error)})
            if not busy:
                await self._sleep()

    async def close(self) -> None:
        """Ends look-ups."""
        await self._poster.close()

    async def tell_due(self) -> bool:
        """Tells what is due now; whether there was anything. Raises MailError: UNAVAILABLE."""
        work = await self._store.claim_work(self._clock.now_ms(), LEASE_MS, WEBHOOKS, CLAIMED)
        await asyncio.gather(*map(self._tell, work))
        return bool(work)

    async def _tell(self, work: Work) -> None:
        keys = self._open(work)
        if keys is None:
            return
        lanes = [work.claimed[number::LANES] for number in range(LANES) if work.claimed[number::LANES]]
        now_ms = self._clock.now_ms()
        requests = [
            [
                compose(each.event.event_id, each.event.type, each.event.at_ms, describe(each.event), keys, now_ms)
                for each in lane
            ]
            for lane in lanes
        ]
        answers = await asyncio.gather(*[self._poster.post(work.webhook.url, lane) for lane in requests])
        now_ms = self._clock.now_ms()
        verdicts = [
            judge(claimed, answer, work.failures, now_ms)
            for lane, told in zip(lanes, answers, strict=True)
            for claimed, answer in zip(lane, told, strict=False)
        ]
        await self._settle(work, verdicts, now_ms)

    async def _settle(self, work: Work, verdicts: Sequence[Verdict], now_ms: int) -> None:
        tried = {verdict.sequence for verdict in verdicts}
        unasked = [each.sequence for each in work.claimed if each.sequence not in tried]
        dead = await self._store.settle(work.webhook.name, verdicts, unasked, now_ms)
        failed = [verdict for verdict in verdicts if not verdict.told]
        self._attempts.labels("told").inc(len(verdicts) - len(failed))
        self._attempts.labels("failed").inc(len(failed))
        if failed:
            facts = {"webhook": work.webhook.name, "failures": work.failures + 1, "reason": failed[0].outcome}
            log.warning("admin_api.webhook.failed", extra=facts)
        self._give_up(dead, work.webhook.name)

    async def _keep_house(self) -> None:
        """Once in a while: what is too old is given up, the figures are told."""
        if self._clock.monotonic() < self._housekeeping_at:
            return
        self._housekeeping_at = self._clock.monotonic() + HOUSEKEEPING_SECONDS
        self._give_up(await self._store.expire(self._clock.now_ms() - MAX_AGE_MS), "")
        waiting, dead = await self._store.count_deliveries()
        self._deliveries.labels("waiting").set(waiting)
        self._deliveries.labels("dead").set(dead)

    def _give_up(self, number: int, name: str) -> None:
        if number:
            self._attempts.labels("given_up").inc(number)
            log.error("admin_api.webhook.given_up", extra={"webhook": name, "count": number})

    def _open(self, work: Work) -> Secrets | None:
        try:
            return open_secrets(self._sealer, work.webhook.name, work.secrets)
        except MailError as error:
            log.error("admin_api.webhook.unreadable", extra={"webhook": work.webhook.name, "reason": str(error)})
            return None

    async def _sleep(self) -> None:
        try:
            async with asyncio.timeout(POLL_SECONDS):
                await self._wanted.wait()
        except TimeoutError:
            return


def owner_of(name: str) -> str:
    """What a secret is sealed for."""
    return f"webhook:{name}"


def open_secrets(sealer: Sealer, name: str, sealed: Secrets) -> Secrets:
    """To sign with. Raises MailError: INVALID (another master key)."""
    former = sealer.open(sealed.former, owner_of(name)) if sealed.former is not None else None
    return msgspec.structs.replace(sealed, current=sealer.open(sealed.current, owner_of(name)), former=former)
