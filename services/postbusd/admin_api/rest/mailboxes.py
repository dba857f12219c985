"""/api/v1/mailboxes."""

import enum
from typing import Annotated, Any

import msgspec
from litestar import Response, delete, get, patch, put
from litestar.openapi import ResponseSpec
from litestar.params import JSONBody, QueryParameter

from postbus.contracts.condition import Condition
from postbus.contracts.directory import (
    DOMAINS_QUOTA,
    Addresses,
    ListMailboxesRequest,
    PutMailboxRequest,
)
from postbus.contracts.mailboxes import Mailbox
from postbus.contracts.objects import DeleteRequest, ObjectRequest
from postbus.contracts.owners import Owner, OwnerKind
from postbusd.admin_api.rest.backend import DEFAULT_PAGE, ApiRequest, actor_of, backend_of, token_of
from postbusd.admin_api.rest.changes import (
    IfMatch,
    OnlyPlan,
    Patch,
    Plan,
    answer,
    condition_of,
    find,
    patch_object,
    tagged,
)
from postbusd.admin_api.rest.parameters import (
    AddressPath,
    After,
    Deletion,
    DryRun,
    Limit,
    NextAfter,
    OfDomain,
    PasswordHash,
    Sort,
    SortBy,
    WithText,
    deletion,
)
from postbusd.admin_api.rest.problems import BODY_REFUSALS, REFUSALS
from postbusd.admin_api.rest.users import end_leftover_tokens


class MailboxContent(enum.StrEnum):
    """What becomes of the mail of a mailbox that is deleted."""

    ARCHIVE = "archive"
    PURGE = "purge"


Content = Annotated[MailboxContent, QueryParameter(description="What becomes of its mail.")]


class OwnerBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Whose passwords open a mailbox."""

    kind: Annotated[OwnerKind, msgspec.Meta(description="What the owner is.")]
    name: Annotated[str, msgspec.Meta(description="The user's, group's or app's name.")]


class MailboxBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a mailbox is to be; what is left out gets its default, only password and owner stay."""

    password: Annotated[
        str | None,
        msgspec.Meta(
            description="Write-only. Of the user named by the mailbox's address, who is made with a new mailbox that "
            "names no owner; needed then. null leaves it as it is.",
            extra_json_schema={"extra": {"write_only": True}},
        ),
    ] = None
    password_hash: PasswordHash = ""
    active: Annotated[bool, msgspec.Meta(description="Off: no login, and mail to it is refused.")] = True
    quota_octets: Annotated[
        Annotated[int, msgspec.Meta(ge=0)] | None,
        msgspec.Meta(description="null: the default of its domain; 0: unlimited."),
    ] = None
    pop3: Annotated[bool, msgspec.Meta(description="Whether it may be read by POP3.")] = False
    send_as: Annotated[
        tuple[str, ...], msgspec.Meta(description="Addresses of ours that it may send as, besides its own.")
    ] = ()
    owner: Annotated[OwnerBody | None, msgspec.Meta(description="null leaves it as it is.")] = None


class OwnerResource(msgspec.Struct, frozen=True, kw_only=True):
    """The owner of a mailbox."""

    kind: Annotated[OwnerKind, msgspec.Meta(description="What the owner is.")]
    name: Annotated[str, msgspec.Meta(description="The user's, group's or app's name.")]


class MailboxResource(msgspec.Struct, frozen=True, kw_only=True):
    """A mailbox; its password is never shown."""

    mailbox_id: Annotated[str, msgspec.Meta(description="Stays the same for ever.")]
    address: Annotated[str, msgspec.Meta(description="Lower case.")]
    active: Annotated[bool, msgspec.Meta(description="Off: no login, and mail to it is refused.")]
    quota_octets: Annotated[
        int | None, msgspec.Meta(description="Of its own; null: the default of its domain; 0: unlimited.")
    ]
    effective_quota_octets: Annotated[int | None, msgspec.Meta(description="What holds; null: unlimited.")]
    pop3: Annotated[bool, msgspec.Meta(description="Whether it may be read by POP3.")]
    send_as: Annotated[tuple[str, ...], msgspec.Meta(description="Addresses that it may send as, besides its own.")]
    used_octets: Annotated[int, msgspec.Meta(description="What it stores.")]
    owner: Annotated[OwnerResource | None, msgspec.Meta(description="Whose passwords open it.")]


class MailboxList(msgspec.Struct, frozen=True, kw_only=True):
    """One page of mailboxes."""

    mailboxes: Annotated[tuple[MailboxResource, ...], msgspec.Meta(description="In the order of their names.")]
    next_after: NextAfter


