"""/api/v1/domains."""

from typing import Annotated

import msgspec
from litestar import Response, delete, get, put
from litestar.openapi import ResponseSpec
from litestar.params import JSONBody

from postbus.contracts.directory import (
    DeleteRequest,
    Domain,
    ListDomainsRequest,
    ObjectRequest,
    PutDomainRequest,
    Relay,
    RelaySecurity,
)
from postbus.core.errors import ErrorKind, MailError
from postbusd.admin_api.rest.backend import DEFAULT_PAGE, ApiRequest, actor_of, backend_of
from postbusd.admin_api.rest.parameters import After, Deletion, DryRun, Limit, NamePath, NextAfter, deletion, written
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


class DomainResource(msgspec.Struct, frozen=True, kw_only=True):
    """A domain of this installation."""

    name: Annotated[str, msgspec.Meta(description="Lower-case A-labels.")]
    incoming: Annotated[bool, msgspec.Meta(description="Whether mail is received for it.")]
    catch_all: Annotated[tuple[str, ...], msgspec.Meta(description="Mailboxes that get what nobody else takes.")]
    relay: Annotated[RelayResource | None, msgspec.Meta(description="null: outgoing mail goes to the MX.")]
    masquerading: Annotated[bool, msgspec.Meta(description="Whether its mailboxes may send as any address of it.")]


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
async def put_domain(request: ApiRequest, name: NamePath, data: JSONBody[DomainBody]) -> Response[DomainResource]:
    """Idempotent. A new domain receives no mail until `incoming` is on."""
    directory, actor = backend_of(request).directory, actor_of(request)
    wanted = Domain(
        name=name,
        incoming=data.incoming,
        catch_all=data.catch_all,
        relay=_relay(data.relay),
        masquerading=data.masquerading,
    )
    created = not await _is_there(request, name)
    domain = await directory.put_domain(PutDomainRequest(domain=wanted, actor=actor))
    return written(_resource(domain), created)


@get("/domains", summary="List domains", tags=["domains"], responses=REFUSALS)
async def list_domains(request: ApiRequest, after: After = "", limit: Limit = DEFAULT_PAGE) -> DomainList:
    """In the order of their names."""
    reply = await backend_of(request).directory.list_domains(
        ListDomainsRequest(actor=actor_of(request), after=after, limit=limit)
    )
    return DomainList(domains=tuple(_resource(each) for each in reply.domains), next_after=reply.next_after)


@get("/domains/{name:str}", summary="Show a domain", tags=["domains"], responses=REFUSALS)
async def get_domain(request: ApiRequest, name: NamePath) -> DomainResource:
    """By its name, in A- or U-labels."""
    return _resource(await backend_of(request).directory.get_domain(ObjectRequest(name=name, actor=actor_of(request))))


@delete("/domains/{name:str}", summary="Delete a domain", tags=["domains"], status_code=200, responses=REFUSALS)
async def delete_domain(request: ApiRequest, name: NamePath, dry_run: DryRun = False) -> Deletion:
    """Only one that nothing lives in: no mailbox, alias, group, app or list."""
    return deletion(
        await backend_of(request).directory.delete_domain(
            DeleteRequest(name=name, actor=actor_of(request), dry_run=dry_run)
        ),
        dry_run,
    )


async def _is_there(request: ApiRequest, name: str) -> bool:
    """Only for the status of the answer: whatever is wrong, the PUT itself will say."""
    try:
        await backend_of(request).directory.get_domain(ObjectRequest(name=name, actor=actor_of(request)))
    except MailError as error:
        return error.kind is not ErrorKind.NOT_FOUND
    return True


def _relay(body: RelayBody | None) -> Relay | None:
    return None if body is None else msgspec.convert(body, Relay, from_attributes=True)


def _resource(domain: Domain) -> DomainResource:
    return msgspec.convert(domain, DomainResource, from_attributes=True)
