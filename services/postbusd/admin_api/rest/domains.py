"""/api/v1/domains."""

from typing import Annotated, Any

import msgspec
from litestar import Response, delete, get, patch, put
from litestar.openapi import ResponseSpec
from litestar.params import JSONBody

from postbus.contracts.condition import Condition
from postbus.contracts.domains import Domain, ListDomainsRequest, PutDomainRequest
from postbus.contracts.objects import DeleteRequest, ObjectRequest
from postbus.contracts.relays import Relay, RelaySecurity
from postbus.core.errors import ErrorKind, MailError
from postbusd.admin_api.rest.backend import DEFAULT_PAGE, ApiRequest, actor_of, backend_of
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
    After,
    Deletion,
    DryRun,
    Limit,
    NamePath,
    NextAfter,
    Sort,
    SortBy,
    WithText,
    deletion,
)
from postbusd.admin_api.rest.problems import BODY_REFUSALS, REFUSALS


class RelayBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The smart host that takes a domain's outgoing mail."""

    host: Annotated[str, msgspec.Meta(description="Its name.", min_length=1, max_length=255)]
    port: Annotated[int, msgspec.Meta(description="Its port.", ge=1, le=65_535)] = 587
    security: Annotated[
        RelaySecurity,
        msgspec.Meta(description="starttls and tls want a valid certificate; none never goes with a password."),
    ] = RelaySecurity.STARTTLS
    username: Annotated[str, msgspec.Meta(description="Empty: no login.", max_length=256)] = ""
    password: Annotated[
        str,
        msgspec.Meta(
            description="Write-only. Left out or empty, that of the same host and username is kept.",
            max_length=1024,
            extra_json_schema={"extra": {"write_only": True}},
        ),
    ] = ""


class RelayResource(msgspec.Struct, frozen=True, kw_only=True):
    """A smart host; its password is never shown."""

    host: Annotated[str, msgspec.Meta(description="Its name.")]
    port: Annotated[int, msgspec.Meta(description="Its port.")]
    security: Annotated[RelaySecurity, msgspec.Meta(description="How it is spoken to.")]
    username: Annotated[str, msgspec.Meta(description="Empty: no login.")]


class SignatureBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What goes under every submitted message of the domain, but for signed and encrypted ones."""

    text: Annotated[str, msgspec.Meta(description="Under plain text.", max_length=20_000)]
    html: Annotated[
        str,
        msgspec.Meta(
            description="A fragment, at the end of the body of HTML; empty: made of the text.", max_length=100_000
        ),
    ] = ""


class DomainBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a domain is to be; what is left out gets its default."""

    incoming: Annotated[bool, msgspec.Meta(description="Whether mail is received for it.")] = False
    catch_all: Annotated[
        tuple[str, ...],
        msgspec.Meta(description="Addresses of mailboxes that get what nobody else takes; none: it is refused."),
    ] = ()
    relay: Annotated[
        RelayBody | None,
        msgspec.Meta(description="The smart host of its outgoing mail; null: to the recipients' MX."),
    ] = None
    masquerading: Annotated[
        bool, msgspec.Meta(description="On: who logs in with one of its mailboxes may send as any address of it.")
    ] = False
    alias_of: Annotated[
        str,
        msgspec.Meta(
            description="Another domain of ours: every address of this one means the same name there. Superadmins only."
        ),
    ] = ""
    suspended: Annotated[
        bool, msgspec.Meta(description="On: mail for it is refused, nobody logs in. Superadmins only.")
    ] = False
    quota_octets: Annotated[
        int | None,
        msgspec.Meta(description="What its mailboxes may be granted together; null: unlimited. Superadmins only."),
    ] = None
    default_quota_octets: Annotated[
        int | None, msgspec.Meta(description="Of its mailboxes without a quota of their own; null: unlimited.")
    ] = None
    max_message_octets: Annotated[
        int | None, msgspec.Meta(description="The largest message for it; null: what the policy says.")
    ] = None
    mail_host: Annotated[
        str,
        msgspec.Meta(
            description="The mail server's location: its MX and what its people connect to; empty: the policy's. "
            "Superadmins only."
        ),
    ] = ""
    signature: Annotated[SignatureBody | None, msgspec.Meta(description="null: none.")] = None
    alternate_mx: Annotated[
        tuple[str, ...],
        msgspec.Meta(
            description="Others that take its mail and pass it on to us: names of hosts, and networks as 192.0.2.0/24. "
            "They may be in its MX records, no DNSBL refuses them, and whoever gave them the mail is judged. "
            "Superadmins only."
        ),
    ] = ()
    all_mail: Annotated[bool, msgspec.Meta(description="A folder with all messages, for each of its mailboxes.")] = (
        False
    )
    sharing: Annotated[bool, msgspec.Meta(description="Whether its people may share folders.")] = False
    search: Annotated[bool, msgspec.Meta(description="Whether the text of its mail is indexed.")] = True


class SignatureResource(msgspec.Struct, frozen=True, kw_only=True):
    """What goes under every submitted message."""

    text: Annotated[str, msgspec.Meta(description="Under plain text.")]
    html: Annotated[str, msgspec.Meta(description="Under HTML; empty: made of the text.")]


