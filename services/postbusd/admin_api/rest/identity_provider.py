"""/api/v1/identity-provider and /session/provider: sign-ins by an OpenID Connect provider of others."""

from typing import Annotated

import msgspec
from litestar import Response, delete, get, post, put
from litestar.openapi import ResponseSpec
from litestar.params import JSONBody

from postbus.contracts.condition import Condition
from postbus.contracts.identity_provider import (
    BeginProviderSignInRequest,
    FinishProviderSignInRequest,
    GetIdentityProviderRequest,
    IdentityProvider,
    PutIdentityProviderRequest,
)
from postbus.core.errors import ErrorKind, MailError
from postbusd.admin_api.rest.backend import ApiRequest, actor_of, backend_of
from postbusd.admin_api.rest.changes import IfMatch, OnlyPlan, Plan, answer, condition_of, tagged
from postbusd.admin_api.rest.parameters import Deletion, DryRun
from postbusd.admin_api.rest.problems import BODY_REFUSALS, REFUSALS
from postbusd.admin_api.rest.sessions import SESSION_BEGUN, SessionWithText, answer_begun, came_from

_ISSUER = "Its URL, as its configuration and its tokens spell it; `https`."
_CLIENT = "Of this installation, as the provider has registered it."
_CLAIM = "The claim that has a user's username; `email` counts only when it is verified."
_SCOPES = "Asked for at a sign-in; `openid` among them."
_REDIRECTS = "Where it may send people back to: `https`, or `http` on a loopback address, which then has any port."
_AUDIENCES = "Beside `client_id`: whom tokens of mail programs may be for (`aud`) or issued to (`azp`, `client_id`)."
_DEFAULT = IdentityProvider(issuer="", client_id="")


class IdentityProviderBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The provider as it shall be."""

    issuer: Annotated[str, msgspec.Meta(description=_ISSUER)]
    client_id: Annotated[str, msgspec.Meta(description=_CLIENT)]
    client_secret: Annotated[
        str | None,
        msgspec.Meta(
            description="Write-only. null: the one before, of the same issuer and client_id; empty: none.",
            extra_json_schema={"extra": {"write_only": True}},
        ),
    ] = None
    username_claim: Annotated[str, msgspec.Meta(description=_CLAIM)] = _DEFAULT.username_claim
    scopes: Annotated[tuple[str, ...], msgspec.Meta(description=_SCOPES)] = _DEFAULT.scopes
    redirect_uris: Annotated[tuple[str, ...], msgspec.Meta(description=_REDIRECTS)] = ()
    audiences: Annotated[tuple[str, ...], msgspec.Meta(description=_AUDIENCES)] = ()


class IdentityProviderResource(msgspec.Struct, frozen=True, kw_only=True):
    """An OpenID Connect provider that knows users by the same names."""

    issuer: Annotated[str, msgspec.Meta(description=_ISSUER)]
    client_id: Annotated[str, msgspec.Meta(description=_CLIENT)]
    has_secret: Annotated[bool, msgspec.Meta(description="Whether there is a client secret; it is never shown.")]
    username_claim: Annotated[str, msgspec.Meta(description=_CLAIM)]
    scopes: Annotated[tuple[str, ...], msgspec.Meta(description=_SCOPES)]
    redirect_uris: Annotated[tuple[str, ...], msgspec.Meta(description=_REDIRECTS)]
    audiences: Annotated[tuple[str, ...], msgspec.Meta(description=_AUDIENCES)]


class ProviderSignInBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the person is to come back to."""

    redirect_uri: Annotated[str, msgspec.Meta(description="One of the provider's `redirect_uris`.", max_length=500)]


class ProviderSignIn(msgspec.Struct, frozen=True, kw_only=True):
    """Where to go."""

    authorization_url: Annotated[str, msgspec.Meta(description="To be opened in a browser.")]
    state: Annotated[
        str, msgspec.Meta(description="To be kept, and compared with what comes back: another one is another sign-in.")
    ]


class ProviderCodeBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the provider has sent back."""

    state: Annotated[str, msgspec.Meta(description="As it was given.", max_length=4096)]
    code: Annotated[
        str,
        msgspec.Meta(
            description="Write-only. The authorization code.",
            max_length=4096,
            extra_json_schema={"extra": {"write_only": True}},
        ),
    ]


@get("/identity-provider", summary="Show the identity provider", tags=["policy"], responses=REFUSALS)
async def get_identity_provider(request: ApiRequest) -> Response[IdentityProviderResource]:
    """404: there is none."""
    found = await _get(request)
    if found is None:
        raise MailError(ErrorKind.NOT_FOUND, "there is no identity provider")
    return tagged(found, _resource(found))


@put(
    "/identity-provider",
    summary="Set the identity provider",
    tags=["policy"],
    responses={
        **BODY_REFUSALS,
        201: ResponseSpec(data_container=IdentityProviderResource, description="The provider; there was none."),
    },
)
async def put_identity_provider(
    request: ApiRequest, data: JSONBody[IdentityProviderBody], if_match: IfMatch = "", plan: OnlyPlan = False
) -> Response[IdentityProviderResource | Plan]:
    """Idempotent. Sessions that another provider began end."""
    condition = condition_of(if_match, plan)
    before = await _get(request)
    wanted = IdentityProvider(
        issuer=data.issuer,
        client_id=data.client_id,
        username_claim=data.username_claim,
        scopes=data.scopes,
        redirect_uris=data.redirect_uris,
        audiences=data.audiences,
    )
    found = await _put(request, wanted, data.client_secret, condition)
    assert found is not None
    secrets = ("client_secret",) if data.client_secret else ()
    return answer(condition, _resource, before, found, created=before is None, secrets=secrets)


@delete(
    "/identity-provider", summary="Remove the identity provider", tags=["policy"], status_code=200, responses=REFUSALS
)
async def delete_identity_provider(request: ApiRequest, if_match: IfMatch = "", dry_run: DryRun = False) -> Deletion:
    """Sessions that it began end, at the API and of mail programs."""
    before = await _get(request)
    if before is None:
        raise MailError(ErrorKind.NOT_FOUND, "there is no identity provider")
    await _put(request, None, None, condition_of(if_match, dry_run))
    return Deletion(deleted=(f"identity provider {before.issuer}",), dry_run=dry_run)


@post(
    "/session/provider",
    summary="Begin to sign in elsewhere",
    tags=["session"],
    status_code=201,
    public=True,
    security=[{}],
    responses={
        **BODY_REFUSALS,
        201: ResponseSpec(data_container=ProviderSignIn, description="Where to go."),
    },
)
async def begin_provider_sign_in(request: ApiRequest, data: JSONBody[ProviderSignInBody]) -> Response[ProviderSignIn]:
    """An authorization request with PKCE (RFC 7636) for the identity provider; it holds ten minutes."""
    begun = await backend_of(request).directory.begin_provider_sign_in(
        BeginProviderSignInRequest(redirect_uri=data.redirect_uri)
    )
    told = ProviderSignIn(authorization_url=begun.authorization_url, state=begun.state)
    return Response(told, status_code=201, headers={"Cache-Control": "no-store"})


@post(
    "/session/provider/code",
    summary="Sign in by the provider's code",
    tags=["session"],
    status_code=201,
    public=True,
    security=[{}],
    responses=SESSION_BEGUN,
)
async def finish_provider_sign_in(request: ApiRequest, data: JSONBody[ProviderCodeBody]) -> Response[SessionWithText]:
    """A session for the active user of the name that the provider says; the second factor is the provider's affair."""
    sessions, came = backend_of(request).sessions, came_from(request)
    try:
        signed_in = await backend_of(request).directory.finish_provider_sign_in(
            FinishProviderSignInRequest(state=data.state, code=data.code)
        )
    except MailError as error:
        await sessions.note_refusal("", error, came)
        raise
    return answer_begun(await sessions.begin(signed_in, came))


async def _get(request: ApiRequest) -> IdentityProvider | None:
    reply = await backend_of(request).directory.get_identity_provider(
        GetIdentityProviderRequest(actor=actor_of(request))
    )
    return reply.provider


async def _put(
    request: ApiRequest, wanted: IdentityProvider | None, client_secret: str | None, condition: Condition
) -> IdentityProvider | None:
    reply = await backend_of(request).directory.put_identity_provider(
        PutIdentityProviderRequest(
            actor=actor_of(request), provider=wanted, client_secret=client_secret, condition=condition
        )
    )
    return reply.provider


def _resource(found: IdentityProvider) -> IdentityProviderResource:
    return msgspec.convert(found, IdentityProviderResource, from_attributes=True)
