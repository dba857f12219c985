"""What admin-api needs from its own schema. Every method raises MailError: UNAVAILABLE when the database is away."""

from collections.abc import Sequence
from typing import Protocol

import msgspec

from postbus.contracts.events import Event, EventType


class Token(msgspec.Struct, frozen=True, kw_only=True):
    """Whom a token speaks for and what it may do."""

    actor: str
    scopes: tuple[str, ...]
    expires_ms: int | None = None


class EventQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which events: those after a sequence, oldest first; without one the latest."""

    after: int | None
    limit: int
    type: EventType | None = None
    queue_id: str = ""
    domain: str = ""
    mailbox: str = ""
    """The address, lower case."""
    since_ms: int | None = None
    until_ms: int | None = None
    """Only older ones."""


class LoggedEvents(msgspec.Struct, frozen=True, kw_only=True):
    """Events in the order of the log; `last` is the sequence to go on after."""

    events: tuple[Event, ...]
    last: int


class Added(msgspec.Struct, frozen=True, kw_only=True):
    """What a batch has made."""

    events: int = 0
    deliveries: int = 0
    """Of webhooks: they are to be told now."""


class TokenStore(Protocol):
    """The port of the token check."""

    async def find_token(self, token_hash: bytes) -> Token | None:
        """The token with this SHA-256, also an expired one."""
        ...

    async def put_token(self, token_id: str, token_hash: bytes, token: Token) -> None:
        """Creates or replaces; a hash that another token_id has is left where it is."""
        ...


class EventStore(Protocol):
    """The port of the event log."""

    async def add_events(self, events: Sequence[Event]) -> Added:
        """Writes what is not there yet (by event_id), in one transaction, and for each webhook what it is to tell."""
        ...

    async def list_events(self, query: EventQuery) -> LoggedEvents:
        """Up to `limit` events."""
        ...


class AdminStore(TokenStore, EventStore, Protocol):
    """All of it."""

    async def check(self) -> None:
        """Raises MailError when the database is away."""
        ...
