"""Tables `admin.audit` and `admin.audit_outcome`: the AuditStore. The role may add and read, nothing else."""

from collections.abc import Sequence

import asyncpg

from postbusd.admin_api.adapters.postgres_base import PostgresBase, to_moment, to_ms
from postbusd.admin_api.audit_ports import AuditEntry, AuditOutcome, AuditQuery, AuditResult, AuditRow

_ENTRY = AuditEntry.__struct_fields__
_OUTCOME = AuditOutcome.__struct_fields__
_BEGIN = f"""
INSERT INTO admin.audit ({", ".join(_ENTRY)})
VALUES ({", ".join(f"${number}" for number in range(1, len(_ENTRY) + 1))}) RETURNING sequence
"""  # noqa: S608 (names of the structs)
_END = f"""
INSERT INTO admin.audit_outcome (sequence, {", ".join(_OUTCOME)})
VALUES ({", ".join(f"${number}" for number in range(1, len(_OUTCOME) + 2))}) ON CONFLICT (sequence) DO NOTHING
"""  # noqa: S608 (the same)
_LIST = f"""
SELECT audit.sequence, audit.at, {", ".join(f"audit.{name}" for name in _ENTRY)},
    {", ".join(f"outcome.{name}" for name in _OUTCOME)}
FROM admin.audit LEFT JOIN admin.audit_outcome AS outcome USING (sequence)
"""  # noqa: S608 (the same)
_FILTERS = {
    "before": "audit.sequence < ",
    "actor": "audit.actor = ",
    "operation": "audit.operation = ",
    "since_ms": "audit.at >= ",
    "until_ms": "audit.at < ",
}
_RESULTS = {
    AuditResult.DONE: "outcome.status < 400",
    AuditResult.REFUSED: "outcome.status BETWEEN 400 AND 499",
    AuditResult.FAILED: "outcome.status >= 500",
    AuditResult.UNKNOWN: "outcome.status IS NULL",
}


class PostgresAudit(PostgresBase):
    """The port of the audit log."""

    async def begin_audit(self, entry: AuditEntry) -> int:
        """Writes what is about to happen."""
        async with self._connection() as session:
            sequence: int = await session.fetchval(_BEGIN, *_values(entry))
        return sequence

    async def end_audit(self, sequence: int, outcome: AuditOutcome) -> None:
        """Writes how it ended."""
        async with self._connection() as session:
            await session.execute(_END, sequence, *_values(outcome))

    async def add_audit(self, entry: AuditEntry, outcome: AuditOutcome) -> None:
        """Writes both."""
        async with self._connection() as session, session.transaction():
            sequence = await session.fetchval(_BEGIN, *_values(entry))
            await session.execute(_END, sequence, *_values(outcome))

    async def list_audit(self, query: AuditQuery) -> Sequence[AuditRow]:
        """The latest first."""
        conditions, values = _conditions(query)
        where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
        statement = f"{_LIST} {where} ORDER BY audit.sequence DESC LIMIT {query.limit:d}"
        async with self._connection() as session:
            return [_row(each) for each in await session.fetch(statement, *values)]

    async def trim_audit(self, days: int, most: int) -> int:
        """By the one function that may."""
        async with self._connection() as session:
            gone: int = await session.fetchval("SELECT admin.trim_audit_v1($1, $2)", days, most)
        return gone


def _values(value: AuditEntry | AuditOutcome) -> list[object]:
    return [getattr(value, name) for name in value.__struct_fields__]


def _conditions(query: AuditQuery) -> tuple[list[str], list[object]]:
    """What is given, and its values."""
    conditions: list[str] = []
    values: list[object] = []
    for name, condition in _FILTERS.items():
        value = getattr(query, name)
        if value not in (None, ""):
            values.append(to_moment(value) if name.endswith("_ms") else value)
            conditions.append(f"{condition}${len(values)}")
    if query.object:
        values.append(query.object)
        below = query.object.endswith("/")
        conditions.append(f"starts_with(audit.object, ${len(values)})" if below else f"audit.object = ${len(values)}")
    if query.result is not None:
        conditions.append(_RESULTS[query.result])
    return conditions, values


def _row(row: asyncpg.Record) -> AuditRow:
    outcome = AuditOutcome(**{name: row[name] for name in _OUTCOME}) if row["status"] is not None else None
    entry = AuditEntry(**{name: row[name] for name in _ENTRY})
    return AuditRow(sequence=row["sequence"], at_ms=to_ms(row["at"]) or 0, entry=entry, outcome=outcome)
