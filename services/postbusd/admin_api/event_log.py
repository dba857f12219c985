"""The event log: what the services tell, kept in order, once each (architecture §2)."""

from collections.abc import Sequence

import msgspec
from prometheus_client import CollectorRegistry, Counter

from postbus.contracts.events import Event
from postbusd.admin_api.ports import EventStore

MAX_FIELD_CHARACTERS = 4_000  # of one text of an event; the rest is cut off


class EventLog:
    """Writes batches from the bus."""

    def __init__(self, store: EventStore, registry: CollectorRegistry) -> None:
        self._store = store
        self._written = Counter("postbus_admin_api_events", "Events written to the log.", registry=registry)

    async def handle_events(self, events: Sequence[Event]) -> None:
        """Takes a batch; a redelivered one writes nothing. Raises MailError: the bus brings it again."""
        self._written.inc(await self._store.add_events([clean_event(event) for event in events]))


def clean_event(event: Event) -> Event:
    """The event with texts that a database takes: no NUL, no endless field. It must not come back for ever."""
    changed = {
        name: value.replace("\0", "\ufffd")[:MAX_FIELD_CHARACTERS]
        for name, value in msgspec.structs.asdict(event).items()
        if type(value) is str and ("\0" in value or len(value) > MAX_FIELD_CHARACTERS)
    }
    return msgspec.structs.replace(event, **changed) if changed else event
