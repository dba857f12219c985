"""/api/v1/audit: who changed what, from where, and how it ended."""

import re
from typing import Annotated, Any

import msgspec
from litestar import get
from litestar.params import QueryParameter

from postbus.core.errors import ErrorKind, MailError
from postbusd.admin_api.audit_ports import AuditQuery, AuditResult, AuditRow
from postbusd.admin_api.rest.backend import DEFAULT_PAGE, ApiRequest, backend_of
from postbusd.admin_api.rest.parameters import Limit, NextAfter, read_time
from postbusd.admin_api.rest.problems import REFUSALS

_CURSOR = re.compile(r"[0-9]{1,18}\Z")


class AuditResource(msgspec.Struct, frozen=True, kw_only=True):
    """One write request. Secrets are told as `changed`."""

    request_id: Annotated[str, msgspec.Meta(description="As the answer's header X-Request-Id told it.")]
    at_ms: Annotated[int, msgspec.Meta(description="When it came, Unix time in milliseconds.")]
    actor: Annotated[str, msgspec.Meta(description="Whom its token speaks for.")]
    token_id: Annotated[str, msgspec.Meta(description="Of its token.")]
    token_name: Annotated[str, msgspec.Meta(description="The token's name then.")]
    client_address: Annotated[str, msgspec.Meta(description="The other side's IP address.")]
    method: Annotated[str, msgspec.Meta(description="Of HTTP.")]
    operation: Annotated[str, msgspec.Meta(description="The operationId of this document.")]
    object: Annotated[str, msgspec.Meta(description="Its path below /api/v1, as `domains/example.org`.")]
    query: Annotated[str, msgspec.Meta(description="The query string: `dry_run=true` changes nothing.")]
    result: Annotated[
        AuditResult,
        msgspec.Meta(description="done: 2xx. refused: 4xx. failed: 5xx. unknown: under way, or its process ended."),
    ]
    status: Annotated[int | None, msgspec.Meta(description="Of HTTP; null: unknown.")]
    code: Annotated[str, msgspec.Meta(description="Of the problem; empty: none.")]
    detail: Annotated[str, msgspec.Meta(description="Of the problem, for people.")]
    traceparent: Annotated[str, msgspec.Meta(description="W3C trace context.")]
    request: Annotated[dict[str, Any] | None, msgspec.Meta(description="The body; null: none.")]
    before: Annotated[dict[str, Any] | None, msgspec.Meta(description="The object as it was; null: not there.")]
    after: Annotated[dict[str, Any] | None, msgspec.Meta(description="What was answered; null: nothing to show.")]


class AuditList(msgspec.Struct, frozen=True, kw_only=True):
    """One page of the audit log."""

    entries: Annotated[tuple[AuditResource, ...], msgspec.Meta(description="The latest first.")]
    next_after: NextAfter


@get("/audit", summary="Read the audit log", tags=["audit"], responses=REFUSALS)
async def list_audit(  # noqa: PLR0913 (each is a query parameter)
    request: ApiRequest,
    actor: Annotated[str, QueryParameter(description="Only of this actor.", max_length=512)] = "",
    object_: Annotated[
        str,
        QueryParameter(
            name="object",
            description="Only of this object, as `domains/example.org`; `domains/`: of all of them.",
            max_length=512,
        ),
    ] = "",
    operation: Annotated[str, QueryParameter(description="Only this operationId.", max_length=128)] = "",
    result: Annotated[AuditResult | None, QueryParameter(description="Only with this result.")] = None,
    since: Annotated[str, QueryParameter(description="Not older than this time, as 2026-03-01T10:00:00Z.")] = "",
    until: Annotated[str, QueryParameter(description="Older than this time.")] = "",
    after: Annotated[str, QueryParameter(description="`next_after` of the page before.", max_length=32)] = "",
    limit: Limit = DEFAULT_PAGE,
) -> AuditList:
    """Every write request of a known token, also the refused ones, the latest first."""
    if after and not _CURSOR.match(after):
        raise MailError(ErrorKind.INVALID, "after: pass next_after of a former answer")
    query = AuditQuery(
        before=int(after) if after else None,
        limit=limit + 1,
        actor=actor,
        object=object_.lower(),
        operation=operation,
        result=result,
        since_ms=read_time("since", since),
        until_ms=read_time("until", until),
    )
    rows = await backend_of(request).audit.list_audit(query)
    page = rows[:limit]
    return AuditList(
        entries=tuple(_resource(each) for each in page), next_after=str(page[-1].sequence) if len(rows) > limit else ""
    )


def _resource(row: AuditRow) -> AuditResource:
    entry, outcome = row.entry, row.outcome
    told = {name: getattr(entry, name) for name in entry.__struct_fields__ if name not in ("request", "before")}
    return AuditResource(
        **told,
        at_ms=row.at_ms,
        result=row.result,
        status=outcome.status if outcome else None,
        code=outcome.code if outcome else "",
        detail=outcome.detail if outcome else "",
        request=_read(entry.request),
        before=_read(entry.before),
        after=_read(outcome.after if outcome else ""),
    )


def _read(text: str) -> dict[str, Any] | None:
    return msgspec.json.decode(text, type=dict[str, Any]) if text else None
