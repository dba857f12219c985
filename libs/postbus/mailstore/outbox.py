"""Rows of an outbox table, whoever owns it: what to publish and what to delete then."""

import logging
from collections.abc import Iterable

import msgspec

from postbus.contracts.events import Event
from postbus.mailstore.ports import Publish

log = logging.getLogger(__name__)


def pack_event(event: Event) -> bytes:
    """The event as a row holds it."""
    return msgspec.msgpack.encode(event)


async def publish_rows(rows: Iterable[tuple[int, bytes]], publish: Publish) -> list[int]:
    """Publishes the events of claimed rows; the numbers of the rows to delete.

    Rows of a newer version stay for its own relay. Raises MailError: nothing may be deleted.
    """
    known = [(number, event) for number, packed in rows if (event := _unpack(number, packed)) is not None]
    if known:
        await publish([event for _, event in known])
    return [number for number, _ in known]


def _unpack(number: int, packed: bytes) -> Event | None:
    try:
        return msgspec.msgpack.decode(packed, type=Event)
    except msgspec.DecodeError:
        log.warning("outbox.event.unknown", extra={"outbox_id": number})
        return None
