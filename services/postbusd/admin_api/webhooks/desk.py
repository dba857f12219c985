"""The administrator's commands for webhooks: names and limits first, secrets told once, each change an event."""

from collections.abc import Sequence
from typing import Final

from postbus.contracts.events import Event, EventType
from postbus.core.clock import Clock
from postbus.core.errors import ErrorKind, MailError
from postbus.core.ids import new_uuid7
from postbus.core.trace import current_trace
from postbus.runtime.sealing import Sealer
from postbusd.admin_api.webhooks.ports import Poster, WebhookStore
from postbusd.admin_api.webhooks.rules import (
    FORMER_SECRET_MS,
    PING,
    check_name,
    check_webhook,
    compose,
    new_secret,
    tell_secret,
)
from postbusd.admin_api.webhooks.teller import WebhookTeller, open_secrets, owner_of
from postbusd.admin_api.webhooks.values import Answer, Delivery, Webhook, WebhookState

MAX_SEQUENCE: Final = (1 << 63) - 1


class WebhookDesk:
    """What the API does with webhooks."""

    def __init__(
        self, store: WebhookStore, poster: Poster, teller: WebhookTeller, sealer: Sealer, clock: Clock
    ) -> None:
        self._store = store
        self._poster = poster
        self._teller = teller
        self._sealer = sealer
        self._clock = clock

    async def put(self, webhook: Webhook, actor: str) -> tuple[WebhookState, str]:
        """Creates or replaces it; with the secret of a new one, else empty. Raises MailError: INVALID."""
        checked = check_webhook(webhook)
        secret = new_secret()
        types = " ".join(checked.types) or "all"
        facts = (f"url={checked.url}", f"types={types}", f"domain={checked.domain or 'all'}")
        state = "on" if checked.active else "off"
        event = self._event(f"webhook {checked.name} set by {actor}", (*facts, f"active={state}"))
        sealed = self._sealer.seal(secret, owner_of(checked.name))
        created = await self._store.put_webhook(checked, sealed, event)
        self._teller.wake()
        return await self._store.get_webhook(checked.name), tell_secret(secret) if created else ""

    async def rotate(self, name: str, actor: str) -> tuple[WebhookState, str]:
        """A new secret; the one until now signs too for a day. Raises MailError: NOT_FOUND."""
        checked, secret = check_name(name), new_secret()
        event = self._event(f"secret of webhook {checked} replaced by {actor}")
        sealed = self._sealer.seal(secret, owner_of(checked))
        await self._store.rotate_secret(checked, sealed, self._clock.now_ms() + FORMER_SECRET_MS, event)
        return await self._store.get_webhook(checked), tell_secret(secret)

    async def get(self, name: str) -> WebhookState:
        """Raises MailError: NOT_FOUND."""
        return await self._store.get_webhook(check_name(name))

    async def list(self, after: str, limit: int) -> tuple[WebhookState, ...]:
        """Those after a name."""
        return await self._store.list_webhooks(after, limit)

    async def delete(self, name: str, actor: str, *, dry_run: bool) -> tuple[str, ...]:
        """What goes, or would: lines for people. Raises MailError: NOT_FOUND."""
        state = await self._store.get_webhook(check_name(name))
        name = state.webhook.name
        if not dry_run:
            await self._store.delete_webhook(name, self._event(f"webhook {name} deleted by {actor}"))
        untold = state.waiting + state.dead
        return (f"webhook {name}", *([f"{untold} events that it has not told"] if untold else []))

    async def test(self, name: str) -> tuple[Answer, int]:
        """Sends a request of type `ping` now; the answer and its milliseconds. Raises MailError: NOT_FOUND."""
        state = await self._store.get_webhook(check_name(name))
        name = state.webhook.name
        keys = open_secrets(self._sealer, name, await self._store.find_secrets(name))
        now_ms = self._clock.now_ms()
        message = compose(new_uuid7(now_ms), PING, now_ms, {"webhook": name}, keys, now_ms)
        started = self._clock.monotonic()
        (answer,) = await self._poster.post(state.webhook.url, [message])
        return answer, round((self._clock.monotonic() - started) * 1000)

    async def list_deliveries(self, name: str, *, dead: bool, after: int, limit: int) -> tuple[Delivery, ...]:
        """What it has not told. Raises MailError: NOT_FOUND."""
        return await self._store.list_deliveries(check_name(name), dead=dead, after=after, limit=limit)

    async def change_dead(self, name: str, sequence: int | None, actor: str, *, retry: bool) -> int:
        """Retries or discards given up events, one or all; their number. Raises MailError: NOT_FOUND, INVALID."""
        checked = check_name(name)
        if sequence is not None and not 0 < sequence <= MAX_SEQUENCE:
            raise MailError(ErrorKind.INVALID, "sequence: of an event that was given up")
        what = "retried" if retry else "discarded"
        event = self._event(f"events that webhook {checked} had given up were {what} by {actor}")
        changed = await self._store.change_dead(checked, sequence, event, retry=retry)
        self._teller.wake()
        return changed

    def _event(self, summary: str, facts: Sequence[str] = ()) -> Event:
        trace = current_trace()
        now_ms = self._clock.now_ms()
        return Event(
            event_id=new_uuid7(now_ms),
            type=EventType.CONFIGURATION,
            at_ms=now_ms,
            service="admin-api",
            summary=summary,
            detail=", ".join(facts),
            traceparent=trace.format() if trace is not None else "",
        )
