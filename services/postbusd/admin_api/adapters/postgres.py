"""Schema `admin` in Postgres: all SQL of this service."""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import asyncpg

from postbus.contracts.events import Event, EventType
from postbus.core.errors import ErrorKind, MailError
from postbusd.admin_api.adapters.postgres_audit import PostgresAudit
from postbusd.admin_api.adapters.postgres_messages import PostgresMessages
from postbusd.admin_api.adapters.postgres_repeats import PostgresRepeats
from postbusd.admin_api.adapters.postgres_sessions import PostgresAdminSessions
from postbusd.admin_api.adapters.postgres_tokens import PostgresTokens
from postbusd.admin_api.ports import Added, EventQuery, LoggedEvents

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
    "after": "sequence > {}",
    "types": "type = ANY({})",
    "queue_id": "queue_id = {}",
    "domain": "domain = {}",
    "mailbox": "mailbox = {}",
    "since_ms": "at_ms >= {}",
    "until_ms": "at_ms < {}",
    "text": "(summary ILIKE {0} OR detail ILIKE {0})",
}
_SEEN = "(domain = ANY({0}) OR mailbox = ANY({1}) OR (mailbox <> '' AND split_part(mailbox, '@', 2) = ANY({0})))"
_TRIM_EVENTS = """
DELETE FROM admin.event WHERE sequence IN (
    SELECT sequence FROM (SELECT sequence, at_ms FROM admin.event ORDER BY sequence LIMIT $2) AS oldest
    WHERE at_ms < $1
)
"""
TEXT_SECONDS = 5.0
"""For a search that no index serves."""
_TOO_LONG = f"text: the search takes more than {TEXT_SECONDS:g} s: narrow it by since, type, domain or mailbox"
_WILD, _ESCAPED = r"([\\%_])", r"\\\1"
_KNOWN_TYPES = frozenset(EventType)


class PostgresAdminStore(PostgresTokens, PostgresAdminSessions, PostgresRepeats, PostgresMessages, PostgresAudit):
    """The AdminStore; `pool` gives the pool of the service's own role."""

    async def check(self) -> None:
        """Raises MailError when the database is away."""
        async with self._connection() as session:
            await session.fetchval("SELECT 1 FROM admin.token LIMIT 1")

    async def add_events(self, events: Sequence[Event]) -> Added:
        """Writes what is not there yet, in one transaction, with what webhooks are to tell of it."""
        async with self._connection() as session, session.transaction():
            return await add_events(session, events)

    async def list_events(self, query: EventQuery) -> LoggedEvents:
        """Up to `limit` events."""
        statement, values = _select_events(query)
        slow = bool(query.text) or query.seen is not None
        async with self._connection() as session:
            try:
                rows = await session.fetch(statement, *values, timeout=TEXT_SECONDS if slow else None)
            except TimeoutError as error:
                if not slow:
                    raise
                raise MailError(ErrorKind.LIMIT, _TOO_LONG) from error
        last = rows[-1]["sequence"] if rows else query.after or 0
        return LoggedEvents(events=tuple(read_event(row) for row in rows if row["type"] in _KNOWN_TYPES), last=last)

    async def trim_events(self, before_ms: int, most: int) -> int:
        """Deletes the old ones of the first."""
        async with self._connection() as session:
            done: str = await session.execute(_TRIM_EVENTS, before_ms, most)
        return int(done.rpartition(" ")[2])


async def add_events(session: "Session", events: Sequence[Event]) -> Added:
    """Within the caller's transaction; the last thing that it does, since other writers wait."""
    columns = [[str(getattr(event, name)) for event in events] for name in _TEXTS]
    await session.execute("SELECT pg_advisory_xact_lock($1)", _EVENT_LOCK)
    row = await session.fetchrow(_ADD_EVENTS, [event.at_ms for event in events], *columns)
    return Added(events=row["added"], deliveries=row["hooked"]) if row is not None else Added()


def _select_events(query: EventQuery) -> tuple[str, list[object]]:
    """The statement for the filters that are given, so that each finds its index, and its values."""
    given = {name: value for name in _EVENT_FILTERS if (value := getattr(query, name)) not in (None, "", ())}
    conditions = [_EVENT_FILTERS[name].format(f"${number}") for number, name in enumerate(given, 1)]
    if query.seen is not None:
        conditions.append(_SEEN.format(f"${len(given) + 1}", f"${len(given) + 2}"))
    where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
    order = "DESC" if query.after is None else "ASC"
    statement = f"SELECT * FROM admin.event {where} ORDER BY sequence {order} LIMIT {query.limit:d}"  # noqa: S608 (texts from the table above)
    if query.after is None:
        statement = f"SELECT * FROM ({statement}) latest ORDER BY sequence"  # noqa: S608 (the same)
    if query.text:
        given["text"] = f"%{re.sub(_WILD, _ESCAPED, query.text)}%"
    return statement, [*given.values(), *([query.seen.domains, query.seen.mailboxes] if query.seen is not None else [])]


def read_event(row: asyncpg.Record) -> Event:
    """Of a row of admin.event."""
    texts = {name: row[name] for name in _TEXTS if name != "type"}
    return Event(type=EventType(row["type"]), at_ms=row["at_ms"], **texts)
