"""Schema `admin` in Postgres: all SQL of this service."""

import contextlib
import datetime
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import TYPE_CHECKING

import asyncpg

from postbus.contracts.events import Event, EventType
from postbus.runtime.database import connection
from postbusd.admin_api.ports import Added, EventQuery, LoggedEvents, Token

if TYPE_CHECKING:
    from postbus.runtime.database import Session

_EVENT_LOCK = 0x706F7374_61646D69  # "postadmi": one writer at a time, so that sequence order is commit order
_TEXTS = (
    "event_id",
    "type",
    "service",
    "summary",
    "queue_id",
    "message_id",
    "domain",
    "mailbox",
    "reverse_path",
    "forward_path",
    "client_address",
    "detail",
    "traceparent",
)
_ADD_EVENTS = f"""
WITH added AS (
    INSERT INTO admin.event (at_ms, {", ".join(_TEXTS)})
    SELECT * FROM unnest($1::bigint[], {", ".join(f"${number}::text[]" for number in range(2, len(_TEXTS) + 2))})
    ON CONFLICT (event_id) DO NOTHING
    RETURNING sequence, type, domain
), hooked AS (
    INSERT INTO admin.webhook_delivery (webhook_id, sequence)
    SELECT w.webhook_id, a.sequence FROM added a JOIN admin.webhook w
        ON w.active AND (w.types = '{{}}' OR a.type = ANY(w.types)) AND w.domain IN ('', a.domain)
    RETURNING 1
)
SELECT (SELECT count(*) FROM added) AS added, (SELECT count(*) FROM hooked) AS hooked
"""  # noqa: S608 (names from the tuple above)
_EVENT_FILTERS = {
    "after": "sequence > ",
    "type": "type = ",
    "queue_id": "queue_id = ",
    "domain": "domain = ",
    "mailbox": "mailbox = ",
    "since_ms": "at_ms >= ",
    "until_ms": "at_ms < ",
}
_FIND_BY_HASH = """
SELECT actor, scopes, extract(epoch FROM expires) * 1000 AS expires_ms FROM admin.token WHERE token_hash = $1
"""
_SAVE = """
INSERT INTO admin.token (token_id, token_hash, actor, scopes, expires)
SELECT $1, $2, $3, $4, $5
WHERE NOT EXISTS (SELECT 1 FROM admin.token WHERE token_hash = $2 AND token_id <> $1)
ON CONFLICT (token_id) DO UPDATE
SET token_hash = excluded.token_hash, actor = excluded.actor, scopes = excluded.scopes, expires = excluded.expires
"""
_KNOWN_TYPES = frozenset(EventType)


class PostgresAdminStore:
    """The AdminStore; `pool` gives the pool of the service's own role."""

    def __init__(self, pool: Callable[[], Awaitable[asyncpg.Pool]]) -> None:
        self._pool = pool

    async def check(self) -> None:
        """Raises MailError when the database is away."""
        async with self._connection() as session:
            await session.fetchval("SELECT 1 FROM admin.token LIMIT 1")

    async def find_token(self, token_hash: bytes) -> Token | None:
        """The token with this SHA-256."""
        async with self._connection() as session:
            row = await session.fetchrow(_FIND_BY_HASH, token_hash)
        if row is None:
            return None
        expires_ms = int(row["expires_ms"]) if row["expires_ms"] is not None else None
        return Token(actor=row["actor"], scopes=tuple(row["scopes"]), expires_ms=expires_ms)

    async def put_token(self, token_id: str, token_hash: bytes, token: Token) -> None:
        """Creates or replaces."""
        expires = None
        if token.expires_ms is not None:
            expires = datetime.datetime.fromtimestamp(token.expires_ms / 1000, datetime.UTC)
        async with self._connection() as session:
            await session.execute(_SAVE, token_id, token_hash, token.actor, list(token.scopes), expires)

    async def add_events(self, events: Sequence[Event]) -> Added:
        """Writes what is not there yet, in one transaction, with what webhooks are to tell of it."""
        async with self._connection() as session, session.transaction():
            return await add_events(session, events)

    async def list_events(self, query: EventQuery) -> LoggedEvents:
        """Up to `limit` events."""
        statement, values = _select_events(query)
        async with self._connection() as session:
            rows = await session.fetch(statement, *values)
        last = rows[-1]["sequence"] if rows else query.after or 0
        return LoggedEvents(events=tuple(read_event(row) for row in rows if row["type"] in _KNOWN_TYPES), last=last)

    @contextlib.asynccontextmanager
    async def _connection(self) -> AsyncIterator["Session"]:
        """A connection whose failures are MailErrors."""
        async with connection(await self._pool()) as session:
            yield session


async def add_events(session: "Session", events: Sequence[Event]) -> Added:
    """Within the caller's transaction; the last thing that it does, since other writers wait."""
    columns = [[str(getattr(event, name)) for event in events] for name in _TEXTS]
    await session.execute("SELECT pg_advisory_xact_lock($1)", _EVENT_LOCK)
    row = await session.fetchrow(_ADD_EVENTS, [event.at_ms for event in events], *columns)
    return Added(events=row["added"], deliveries=row["hooked"]) if row is not None else Added()


def _select_events(query: EventQuery) -> tuple[str, list[object]]:
    """The statement for the filters that are given, so that each finds its index, and its values."""
    given = {name: value for name in _EVENT_FILTERS if (value := getattr(query, name)) not in (None, "")}
    conditions = [f"{_EVENT_FILTERS[name]}${number}" for number, name in enumerate(given, 1)]
    where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
    order = "DESC" if query.after is None else "ASC"
    statement = f"SELECT * FROM admin.event {where} ORDER BY sequence {order} LIMIT {query.limit:d}"  # noqa: S608 (texts from the table above)
    if query.after is None:
        statement = f"SELECT * FROM ({statement}) latest ORDER BY sequence"  # noqa: S608 (the same)
    return statement, list(given.values())


def read_event(row: asyncpg.Record) -> Event:
    """Of a row of admin.event."""
    texts = {name: row[name] for name in _TEXTS if name != "type"}
    return Event(type=EventType(row["type"]), at_ms=row["at_ms"], **texts)
