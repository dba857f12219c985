"""What admin-api needs from its own schema. Every method raises MailError: UNAVAILABLE when the database is away."""

from collections.abc import Sequence
from typing import Protocol

import msgspec

from postbus.contracts.events import Event, EventType
from postbus.contracts.sign_in import SignInMethod
from postbus.core.ids import QUEUE_ID_LENGTH
from postbusd.admin_api.audit_ports import AuditStore
from postbusd.admin_api.repeats import RepeatStore

FIRST_QUEUE_ID = "0"
BEYOND_QUEUE_ID = "Z" * (QUEUE_ID_LENGTH + 1)


class Token(msgspec.Struct, frozen=True, kw_only=True):
    """Whom a token speaks for and what it may do."""

    actor: str
    """`admin`, or a username."""
    scopes: tuple[str, ...]
    expires_ms: int | None = None
    token_id: str = ""
    name: str = ""
    created_ms: int = 0
    """When it was made or last rotated: the store's."""
    created_by: str = ""
    last_used_ms: int | None = None
    """Coarse: `TokenStore.touch_token` is called at most once an hour."""
    is_session: bool = False
    """It stands for the session of a user who signed in."""


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """Whose events an actor sees: those of these domains or their mailboxes, and of these mailboxes."""

    domains: tuple[str, ...] = ()
    mailboxes: tuple[str, ...] = ()


class EventQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which events: those after a sequence, oldest first; without one the latest."""

    after: int | None
    limit: int
    types: tuple[EventType, ...] = ()
    """Empty: all."""
    queue_id: str = ""
    domain: str = ""
    mailbox: str = ""
    """The address, lower case."""
    since_ms: int | None = None
    until_ms: int | None = None
    """Only older ones."""
    text: str = ""
    """Within summary or detail, in either case."""
    seen: Seen | None = None
    """None: all."""


class MessageQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which messages: by Message-ID or by address, one of them."""

    limit: int
    message_id: str = ""
    """Without angle brackets."""
    address: str = ""
    """Lower case: of the sender, of a recipient, or of a mailbox that got it."""
    from_queue_id: str = FIRST_QUEUE_ID
    below_queue_id: str = BEYOND_QUEUE_ID
    """Queue ids sort by time: only those before it."""


class FoundMessage(msgspec.Struct, frozen=True, kw_only=True):
    """What the event log says of a message in short."""

    queue_id: str
    first_ms: int
    message_id: str
    reverse_path: str
    forward_paths: tuple[str, ...]
    """In order, the first ten."""
    last_type: EventType
    last_summary: str


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
        """Creates or replaces, with the id as its name; a hash that another token_id has is left where it is."""
        ...

    async def touch_token(self, token_id: str, at_ms: int) -> None:
        """Notes that it was used."""
        ...


class TokenBook(Protocol):
    """The port of those who make tokens. An `actor` narrows to the tokens that speak for it; empty: all."""

    async def add_token(self, token_hash: bytes, token: Token, most: int) -> None:
        """A new one. Raises MailError: ALREADY_EXISTS for its name, LIMIT when there are `most` tokens already."""
        ...

    async def get_token(self, name: str, actor: str) -> Token | None:
        """By its name."""
        ...

    async def list_tokens(self, actor: str, after: str, limit: int) -> Sequence[Token]:
        """By name, those after `after`."""
        ...

    async def rotate_token(self, token_id: str, token_hash: bytes, created_by: str) -> bool:
        """Replaces the hash; False: it is gone."""
        ...

    async def delete_token(self, token_id: str) -> bool:
        """False: it is gone."""
        ...

    async def delete_tokens_of(self, actor: str) -> int:
        """All that speak for it; how many. Its sessions and kept answers go too."""
        ...


class Session(msgspec.Struct, frozen=True, kw_only=True):
    """A user who has signed in."""

    session_id: str
    username: str
    method: SignInMethod
    proof: str
    client_address: str
    user_agent: str
    begun_ms: int
    last_used_ms: int
    """Coarse: written at most once in `sessions.TOUCH_MS`."""
    expires_ms: int


class SessionStore(Protocol):
    """The port of sessions."""

    async def add_session(self, session_hash: bytes, session: Session, most: int) -> None:
        """A new one; of more than `most` of its user the ones that were not used for longest end."""
        ...

    async def find_session(self, session_hash: bytes) -> Session | None:
        """The session with this SHA-256, also one that is over."""
        ...

    async def touch_session(self, session_id: str, at_ms: int) -> None:
        """Notes that it was used."""
        ...

    async def list_sessions(self, username: str) -> Sequence[Session]:
        """Of one user, the oldest first."""
        ...

    async def delete_session(self, session_id: str, username: str) -> bool:
        """False: that user has none with this id."""
        ...

    async def trim_sessions(self, now_ms: int, unused_since_ms: int, most: int) -> int:
        """Deletes up to `most` that are over or were not used since then; how many."""
        ...


class EventStore(Protocol):
    """The port of the event log."""

    async def add_events(self, events: Sequence[Event]) -> Added:
        """Writes what is not there yet (by event_id), in one transaction, and for each webhook what it is to tell."""
        ...

    async def list_events(self, query: EventQuery) -> LoggedEvents:
        """Up to `limit` events. Raises MailError: LIMIT when a search for text takes too long."""
        ...

    async def trim_events(self, before_ms: int, most: int) -> int:
        """Deletes those among the first `most` of the log that are older; how many."""
        ...


class MessageFinder(Protocol):
    """The port of those who look for a message."""

    async def find_messages(self, query: MessageQuery) -> tuple[FoundMessage, ...]:
        """Up to `limit`, the latest first."""
        ...


class AdminStore(TokenStore, TokenBook, SessionStore, RepeatStore, EventStore, MessageFinder, AuditStore, Protocol):
    """All of it."""

    async def check(self) -> None:
        """Raises MailError when the database is away."""
        ...
