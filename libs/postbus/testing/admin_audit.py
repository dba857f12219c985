"""The audit log in memory, and what every AuditStore must do."""

from collections.abc import Sequence

from postbus.core.errors import ErrorKind, MailError
from postbus.core.ids import new_uuid7
from postbusd.admin_api.audit_ports import AuditEntry, AuditOutcome, AuditQuery, AuditResult, AuditRow
from postbusd.admin_api.ports import AdminStore

DAY_MS = 86_400_000
AT_MS = 1_790_000_000_000


class MemoryAudit:
    """The AuditStore; `audit_away` makes writes UNAVAILABLE, `now_ms` is the database's clock."""

    def __init__(self) -> None:
        self.audit_away = False
        self.now_ms = AT_MS
        self.rows: dict[int, AuditRow] = {}
        self._last = 0

    async def begin_audit(self, entry: AuditEntry) -> int:
        """Writes what is about to happen."""
        self._check()
        self._last += 1
        self.rows[self._last] = AuditRow(sequence=self._last, at_ms=self.now_ms, entry=entry)
        return self._last

    async def end_audit(self, sequence: int, outcome: AuditOutcome) -> None:
        """Writes how it ended."""
        self._check()
        row = self.rows[sequence]
        if row.outcome is None:
            self.rows[sequence] = AuditRow(sequence=sequence, at_ms=row.at_ms, entry=row.entry, outcome=outcome)

    async def add_audit(self, entry: AuditEntry, outcome: AuditOutcome) -> None:
        """Writes both."""
        await self.end_audit(await self.begin_audit(entry), outcome)

    async def list_audit(self, query: AuditQuery) -> Sequence[AuditRow]:
        """The latest first."""
        return [row for row in reversed(self.rows.values()) if _matches(row, query)][: query.limit]

    async def trim_audit(self, days: int, most: int) -> int:
        """Deletes what is old."""
        before_ms = self.now_ms - max(days, 7) * DAY_MS
        old = [sequence for sequence, row in self.rows.items() if row.at_ms < before_ms][:most]
        for sequence in old:
            del self.rows[sequence]
        return len(old)

    def _check(self) -> None:
        if self.audit_away:
            raise MailError(ErrorKind.UNAVAILABLE, "database: away")


def _matches(row: AuditRow, query: AuditQuery) -> bool:
    entry = row.entry
    below = query.object.endswith("/")
    return (
        (query.before is None or row.sequence < query.before)
        and query.actor in ("", entry.actor)
        and query.operation in ("", entry.operation)
        and (entry.object.startswith(query.object) if below else query.object in ("", entry.object))
        and query.result in (None, row.result)
        and (query.since_ms is None or row.at_ms >= query.since_ms)
        and (query.until_ms is None or row.at_ms < query.until_ms)
    )


def make_entry(name: str, actor: str = "admin", operation: str = "put_domain") -> AuditEntry:
    """A write to a domain."""
    return AuditEntry(
        request_id=new_uuid7(AT_MS),
        actor=actor,
        token_id="one",  # noqa: S106 (an id)
        token_name="one",  # noqa: S106 (a name)
        client_address="192.0.2.1",
        method="PUT",
        operation=operation,
        object=f"domains/{name}",
        request='{"incoming":true}',
    )


class AuditContract:
    """The rules of AuditStore; a subclass gives a fixture `store`, empty."""

    async def test_a_request_without_an_outcome_is_unknown(self, store: AdminStore) -> None:
        """begin_audit, end_audit."""
        entry = make_entry("a.example")
        sequence = await store.begin_audit(entry)
        (row,) = await store.list_audit(AuditQuery(limit=10))
        assert (row.sequence, row.entry, row.outcome, row.result) == (sequence, entry, None, AuditResult.UNKNOWN)
        outcome = AuditOutcome(status=201, after='{"name":"a.example"}')
        await store.end_audit(sequence, outcome)
        (row,) = await store.list_audit(AuditQuery(limit=10))
        assert (row.outcome, row.result) == (outcome, AuditResult.DONE)

    async def test_an_outcome_is_told_once(self, store: AdminStore) -> None:
        """end_audit again changes nothing."""
        sequence = await store.begin_audit(make_entry("a.example"))
        for status in (403, 200):
            await store.end_audit(sequence, AuditOutcome(status=status, code="forbidden"))
        (row,) = await store.list_audit(AuditQuery(limit=10))
        assert (row.outcome, row.result) == (AuditOutcome(status=403, code="forbidden"), AuditResult.REFUSED)

    async def test_rows_are_chosen_by_actor_object_operation_and_result(self, store: AdminStore) -> None:
        """list_audit: filters, the latest first, pages."""
        entries = [
            make_entry("a.example"),
            make_entry("a.example", "kim", "delete_domain"),
            make_entry("aa.example", "kim"),
        ]
        for entry, status in zip(entries, (200, 403, 500), strict=True):
            await store.add_audit(entry, AuditOutcome(status=status))
        await store.begin_audit(make_entry("b.example"))
        for query, expected in (
            (AuditQuery(limit=10, actor="kim"), [2, 1]),
            (AuditQuery(limit=10, object="domains/a.example"), [1, 0]),
            (AuditQuery(limit=3, object="domains/"), [3, 2, 1]),
            (AuditQuery(limit=10, object="domain/"), []),
            (AuditQuery(limit=10, operation="put_domain", actor="kim"), [2]),
            (AuditQuery(limit=10, result=AuditResult.DONE), [0]),
            (AuditQuery(limit=10, result=AuditResult.REFUSED), [1]),
            (AuditQuery(limit=10, result=AuditResult.FAILED), [2]),
            (AuditQuery(limit=10, result=AuditResult.UNKNOWN), [3]),
            (AuditQuery(limit=10, since_ms=0, until_ms=1), []),
        ):
            found = [row.entry.request_id for row in await store.list_audit(query)]
            known = [*[each.request_id for each in entries], *found]
            assert [min(known.index(each), 3) for each in found] == expected
        first = await store.list_audit(AuditQuery(limit=3))
        rest = await store.list_audit(AuditQuery(limit=3, before=first[-1].sequence))
        assert len(first) == 3
        assert [row.entry for row in rest] == [entries[0]]

    async def test_what_is_young_is_not_trimmed(self, store: AdminStore) -> None:
        """trim_audit."""
        await store.begin_audit(make_entry("a.example"))
        assert await store.trim_audit(0, 100) == 0
        assert len(await store.list_audit(AuditQuery(limit=10))) == 1
