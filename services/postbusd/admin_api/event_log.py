"""The event log: what the services tell, kept in order, once each (architecture §2)."""

import logging
from collections.abc import Callable, Sequence

import msgspec
from prometheus_client import CollectorRegistry, Counter

from postbus.contracts.events import Event
from postbus.core.errors import ErrorKind, MailError
from postbusd.admin_api.ports import EventStore

MAX_FIELD_CHARACTERS = 4_000  # of one text of an event; the rest is cut off
MAX_KEY_CHARACTERS = 512  # of a text with an index: Postgres takes 2,704 octets in one, a character has up to four
_KEYS = frozenset({"event_id", "queue_id", "domain", "mailbox"})

log = logging.getLogger(__name__)


def _nobody() -> None:
    """Nobody is to be woken."""


class EventLog:
    """Writes batches from the bus."""

    def __init__(
        self, store: EventStore, registry: CollectorRegistry, wake_webhooks: Callable[[], None] = _nobody
    ) -> None:
        """`wake_webhooks` is called after events that webhooks are to tell."""
        self._store = store
        self._wake_webhooks = wake_webhooks
        self._written = Counter("postbus_admin_api_events", "Events written to the log.", registry=registry)

    async def handle_events(self, events: Sequence[Event]) -> None:
        """Takes a batch; a redelivered one writes nothing. Raises MailError UNAVAILABLE: the bus brings it again.

        An event that fails for itself is dropped with an ERROR: it must not keep the others out for ever.
        """
        cleaned = [clean_event(event) for event in events]
        try:
            await self._write(cleaned)
        except MailError as error:
            if error.kind is ErrorKind.UNAVAILABLE:
                raise
            await self._write_singly(cleaned)

    async def _write(self, events: Sequence[Event]) -> None:
        added = await self._store.add_events(events)
        self._written.inc(added.events)
        if added.deliveries:
            self._wake_webhooks()

    async def _write_singly(self, events: Sequence[Event]) -> None:
        for event in events:
            try:
                await self._write([event])
            except MailError as error:
                if error.kind is ErrorKind.UNAVAILABLE:
                    raise
                facts = {"event_id": event.event_id, "event_type": event.type, "reason": str(error)}
                log.error("admin_api.event.dropped", extra=facts)


def clean_event(event: Event) -> Event:
    """The event with texts that a database takes: no NUL, no endless field, no key that is too long for its index."""
    changed = {}
    for name, value in msgspec.structs.asdict(event).items():
        most = MAX_KEY_CHARACTERS if name in _KEYS else MAX_FIELD_CHARACTERS
        if type(value) is str and ("\0" in value or len(value) > most):
            changed[name] = value.replace("\0", "\ufffd")[:most]
    return msgspec.structs.replace(event, **changed) if changed else event
