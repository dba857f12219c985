"""Messages in the event log, by Message-ID or address, newest first: each search is a walk down one index."""

from postbus.contracts.events import EventType
from postbusd.admin_api.adapters.postgres_base import PostgresBase
from postbusd.admin_api.ports import FoundMessage, MessageQuery

_ARM = """
(SELECT DISTINCT queue_id FROM admin.event
 WHERE {condition} AND queue_id <> '' AND queue_id >= $2 AND queue_id < $3 ORDER BY queue_id DESC LIMIT $4)
"""
_BY_MESSAGE_ID = ("message_id = ANY($1::text[]) AND message_id <> '' AND octet_length(message_id) <= 1024",)
_BY_ADDRESS = (
    "lower(reverse_path) = ANY($1::text[]) AND reverse_path <> '' AND octet_length(reverse_path) <= 1024",
    "lower(forward_path) = ANY($1::text[]) AND forward_path <> '' AND octet_length(forward_path) <= 1024",
    "mailbox = ANY($1::text[]) AND mailbox <> ''",
)
_TOLD = """
SELECT p.queue_id, min(e.at_ms) AS first_ms, max(e.message_id) AS message_id, max(e.reverse_path) AS reverse_path,
    (array_agg(DISTINCT e.forward_path) FILTER (WHERE e.forward_path <> ''))[1:10] AS forward_paths,
    (array_agg(e.type ORDER BY e.sequence DESC))[1] AS last_type,
    (array_agg(e.summary ORDER BY e.sequence DESC))[1] AS last_summary
FROM (SELECT queue_id FROM ({found}) found ORDER BY queue_id DESC LIMIT $4) p JOIN admin.event e USING (queue_id)
GROUP BY p.queue_id ORDER BY p.queue_id DESC
"""


def _statement(conditions: tuple[str, ...]) -> str:
    return _TOLD.format(found=" UNION ".join(_ARM.format(condition=each) for each in conditions))


_FIND_BY_MESSAGE_ID = _statement(_BY_MESSAGE_ID)
_FIND_BY_ADDRESS = _statement(_BY_ADDRESS)


class PostgresMessages(PostgresBase):
    """The MessageFinder."""

    async def find_messages(self, query: MessageQuery) -> tuple[FoundMessage, ...]:
        """Up to `limit`, the latest first."""
        wanted = [query.address] if query.address else [query.message_id, f"<{query.message_id}>"]
        statement = _FIND_BY_ADDRESS if query.address else _FIND_BY_MESSAGE_ID
        async with self._connection() as session:
            rows = await session.fetch(statement, wanted, query.from_queue_id, query.below_queue_id, query.limit)
        known = frozenset(EventType)
        return tuple(
            FoundMessage(
                queue_id=row["queue_id"],
                first_ms=row["first_ms"],
                message_id=row["message_id"],
                reverse_path=row["reverse_path"],
                forward_paths=tuple(row["forward_paths"] or ()),
                last_type=EventType(row["last_type"]),
                last_summary=row["last_summary"],
            )
            for row in rows
            if row["last_type"] in known
        )
