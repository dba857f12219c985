"""/api/v1/mailboxes/{address}/rename and /usage, /api/v1/archived-mailboxes."""

from typing import Annotated

import msgspec
from litestar import Response, delete, get, post
from litestar.openapi import ResponseSpec
from litestar.params import JSONBody, PathParameter, QueryParameter

from postbus.contracts.mailbox_life import (
    ArchivedMailbox,
    ListArchivedRequest,
    PurgeMailboxRequest,
    RenameMailboxRequest,
    RestoreMailboxRequest,
    UsageRequest,
)
from postbus.contracts.owners import Owner
from postbusd.admin_api.rest.backend import DEFAULT_PAGE, ApiRequest, actor_of, backend_of
from postbusd.admin_api.rest.changes import IfMatch, condition_of, tagged
from postbusd.admin_api.rest.mailboxes import MailboxResource, OwnerBody, OwnerResource, show_mailbox
from postbusd.admin_api.rest.parameters import (
    AddressPath,
    After,
    Deletion,
    DryRun,
    Limit,
    NextAfter,
    OfDomain,
)
from postbusd.admin_api.rest.problems import BODY_REFUSALS, REFUSALS

MailboxIdPath = Annotated[str, PathParameter(description="The mailbox's id, which stays the same for ever.")]


class RenameBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Another address."""

    address: Annotated[str, msgspec.Meta(description="The new one, of any domain here.")]
    keep_alias: Annotated[bool, msgspec.Meta(description="The old address becomes an alias.")] = False


class FolderUsageResource(msgspec.Struct, frozen=True, kw_only=True):
    """What a folder holds."""

    name: Annotated[str, msgspec.Meta(description="With `/` between levels.")]
    messages: Annotated[int, msgspec.Meta(description="All.")]
    unseen: Annotated[int, msgspec.Meta(description="Not read.")]
    octets: Annotated[int, msgspec.Meta(description="Together.")]


class UsageResource(msgspec.Struct, frozen=True, kw_only=True):
    """What a mailbox holds; a message in two folders counts twice, as for the quota."""

    address: Annotated[str, msgspec.Meta(description="Of the mailbox.")]
    messages: Annotated[int, msgspec.Meta(description="In all folders.")]
    octets: Annotated[int, msgspec.Meta(description="Of all folders.")]
    quota_octets: Annotated[int | None, msgspec.Meta(description="What holds; null: unlimited.")]
    folders: Annotated[tuple[FolderUsageResource, ...], msgspec.Meta(description="INBOX first, then by name.")]


class ArchivedResource(msgspec.Struct, frozen=True, kw_only=True):
    """A deleted mailbox whose mail is still there."""

    mailbox_id: Annotated[str, msgspec.Meta(description="To restore or purge it by.")]
    address: Annotated[str, msgspec.Meta(description="That it had.")]
    owner: Annotated[OwnerResource | None, msgspec.Meta(description="That it had; null: not known any more.")]
    deleted_ms: Annotated[int, msgspec.Meta(description="When it was deleted, Unix time in milliseconds.")]
    purge_ms: Annotated[
        int | None, msgspec.Meta(description="When its mail goes for good; null: not by itself (`archive_days`).")
    ]
    purging: Annotated[bool, msgspec.Meta(description="It is going now: it can't be restored.")]
    messages: Annotated[int, msgspec.Meta(description="That are left.")]
    octets: Annotated[int, msgspec.Meta(description="That are left.")]


class ArchivedList(msgspec.Struct, frozen=True, kw_only=True):
    """One page of archived mailboxes."""

    archived_mailboxes: Annotated[tuple[ArchivedResource, ...], msgspec.Meta(description="In the order of their ids.")]
    next_after: NextAfter


class RestoreBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How it comes back."""

    address: Annotated[str, msgspec.Meta(description="Empty: the one that it had.")] = ""
    owner: Annotated[OwnerBody | None, msgspec.Meta(description="null: the one that it had.")] = None