@put(
    "/mailboxes/{address:str}",
    summary="Create or replace a mailbox",
    tags=["mailboxes"],
    responses={**BODY_REFUSALS, 201: ResponseSpec(data_container=MailboxResource, description="The mailbox is new.")},
)
async def put_mailbox(
    request: ApiRequest,
    address: AddressPath,
    data: JSONBody[MailboxBody],
    if_match: IfMatch = "",
    plan: OnlyPlan = False,
) -> Response[MailboxResource | Plan]:
    """Idempotent. The domain and the owner must exist."""
    return await _put(request, address, data, condition_of(if_match, plan))


@patch(
    "/mailboxes/{address:str}",
    summary="Change a mailbox",
    tags=["mailboxes"],
    status_code=200,
    responses=BODY_REFUSALS,
)
async def patch_mailbox(
    request: ApiRequest,
    address: AddressPath,
    data: JSONBody[Patch],
    if_match: IfMatch = "",
    plan: OnlyPlan = False,
) -> Response[MailboxResource | Plan]:
    """A JSON merge patch (RFC 7396): what it leaves out stays, null gives a field its default."""
    return await patch_object(
        lambda: _get(request, address),
        show_mailbox,
        MailboxBody,
        data,
        condition_of(if_match, plan),
        lambda body, condition: _put(request, address, body, condition),
    )


@get("/mailboxes", summary="List mailboxes", tags=["mailboxes"], responses=REFUSALS)
async def list_mailboxes(
    request: ApiRequest,
    of_domain: OfDomain = "",
    after: After = "",
    limit: Limit = DEFAULT_PAGE,
    text: WithText = "",
    sort: Sort = SortBy.NAME,
) -> MailboxList:
    """In the order of their addresses."""
    reply = await backend_of(request).directory.list_mailboxes(
        ListMailboxesRequest(
            actor=actor_of(request),
            domain=of_domain,
            after=after,
            limit=limit,
            text=text,
            descending=sort is SortBy.NAME_DESCENDING,
        )
    )
    return MailboxList(mailboxes=tuple(show_mailbox(each) for each in reply.mailboxes), next_after=reply.next_after)


@get("/mailboxes/{address:str}", summary="Show a mailbox", tags=["mailboxes"], responses=REFUSALS)
async def get_mailbox(request: ApiRequest, address: AddressPath) -> Response[MailboxResource]:
    """By its own address."""
    found = await _get(request, address)
    return tagged(found, show_mailbox(found))


@delete("/mailboxes/{address:str}", summary="End a mailbox", tags=["mailboxes"], status_code=200, responses=REFUSALS)
async def delete_mailbox(
    request: ApiRequest,
    address: AddressPath,
    dry_run: DryRun = False,
    content: Content = MailboxContent.ARCHIVE,
    if_match: IfMatch = "",
) -> Deletion:
    """Its aliases end with it. Its mail is kept where nobody reads it, see archived mailboxes, or goes for good."""
    wanted = DeleteRequest(
        name=address,
        actor=actor_of(request),
        dry_run=dry_run,
        condition=condition_of(if_match),
        purge=content is MailboxContent.PURGE,
    )
    backend = backend_of(request)
    reply = await backend.directory.delete_mailbox(wanted)
    if not dry_run and f"user {address.lower()}" in reply.deleted:
        await backend.token_desk.delete_of(token_of(request).actor, address.lower())
    return deletion(reply, dry_run)


async def _put(request: ApiRequest, address: str, body: MailboxBody, condition: Condition) -> Response[Any]:
    before = await find(_get(request, address)) if condition.plan else None
    if not condition.plan and (body.password is not None or body.password_hash):
        await end_leftover_tokens(request, address)
    reply = await backend_of(request).directory.put_mailbox(
        PutMailboxRequest(
            address=address,
            actor=actor_of(request),
            password=body.password,
            password_hash=body.password_hash,
            active=body.active,
            quota_octets=DOMAINS_QUOTA if body.quota_octets is None else body.quota_octets,
            pop3=body.pop3,
            send_as=Addresses(addresses=body.send_as),
            owner=None if body.owner is None else Owner(kind=body.owner.kind, name=body.owner.name),
            condition=condition,
        )
    )
    secrets = ["password"] if body.password is not None or body.password_hash else []
    return answer(condition, show_mailbox, before, reply.mailbox, created=reply.created, secrets=secrets)


async def _get(request: ApiRequest, address: str) -> Mailbox:
    return await backend_of(request).directory.get_mailbox(ObjectRequest(name=address, actor=actor_of(request)))


def show_mailbox(mailbox: Mailbox) -> MailboxResource:
    """For an answer."""
    return msgspec.convert(mailbox, MailboxResource, from_attributes=True)
