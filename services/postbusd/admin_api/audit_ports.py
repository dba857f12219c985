"""The audit log as its store knows it. Every method raises MailError: UNAVAILABLE when the database is away."""

import enum
from collections.abc import Sequence
from typing import Protocol

import msgspec


class AuditResult(enum.StrEnum):
    """How a write request ended."""

    DONE = "done"
    """2xx."""
    REFUSED = "refused"
    """4xx: nothing was changed."""
    FAILED = "failed"
    """5xx: what was changed is not certain."""
    UNKNOWN = "unknown"
    """It is under way, or its process ended before it could tell."""


class AuditEntry(msgspec.Struct, frozen=True, kw_only=True):
    """A write request, as it is known before anything happens. JSON texts are objects, empty: there is none."""

    request_id: str
    actor: str
    token_id: str
    token_name: str
    client_address: str
    method: str
    operation: str
    """The name of the route, as the OpenAPI document has it."""
    object: str
    """Path of the object below /api/v1, lower case: `domains/example.org`."""
    query: str = ""
    traceparent: str = ""
    request: str = ""
    """JSON: the body without secrets."""
    before: str = ""
    """JSON: the object as it was, without secrets."""


class AuditOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """How it ended."""

    status: int
    code: str = ""
    """Of the problem."""
    detail: str = ""
    after: str = ""
    """JSON: what was answered, without secrets."""


class AuditRow(msgspec.Struct, frozen=True, kw_only=True):
    """One write request."""

    sequence: int
    at_ms: int
    entry: AuditEntry
    outcome: AuditOutcome | None = None
    """None: unknown."""

    @property
    def result(self) -> AuditResult:
        """In a word."""
        if self.outcome is None:
            return AuditResult.UNKNOWN
        if self.outcome.status < 400:
            return AuditResult.DONE
        return AuditResult.REFUSED if self.outcome.status < 500 else AuditResult.FAILED


class AuditQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which write requests; empty fields narrow nothing."""

    limit: int
    before: int | None = None
    """Only those before this sequence."""
    actor: str = ""
    object: str = ""
    """Exactly this one; with a `/` at its end, all below it."""
    operation: str = ""
    result: AuditResult | None = None
    since_ms: int | None = None
    until_ms: int | None = None


class AuditStore(Protocol):
    """The port of the audit log: it is only ever added to, until retention takes what is old."""

    async def begin_audit(self, entry: AuditEntry) -> int:
        """Writes what is about to happen; its sequence."""
        ...

    async def end_audit(self, sequence: int, outcome: AuditOutcome) -> None:
        """Writes how it ended; once."""
        ...

    async def add_audit(self, entry: AuditEntry, outcome: AuditOutcome) -> None:
        """Writes both in one: of a request that was refused before anything could happen."""
        ...

    async def list_audit(self, query: AuditQuery) -> Sequence[AuditRow]:
        """Up to `limit`, the latest first."""
        ...

    async def trim_audit(self, days: int, most: int) -> int:
        """Deletes up to `most` rows older than `days`, at least seven; how many."""
        ...
