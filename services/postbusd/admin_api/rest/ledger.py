"""/api/v1/ledger: the books of all accepted mail (architecture §1, promise 1), and how to settle them."""

from typing import Annotated

import msgspec
from litestar import get, post
from litestar.params import JSONBody

from postbus.contracts.delivery import SettleLedgerRequest
from postbusd.admin_api.books import Books, EdgeCheck, read_books
from postbusd.admin_api.rest.backend import DEFAULT_PAGE, ApiRequest, actor_of, backend_of
from postbusd.admin_api.rest.parameters import Limit, check_reason
from postbusd.admin_api.rest.problems import BODY_REFUSALS, REFUSALS


class MissingResource(msgspec.Struct, frozen=True, kw_only=True):
    """An accepted message that is nowhere."""

    stream_sequence: Annotated[int, msgspec.Meta(description="Its number in the stream of accepted mail.")]
    queue_id: Annotated[str, msgspec.Meta(description="As the stream says; empty: the stream holds it no more.")]
    accepted_ms: Annotated[int, msgspec.Meta(description="When we took it, Unix time in milliseconds; 0: not known.")]


class ClashResource(msgspec.Struct, frozen=True, kw_only=True):
    """Two messages with one stream sequence: the stream was lost or restored. Both are accounted for."""

    stream_sequence: Annotated[int, msgspec.Meta(description="The number that both have.")]
    queue_id: Annotated[str, msgspec.Meta(description="Of the later message.")]
    first_queue_id: Annotated[str, msgspec.Meta(description="Of the first one.")]
    seen_ms: Annotated[int, msgspec.Meta(description="When the later one came, Unix time in milliseconds.")]


class EdgeResource(msgspec.Struct, frozen=True, kw_only=True):
    """What smtp-edge counts, read before the books. Of the one process that answered, since its start."""

    checked: Annotated[bool, msgspec.Meta(description="Whether the counters could be held against the stream.")]
    reason: Annotated[str, msgspec.Meta(description="Why they could not; empty when they were.")]
    instance_id: Annotated[str, msgspec.Meta(description="Which process; empty: none answered.")] = ""
    started_ms: Annotated[int, msgspec.Meta(description="When it started, Unix time in milliseconds.")] = 0
    accepted: Annotated[int, msgspec.Meta(description="Messages answered with 250 after DATA.")] = 0
    refused: Annotated[int, msgspec.Meta(description="Messages refused with 5xx at end of DATA.")] = 0
    deferred: Annotated[int, msgspec.Meta(description="Messages answered with 4xx at end of DATA.")] = 0
    first_stream_sequence: Annotated[int, msgspec.Meta(description="The lowest that it was given; 0: none.")] = 0
    last_stream_sequence: Annotated[int, msgspec.Meta(description="The highest that it was given; 0: none.")] = 0


class LedgerResource(msgspec.Struct, frozen=True, kw_only=True):
    """The books: accepted = folder + queued + held + dsn + written_off + unconsumed + missing_count."""

    balanced: Annotated[
        bool, msgspec.Meta(description="True when the equation holds, nothing is missing and there is no alarm.")
    ]
    alarms: Annotated[tuple[str, ...], msgspec.Meta(description="What must not be, for people.")]
    at_ms: Annotated[int, msgspec.Meta(description="When the books were read, Unix time in milliseconds.")]
    accepted: Annotated[int, msgspec.Meta(description="All messages that the stream has ever taken.")]
    folder: Annotated[int, msgspec.Meta(description="Of these, stored in mailboxes of ours.")]
    queued: Annotated[int, msgspec.Meta(description="Went to the outgoing queue.")]
    held: Annotated[int, msgspec.Meta(description="Dead letters, kept until somebody retries or discards them.")]
    dsn: Annotated[int, msgspec.Meta(description="Could not be delivered: answered with a DSN.")]
    written_off: Annotated[int, msgspec.Meta(description="Given up by an administrator.")]
    unconsumed: Annotated[int, msgspec.Meta(description="Still on the bus: delivery comes to them.")]
    missing_count: Annotated[int, msgspec.Meta(description="In none of these places.")]
    missing: Annotated[tuple[MissingResource, ...], msgspec.Meta(description="The first of them, up to `limit`.")]
    clash_count: Annotated[int, msgspec.Meta(description="Stream sequences that came with two queue ids.")]
    clashes: Annotated[tuple[ClashResource, ...], msgspec.Meta(description="The first of them, up to `limit`.")]
    stream_created_ms: Annotated[int, msgspec.Meta(description="Identifies the stream: another value is another one.")]
    first_sequence: Annotated[int, msgspec.Meta(description="The oldest message that the stream still holds.")]
    last_sequence: Annotated[int, msgspec.Meta(description="The latest that it took; 0: none yet.")]
    smtp_edge: Annotated[EdgeResource, msgspec.Meta(description="The other witness: what smtp-edge counts.")]


class SettlementBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Closes what is wrong with the books now."""

    reason: Annotated[str, msgspec.Meta(description="Why; kept with the name of who asked. Up to 500 characters.")]
    dry_run: Annotated[bool, msgspec.Meta(description="Only say what would be settled.")] = False


class Settlement(msgspec.Struct, frozen=True, kw_only=True):
    """What was settled."""

    missing: Annotated[int, msgspec.Meta(description="Missing messages that were, in a dry run would be, written off.")]
    clashes: Annotated[int, msgspec.Meta(description="Clashes that were, or would be, closed.")]
    alarms: Annotated[tuple[str, ...], msgspec.Meta(description="Alarms that were, or would be, closed.")]
    dry_run: Annotated[bool, msgspec.Meta(description="Nothing was changed.")]


@get("/ledger", summary="The books of accepted mail", tags=["ledger"], responses=REFUSALS)
async def get_ledger(request: ApiRequest, limit: Limit = DEFAULT_PAGE) -> LedgerResource:
    """Exact at the moment of the answer. `limit` bounds the lists of what is missing and of clashes, not the counts."""
    backend = backend_of(request)
    return _resource(await read_books(backend.books, backend.edge, limit))


@post(
    "/ledger/settlements",
    summary="Write off what is missing",
    tags=["ledger"],
    status_code=200,
    responses=BODY_REFUSALS,
)
async def settle_ledger(request: ApiRequest, data: JSONBody[SettlementBody]) -> Settlement:
    """Writes off what is missing now and closes the ledger's alarms, for good, with who asked and why.

    The alarms of the comparison with smtp-edge stay until smtp-edge has started anew.
    """
    reply = await backend_of(request).books.settle_ledger(
        SettleLedgerRequest(
            actor=actor_of(request), reason=check_reason(data.reason, required=True), dry_run=data.dry_run
        )
    )
    return Settlement(missing=reply.missing, clashes=reply.clashes, alarms=reply.alarms, dry_run=data.dry_run)


def _resource(books: Books) -> LedgerResource:
    ledger = books.ledger
    counts = {name: getattr(ledger, name) for name in LedgerResource.__struct_fields__ if hasattr(ledger, name)}
    lists = {
        "missing": msgspec.convert(ledger.missing, tuple[MissingResource, ...], from_attributes=True),
        "clashes": msgspec.convert(ledger.clashes, tuple[ClashResource, ...], from_attributes=True),
        "alarms": books.alarms,
    }
    return LedgerResource(**{**counts, **lists}, balanced=books.balanced, smtp_edge=_edge(books.edge))


def _edge(edge: EdgeCheck) -> EdgeResource:
    bare = EdgeResource(checked=edge.checked, reason=edge.reason)
    if edge.counters is None:
        return bare
    told = msgspec.structs.asdict(edge.counters)
    return msgspec.structs.replace(
        bare, **{name: told[name] for name in EdgeResource.__struct_fields__ if name in told}
    )