class DomainResource(msgspec.Struct, frozen=True, kw_only=True):
    """A domain of this installation."""

    name: Annotated[str, msgspec.Meta(description="Lower-case A-labels.")]
    incoming: Annotated[bool, msgspec.Meta(description="Whether mail is received for it.")]
    catch_all: Annotated[tuple[str, ...], msgspec.Meta(description="Mailboxes that get what nobody else takes.")]
    relay: Annotated[RelayResource | None, msgspec.Meta(description="null: outgoing mail goes to the MX.")]
    masquerading: Annotated[bool, msgspec.Meta(description="Whether its mailboxes may send as any address of it.")]
    alias_of: Annotated[str, msgspec.Meta(description="Where its addresses are; empty: it has its own.")]
    suspended: Annotated[bool, msgspec.Meta(description="Whether mail for it and logins are refused.")]
    quota_octets: Annotated[int | None, msgspec.Meta(description="Of all its mailboxes; null: unlimited.")]
    default_quota_octets: Annotated[int | None, msgspec.Meta(description="Of a mailbox without one of its own.")]
    max_message_octets: Annotated[int | None, msgspec.Meta(description="null: what the policy says.")]
    mail_host: Annotated[str, msgspec.Meta(description="The mail server's location; empty: the policy's.")]
    signature: Annotated[SignatureResource | None, msgspec.Meta(description="Under every submitted message.")]
    alternate_mx: Annotated[tuple[str, ...], msgspec.Meta(description="Others that take its mail.")]
    all_mail: Annotated[bool, msgspec.Meta(description="Whether its mailboxes have a folder with all messages.")]
    sharing: Annotated[bool, msgspec.Meta(description="Whether its people may share folders.")]
    search: Annotated[bool, msgspec.Meta(description="Whether the text of its mail is indexed.")]


class DomainList(msgspec.Struct, frozen=True, kw_only=True):
    """One page of domains."""

    domains: Annotated[tuple[DomainResource, ...], msgspec.Meta(description="In the order of their names.")]
    next_after: NextAfter


@put(
    "/domains/{name:str}",
    summary="Create or replace a domain",
    tags=["domains"],
    responses={**BODY_REFUSALS, 201: ResponseSpec(data_container=DomainResource, description="The domain is new.")},
)
async def put_domain(
    request: ApiRequest,
    name: NamePath,
    data: JSONBody[DomainBody],
    if_match: IfMatch = "",
    plan: OnlyPlan = False,
) -> Response[DomainResource | Plan]:
    """Idempotent. A new domain receives no mail until `incoming` is on."""
    return await _put(request, name, data, condition_of(if_match, plan))


@patch(
    "/domains/{name:str}",
    summary="Change a domain",
    tags=["domains"],
    status_code=200,
    responses=BODY_REFUSALS,
)
async def patch_domain(
    request: ApiRequest,
    name: NamePath,
    data: JSONBody[Patch],
    if_match: IfMatch = "",
    plan: OnlyPlan = False,
) -> Response[DomainResource | Plan]:
    """A JSON merge patch (RFC 7396): what it leaves out stays, null gives a field its default."""
    return await patch_object(
        lambda: _get(request, name),
        _resource,
        DomainBody,
        data,
        condition_of(if_match, plan),
        lambda body, condition: _put(request, name, body, condition),
    )


@get("/domains", summary="List domains", tags=["domains"], responses=REFUSALS)
async def list_domains(
    request: ApiRequest, after: After = "", limit: Limit = DEFAULT_PAGE, text: WithText = "", sort: Sort = SortBy.NAME
) -> DomainList:
    """In the order of their names."""
    reply = await backend_of(request).directory.list_domains(
        ListDomainsRequest(
            actor=actor_of(request), after=after, limit=limit, text=text, descending=sort is SortBy.NAME_DESCENDING
        )
    )
    return DomainList(domains=tuple(_resource(each) for each in reply.domains), next_after=reply.next_after)


@get("/domains/{name:str}", summary="Show a domain", tags=["domains"], responses=REFUSALS)
async def get_domain(request: ApiRequest, name: NamePath) -> Response[DomainResource]:
    """By its name, in A- or U-labels."""
    found = await _get(request, name)
    return tagged(found, _resource(found))


@delete("/domains/{name:str}", summary="Delete a domain", tags=["domains"], status_code=200, responses=REFUSALS)
async def delete_domain(
    request: ApiRequest, name: NamePath, dry_run: DryRun = False, if_match: IfMatch = ""
) -> Deletion:
    """Only one that nothing lives in: no mailbox, alias, group, app or list."""
    return deletion(
        await backend_of(request).directory.delete_domain(
            DeleteRequest(name=name, actor=actor_of(request), dry_run=dry_run, condition=condition_of(if_match))
        ),
        dry_run,
    )


def relay_of(body: RelayBody | None) -> Relay | None:
    """As the contract has it."""
    return None if body is None else msgspec.convert(body, Relay, from_attributes=True)


async def _put(request: ApiRequest, name: str, body: DomainBody, condition: Condition) -> Response[Any]:
    wanted = msgspec.convert({"name": name, **msgspec.structs.asdict(body)}, Domain, from_attributes=True)
    before = await _find(request, name)
    domain = await backend_of(request).directory.put_domain(
        PutDomainRequest(domain=wanted, actor=actor_of(request), condition=condition)
    )
    secrets = ["relay.password"] if body.relay is not None and body.relay.password else []
    return answer(condition, _resource, before, domain, created=before is None, secrets=secrets)


async def _find(request: ApiRequest, name: str) -> Domain | None:
    """For the status of the answer, and for plans: whatever is wrong with the name, the PUT itself will say."""
    try:
        return await find(_get(request, name))
    except MailError as error:
        if error.kind is ErrorKind.UNAVAILABLE:
            raise
        return None


async def _get(request: ApiRequest, name: str) -> Domain:
    return await backend_of(request).directory.get_domain(ObjectRequest(name=name, actor=actor_of(request)))


def _resource(domain: Domain) -> DomainResource:
    return msgspec.convert(domain, DomainResource, from_attributes=True)
