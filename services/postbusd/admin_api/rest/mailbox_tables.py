"""/api/v1/mailboxes/export and /import: many mailboxes as CSV or JSON."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Annotated

import msgspec
from litestar import get, post
from litestar.exceptions import HTTPException, InternalServerException
from litestar.openapi import ResponseSpec
from litestar.openapi.spec import Example, OpenAPIMediaType, OpenAPIResponse, Operation, RequestBody, Schema
from litestar.openapi.spec.enums import OpenAPIType
from litestar.params import QueryParameter
from litestar.response import Stream

from postbus.contracts.bulk import ExportMailboxesRequest, ImportMailboxesRequest, MailboxRow, RowAction, RowResult
from postbus.core.errors import ErrorKind, MailError
from postbusd.admin_api.mailbox_tables import (
    MEDIA_TYPES,
    TableForm,
    TableRow,
    TableWriter,
    open_table,
)
from postbusd.admin_api.rest.backend import MAX_PAGE, ApiRequest, actor_of, backend_of
from postbusd.admin_api.rest.parameters import OfDomain
from postbusd.admin_api.rest.problems import BODY_REFUSALS, REFUSALS

MAX_TABLE_OCTETS = 16 * 1024 * 1024
_FORMS = {"text/csv": TableForm.CSV, "application/json": TableForm.JSON}
_CSV_EXAMPLE = "name,domain,owner,owner type,aliases,active\r\nkim,example.org,kim,user,info sales@example.net,true\r\n"


_TEXT = Schema(type=OpenAPIType.STRING)
_LINES = Schema(description="Rows; one that can't be read is told as such.")
_ROWS = Schema(type=OpenAPIType.ARRAY, items=Schema(description="A mailbox; one that can't be read is told as such."))


class RowReport(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one row."""

    number: Annotated[int, msgspec.Meta(description="Of the row, from 1, the header not counted.")]
    address: Annotated[str, msgspec.Meta(description="As the row has it; empty: it can't be read.")]
    action: Annotated[RowAction, msgspec.Meta(description="What was done, or would be where nothing is written.")]
    code: Annotated[ErrorKind | None, msgspec.Meta(description="Why it was refused, for programs.")]
    detail: Annotated[str, msgspec.Meta(description="The field and the reason, for people.")]


class ImportReport(msgspec.Struct, frozen=True, kw_only=True):
    """What an import did."""

    written: Annotated[
        bool, msgspec.Meta(description="false: nothing was written: a plan, or `atomic` and a row was refused.")
    ]
    created: Annotated[int, msgspec.Meta(description="New mailboxes.")]
    changed: Annotated[int, msgspec.Meta(description="Mailboxes that are another now.")]
    unchanged: Annotated[int, msgspec.Meta(description="Mailboxes that were so already.")]
    refused: Annotated[int, msgspec.Meta(description="Rows that were not written.")]
    rows: Annotated[tuple[RowReport, ...], msgspec.Meta(description="In the order of the table.")]


@dataclass
class ImportOperation(Operation):
    """The document of an operation whose body is read as it comes."""

    def __post_init__(self) -> None:
        """A table in one of two forms."""
        self.request_body = RequestBody(
            required=True,
            description="CSV: name, domain, owner, owner type and perhaps aliases and active, with or without a "
            "header. JSON: an array of {name, domain, owner, ownerType, aliases [{name, domain}], active}.",
            content={
                "text/csv": OpenAPIMediaType(schema=_LINES, examples={"one": Example(value=_CSV_EXAMPLE)}),
                "application/json": OpenAPIMediaType(schema=_ROWS),
            },
        )


@dataclass
class ExportOperation(Operation):
    """The document of an operation that answers in one of two forms."""

    def __post_init__(self) -> None:
        """Both."""
        answer = (self.responses or {})["200"]
        assert isinstance(answer, OpenAPIResponse)
        answer.content = {
            MEDIA_TYPES[TableForm.CSV]: OpenAPIMediaType(schema=_TEXT),
            MEDIA_TYPES[TableForm.JSON]: OpenAPIMediaType(schema=_ROWS),
        }


