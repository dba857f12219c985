"""/api/v1/mailboxes."""

from typing import Annotated

import msgspec
from litestar import Response, get, put
from litestar.openapi import ResponseSpec
from litestar.params import FromPath, JSONBody, QueryParameter

from postbus.contracts.directory import ListMailboxesRequest, Mailbox, PutMailboxRequest
from postbusd.admin_api.rest.backend import DEFAULT_PAGE, MAX_PAGE, ApiRequest, actor_of, backend_of
from postbusd.admin_api.rest.problems import REFUSALS


class MailboxBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a mailbox is to be."""

    password: Annotated[
        str | None, msgspec.Meta(description="Needed for a new mailbox; null leaves an existing one's as it is.")
    ] = None
    active: Annotated[bool, msgspec.Meta(description="Off: no login, and mail to it is refused.")] = True
    quota_octets: Annotated[int | None, msgspec.Meta(description="null: unlimited.")] = None


class MailboxResource(msgspec.Struct, frozen=True, kw_only=True):
    """A mailbox; its password is never shown."""

    mailbox_id: str
    address: str
    active: bool
    quota_octets: int | None


class MailboxList(msgspec.Struct, frozen=True, kw_only=True):
    """One page of mailboxes."""

    mailboxes: tuple[MailboxResource, ...]
    next_after: Annotated[str, msgspec.Meta(description="Pass as `after` for the next page; empty: the last one.")]


@put(
    "/mailboxes/{address:str}",
    summary="Create or replace a mailbox",
    tags=["mailboxes"],
    responses={**REFUSALS, 201: ResponseSpec(data_container=MailboxResource, description="The mailbox is new.")},
)
async def put_mailbox(
    request: ApiRequest, address: FromPath[str], data: JSONBody[MailboxBody]
) -> Response[MailboxResource]:
    """Idempotent. The domain must exist."""
    reply = await backend_of(request).directory.put_mailbox(
        PutMailboxRequest(
            address=address,
            actor=actor_of(request),
            password=data.password,
            active=data.active,
            quota_octets=data.quota_octets or 0,
        )
    )
    return Response(_resource(reply.mailbox), status_code=201 if reply.created else 200)


@get("/mailboxes", summary="List mailboxes", tags=["mailboxes"], responses=REFUSALS)
async def list_mailboxes(
    request: ApiRequest,
    domain: Annotated[str, QueryParameter(description="Only those of this domain.")] = "",
    after: Annotated[str, QueryParameter(description="Only addresses above this one.")] = "",
    limit: Annotated[int, QueryParameter(ge=1, le=MAX_PAGE)] = DEFAULT_PAGE,
) -> MailboxList:
    """In the order of their addresses."""
    reply = await backend_of(request).directory.list_mailboxes(
        ListMailboxesRequest(actor=actor_of(request), domain=domain, after=after, limit=limit)
    )
    return MailboxList(mailboxes=tuple(_resource(each) for each in reply.mailboxes), next_after=reply.next_after)


def _resource(mailbox: Mailbox) -> MailboxResource:
    return MailboxResource(
        mailbox_id=mailbox.mailbox_id,
        address=mailbox.address,
        active=mailbox.active,
        quota_octets=mailbox.quota_octets,
    )