@post(
    "/mailboxes/{address:str}/rename",
    summary="Give a mailbox another address",
    tags=["mailboxes"],
    status_code=200,
    responses=BODY_REFUSALS,
)
async def rename_mailbox(
    request: ApiRequest, address: AddressPath, data: JSONBody[RenameBody], if_match: IfMatch = ""
) -> Response[MailboxResource]:
    """Mail, folders, aliases, grants and owner stay; one logs in with the new address from now on."""
    reply = await backend_of(request).directory.rename_mailbox(
        RenameMailboxRequest(
            address=address,
            new_address=data.address,
            actor=actor_of(request),
            keep_alias=data.keep_alias,
            condition=condition_of(if_match),
        )
    )
    return tagged(reply.mailbox, show_mailbox(reply.mailbox))


@get("/mailboxes/{address:str}/usage", summary="What a mailbox holds", tags=["mailboxes"], responses=REFUSALS)
async def get_mailbox_usage(request: ApiRequest, address: AddressPath) -> UsageResource:
    """Messages and octets, by folder."""
    found = await backend_of(request).directory.get_usage(UsageRequest(address=address, actor=actor_of(request)))
    return msgspec.convert(found, UsageResource, from_attributes=True)


@get("/archived-mailboxes", summary="List archived mailboxes", tags=["mailboxes"], responses=REFUSALS)
async def list_archived_mailboxes(
    request: ApiRequest,
    of_domain: OfDomain = "",
    address: Annotated[str, QueryParameter(description="Only those that had this address.")] = "",
    after: After = "",
    limit: Limit = DEFAULT_PAGE,
) -> ArchivedList:
    """Deleted mailboxes whose mail is still there."""
    reply = await backend_of(request).directory.list_archived(
        ListArchivedRequest(actor=actor_of(request), domain=of_domain, address=address, after=after, limit=limit)
    )
    return ArchivedList(
        archived_mailboxes=tuple(
            msgspec.convert(each, ArchivedResource, from_attributes=True) for each in reply.mailboxes
        ),
        next_after=reply.next_after,
    )


@post(
    "/archived-mailboxes/{mailbox_id:str}/restore",
    summary="Restore a deleted mailbox",
    tags=["mailboxes"],
    status_code=201,
    responses={**BODY_REFUSALS, 201: ResponseSpec(data_container=MailboxResource, description="It is there again.")},
)
async def restore_mailbox(
    request: ApiRequest, mailbox_id: MailboxIdPath, data: JSONBody[RestoreBody]
) -> Response[MailboxResource]:
    """Mail, folders and UIDs are as they were; aliases and catch-all entries are not."""
    reply = await backend_of(request).directory.restore_mailbox(
        RestoreMailboxRequest(
            mailbox_id=mailbox_id,
            actor=actor_of(request),
            address=data.address,
            owner=None if data.owner is None else Owner(kind=data.owner.kind, name=data.owner.name),
        )
    )
    return tagged(reply.mailbox, show_mailbox(reply.mailbox), created=True)


@delete(
    "/archived-mailboxes/{mailbox_id:str}",
    summary="Purge a deleted mailbox",
    tags=["mailboxes"],
    status_code=200,
    responses=REFUSALS,
)
async def purge_mailbox(request: ApiRequest, mailbox_id: MailboxIdPath, dry_run: DryRun = False) -> Deletion:
    """Its mail goes for good, beginning now; the list of archived mailboxes shows what is left."""
    reply = await backend_of(request).directory.purge_mailbox(
        PurgeMailboxRequest(mailbox_id=mailbox_id, actor=actor_of(request), dry_run=dry_run)
    )
    return Deletion(deleted=(_line(reply.mailbox),), dry_run=dry_run)


def _line(archived: ArchivedMailbox) -> str:
    return f"mail of deleted mailbox {archived.address}: {archived.messages} messages of {archived.octets} octets"