@post(
    "/mailboxes/import",
    summary="Import mailboxes",
    tags=["mailboxes"],
    status_code=200,
    responses=BODY_REFUSALS,
    request_max_body_size=MAX_TABLE_OCTETS,
    operation_class=ImportOperation,
    streams_body=True,
)
async def import_mailboxes(
    request: ApiRequest,
    atomic: Annotated[bool, QueryParameter(description="Write nothing when any row is refused.")] = False,
    plan: Annotated[bool, QueryParameter(description="Only say what would be done.")] = False,
) -> ImportReport:
    """Brings each mailbox to what its row says: owner, aliases (exactly these), active. Idempotent.

    A refused row keeps no other out, unless `atomic` says so. Owners must exist. At most 20,000 rows; one import at a
    time.
    """
    state = request.app.state
    if state.get("importing"):
        raise MailError(ErrorKind.CONFLICT, "another import is under way: try again when it has ended")
    state.importing = True
    try:
        return await _import(request, await _read_table(request), atomic=atomic, plan=plan)
    finally:
        state.importing = False


@get(
    "/mailboxes/export",
    summary="Export mailboxes",
    tags=["mailboxes"],
    responses={
        **REFUSALS,
        200: ResponseSpec(data_container=str, description="The table.", media_type=MEDIA_TYPES[TableForm.CSV]),
    },
    operation_class=ExportOperation,
)
async def export_mailboxes(
    request: ApiRequest,
    table_format: Annotated[TableForm, QueryParameter(name="format", description="`csv` or `json`.")] = TableForm.CSV,
    of_domain: OfDomain = "",
) -> Stream:
    """What an import takes, in the order of the addresses."""
    first = await _export_page(request, of_domain, "")

    async def pages() -> AsyncIterator[bytes]:
        writer, page = TableWriter(table_format), first
        while True:
            rows, after = page
            yield writer.write(rows, last=not after)
            if not after:
                return
            page = await _export_page(request, of_domain, after)

    headers = {"Content-Disposition": f'attachment; filename="mailboxes.{table_format.value}"'}
    return Stream(pages(), media_type=MEDIA_TYPES[table_format], headers=headers)


async def _export_page(request: ApiRequest, domain: str, after: str) -> tuple[tuple[MailboxRow, ...], str]:
    reply = await backend_of(request).directory.export_mailboxes(
        ExportMailboxesRequest(actor=actor_of(request), domain=domain, after=after, limit=MAX_PAGE)
    )
    return reply.rows, reply.next_after


async def _read_table(request: ApiRequest) -> list[TableRow]:
    """Row by row as it comes: the text is never held as a whole. Raises MailError: INVALID, LIMIT."""
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    form = _FORMS.get(media_type)
    if form is None:
        raise HTTPException(f"send the table as {' or '.join(_FORMS)}", status_code=415)
    reader = open_table(form)
    rows: list[TableRow] = []
    try:
        async for chunk in request.stream():
            rows.extend(reader.feed(chunk))
    except InternalServerException as error:  # what the framework calls a client that went away
        raise MailError(ErrorKind.INVALID, "the body is not complete") from error
    rows.extend(reader.close())
    if not rows:
        raise MailError(ErrorKind.INVALID, "the table has no row")
    return _without_doubles(rows)


def _without_doubles(rows: list[TableRow]) -> list[TableRow]:
    """Of several rows of one mailbox the first counts: what they want together can't be told."""
    first: dict[str, int] = {}
    kept = []
    for each in rows:
        name = each.address.lower()
        if each.row is not None and name in first:
            problem = f"address: row {first[name]} has it too"
            kept.append(TableRow(number=each.number, address=each.address, problem=problem))
            continue
        first.setdefault(name, each.number)
        kept.append(each)
    return kept


async def _import(request: ApiRequest, rows: list[TableRow], *, atomic: bool, plan: bool) -> ImportReport:
    sound = [each.row for each in rows if each.row is not None]
    stopped = atomic and len(sound) < len(rows)
    reply = await backend_of(request).directory.import_mailboxes(
        ImportMailboxesRequest(rows=tuple(sound), actor=actor_of(request), atomic=atomic, plan=plan or stopped)
    )
    results = iter(reply.results)
    reports = [_report(each, next(results) if each.row is not None else None) for each in rows]
    counts = {action.value: sum(each.action is action for each in reports) for action in RowAction}
    return ImportReport(written=reply.written, rows=tuple(reports), **counts)


def _report(row: TableRow, result: RowResult | None) -> RowReport:
    if result is None:
        result = RowResult(action=RowAction.REFUSED, kind=ErrorKind.INVALID, detail=row.problem)
    return RowReport(
        number=row.number, address=row.address, action=result.action, code=result.kind, detail=result.detail
    )
