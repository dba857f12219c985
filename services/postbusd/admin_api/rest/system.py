"""Health, status and the CA's certificate."""

from typing import Annotated

import msgspec
from litestar import Response, get

from postbus.contracts.dns_provisioner import ListCertificatesRequest
from postbus.core.errors import ErrorKind, MailError
from postbusd.admin_api.rest.backend import ApiRequest, backend_of
from postbusd.admin_api.rest.problems import REFUSALS
from postbusd.admin_api.status import Part


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """That the API answers."""

    ok: Annotated[bool, msgspec.Meta(description="Always true.")] = True


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """The installation as admin-api sees it."""

    ok: Annotated[bool, msgspec.Meta(description="Whether every part is well.")]
    version: Annotated[str, msgspec.Meta(description="Of this software.")]
    mail_host: Annotated[str, msgspec.Meta(description="The name that this installation greets with.")]
    parts: Annotated[tuple[Part, ...], msgspec.Meta(description="Each was asked now.")]


@get("/healthz", summary="Whether the API answers", tags=["system"], responses=REFUSALS, security=[{}], public=True)
async def get_health() -> Health:
    """Needs no token and asks nobody."""
    return Health()


@get("/status", summary="State of every part", tags=["system"], responses=REFUSALS)
async def get_status(request: ApiRequest) -> Status:
    """Each part is asked now; `reason` says what is wrong with one that is not ok."""
    backend = backend_of(request)
    parts = await backend.status.check()
    return Status(ok=all(part.ok for part in parts), version=backend.version, mail_host=backend.mail_host, parts=parts)


@get(
    "/ca.pem",
    summary="The private CA's certificate",
    tags=["system"],
    media_type="application/x-pem-file",
    responses=REFUSALS,
    security=[{}],
    public=True,
)
async def get_ca(request: ApiRequest) -> Response[bytes]:
    """Needs no token: it is what clients of this installation may trust."""
    reply = await backend_of(request).certificates.list_certificates(ListCertificatesRequest())
    if not reply.ca_pem:
        raise MailError(ErrorKind.NOT_FOUND, "the certificates of this installation need no CA of its own")
    return Response(
        reply.ca_pem,
        media_type="application/x-pem-file",
        headers={"Content-Disposition": 'attachment; filename="postbus-ca.pem"'},
    )
