"""/api/v1/domains."""

from typing import Annotated

import msgspec
from litestar import get, put
from litestar.params import FromPath, JSONBody, QueryParameter

from postbus.contracts.directory import Domain, ListDomainsRequest, PutDomainRequest
from postbusd.admin_api.rest.backend import DEFAULT_PAGE, MAX_PAGE, ApiRequest, actor_of, backend_of
from postbusd.admin_api.rest.problems import REFUSALS


class DomainBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a domain is to be."""

    incoming: Annotated[bool, msgspec.Meta(description="Whether mail is received for it.")] = False


class DomainResource(msgspec.Struct, frozen=True, kw_only=True):
    """A domain of this installation."""

    name: Annotated[str, msgspec.Meta(description="Lower-case A-labels.")]
    incoming: bool


class DomainList(msgspec.Struct, frozen=True, kw_only=True):
    """One page of domains."""

    domains: tuple[DomainResource, ...]
    next_after: Annotated[str, msgspec.Meta(description="Pass as `after` for the next page; empty: the last one.")]


@put("/domains/{name:str}", summary="Create or replace a domain", tags=["domains"], responses=REFUSALS)
async def put_domain(request: ApiRequest, name: FromPath[str], data: JSONBody[DomainBody]) -> DomainResource:
    """Idempotent. A new domain receives no mail until `incoming` is on."""
    domain = await backend_of(request).directory.put_domain(
        PutDomainRequest(domain=Domain(name=name, incoming=data.incoming), actor=actor_of(request))
    )
    return DomainResource(name=domain.name, incoming=domain.incoming)


@get("/domains", summary="List domains", tags=["domains"], responses=REFUSALS)
async def list_domains(
    request: ApiRequest,
    after: Annotated[str, QueryParameter(description="Only names above this one.")] = "",
    limit: Annotated[int, QueryParameter(ge=1, le=MAX_PAGE)] = DEFAULT_PAGE,
) -> DomainList:
    """In the order of their names."""
    reply = await backend_of(request).directory.list_domains(
        ListDomainsRequest(actor=actor_of(request), after=after, limit=limit)
    )
    return DomainList(
        domains=tuple(DomainResource(name=each.name, incoming=each.incoming) for each in reply.domains),
        next_after=reply.next_after,
    )
