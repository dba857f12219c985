"""/api/v1/domains/{name}/dns: what a domain needs in DNS, and what is there."""

from typing import Annotated

import msgspec
from litestar import Response, get
from litestar.params import QueryParameter

from postbus.contracts.dns_provisioner import PlanDomainReply, PlanDomainRequest, RecordState
from postbusd.admin_api.rest.backend import ApiRequest, actor_of, backend_of
from postbusd.admin_api.rest.parameters import NamePath
from postbusd.admin_api.rest.problems import REFUSALS

ZONE_MEDIA_TYPE = "text/plain"


class RecordResource(msgspec.Struct, frozen=True, kw_only=True):
    """A record set that the domain needs."""

    name: Annotated[str, msgspec.Meta(description="Absolute, without the last dot.")]
    type: Annotated[str, msgspec.Meta(description="MX, TXT.")]
    values: Annotated[tuple[str, ...], msgspec.Meta(description="The text of a TXT record is joined and unquoted.")]
    purpose: Annotated[str, msgspec.Meta(description="What it is for, for people.")]
    ttl_seconds: Annotated[int, msgspec.Meta(description="Its time to live.")]
    state: Annotated[RecordState, msgspec.Meta(description="unknown without `compare`, or when DNS gives no answer.")]
    live: Annotated[tuple[str, ...], msgspec.Meta(description="What DNS says, in the form of `values`.")]
    advice: Annotated[str, msgspec.Meta(description="What to do, for people; empty when all is well.")]


class DnsPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What a domain needs in DNS."""

    domain: Annotated[str, msgspec.Meta(description="Lower-case A-labels.")]
    records: Annotated[tuple[RecordResource, ...], msgspec.Meta(description="One for each name and type.")]


@get("/domains/{name:str}/dns", summary="What a domain needs in DNS", tags=["domains"], responses=REFUSALS)
async def get_domain_dns(
    request: ApiRequest,
    name: NamePath,
    compare: Annotated[bool, QueryParameter(description="Ask live DNS what is there; takes seconds.")] = False,
) -> DnsPlan:
    """The record sets; with `compare` each with its state and with advice."""
    return msgspec.convert(await _plan(request, name, compare), DnsPlan, from_attributes=True)


@get(
    "/domains/{name:str}/dns/zone",
    summary="The same as a zone file",
    tags=["domains"],
    media_type=ZONE_MEDIA_TYPE,
    responses=REFUSALS,
)
async def get_domain_zone(request: ApiRequest, name: NamePath) -> Response[str]:
    """Master file format (RFC 1035 §5), to paste or to import."""
    return Response((await _plan(request, name, False)).zone, media_type=ZONE_MEDIA_TYPE)


async def _plan(request: ApiRequest, name: str, compare: bool) -> PlanDomainReply:
    return await backend_of(request).dns.plan_domain(
        PlanDomainRequest(domain=name, actor=actor_of(request), compare=compare)
    )
