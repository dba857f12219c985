"""The identity provider: its settings, and users who sign in by it."""

import urllib.parse
from collections.abc import Sequence

import msgspec

from postbus.contracts.identity_provider import (
    BeginProviderSignInReply,
    BeginProviderSignInRequest,
    FinishProviderSignInRequest,
    GetIdentityProviderRequest,
    IdentityProvider,
    IdentityProviderReply,
    PutIdentityProviderRequest,
)
from postbus.contracts.sign_in import SignedIn, SignInMethod
from postbus.core.errors import MailError
from postbusd.directory.administration.desk import Desk
from postbusd.directory.administration.refusals import invalid
from postbusd.directory.administration.scope import forbidden, require_superadmin
from postbusd.directory.administration.sign_ins import API
from postbusd.directory.names import check_username, is_plain_text
from postbusd.directory.oidc.relying_party import LOOPBACKS, SECRET_OWNER
from postbusd.directory.passwords import provider_digest

MAX_TEXT_CHARACTERS = 500
MAX_LIST = 50


class IdentityProviders(Desk):
    """The IdentityProviderAdmin and the ProviderSignIn."""

    async def get_identity_provider(self, request: GetIdentityProviderRequest) -> IdentityProviderReply:
        """As it is now."""
        require_superadmin(await self._standing(request.actor))
        stored = await self._repository.load_identity_provider()
        return IdentityProviderReply(provider=stored.provider if stored is not None else None)

    async def put_identity_provider(self, request: PutIdentityProviderRequest) -> IdentityProviderReply:
        """Replaces or removes it."""
        standing = await self._standing(request.actor)
        require_superadmin(standing)
        provider = check_provider(request.provider) if request.provider is not None else None
        given = _check_secret(request.client_secret)
        secret = None if given is None else self._tools.sealer.seal(given.encode(), SECRET_OWNER) if given else b""
        what = f"identity provider {provider.issuer} set" if provider is not None else "identity provider removed"
        act = self._act(standing, request.condition, what, ["new client secret"] if secret else [])
        written = await self._repository.put_identity_provider(provider, secret, act)
        await self._announce(written)
        return written.object

    async def begin_provider_sign_in(self, request: BeginProviderSignInRequest) -> BeginProviderSignInReply:
        """An authorization request."""
        url, state = await self._tools.party.authorize(request.redirect_uri)
        return BeginProviderSignInReply(authorization_url=url, state=state)

    async def finish_provider_sign_in(self, request: FinishProviderSignInRequest) -> SignedIn:
        """Exchanges the code, finds the user."""
        issuer, claimed = await self._tools.party.redeem(request.state, request.code)
        username = await self._find_user(claimed)
        proof = self._tools.keys.proof(API, username, provider_digest(issuer))
        return SignedIn(username=username, method=SignInMethod.IDENTITY_PROVIDER, proof=proof)

    async def _find_user(self, claimed: str) -> str:
        """Raises MailError: FORBIDDEN."""
        try:
            username = check_username(claimed)
        except MailError:
            username = ""
        stored = await self._repository.load_sign_in(username, "") if username else None
        if stored is None or not stored.active:
            raise forbidden(f"there is no active user {claimed[:MAX_TEXT_CHARACTERS]!r} here")
        return stored.username


def check_provider(provider: IdentityProvider) -> IdentityProvider:
    """In its one form. Raises MailError: INVALID, naming the field."""
    _check_issuer(provider.issuer)
    for field in ("client_id", "username_claim"):
        _check_text(field, getattr(provider, field))
    scopes = tuple(dict.fromkeys(provider.scopes))
    for field, values in (("scopes", scopes), ("audiences", provider.audiences)):
        if len(values) > MAX_LIST:
            raise invalid(field, f"at most {MAX_LIST}")
        for each in values:
            _check_text(field, each)
    if "openid" not in scopes or any(" " in scope for scope in scopes):
        raise invalid("scopes", "words, openid among them")
    return msgspec.structs.replace(
        provider,
        scopes=scopes,
        audiences=tuple(sorted(set(provider.audiences))),
        redirect_uris=_check_redirects(provider.redirect_uris),
        has_secret=False,
    )


def _check_issuer(issuer: str) -> None:
    _check_text("issuer", issuer)
    try:
        parts = urllib.parse.urlsplit(issuer)
        _ = parts.port
    except ValueError as error:
        raise invalid("issuer", "is no URL") from error
    if parts.scheme not in ("https", "http") or not parts.hostname or parts.query or parts.fragment or parts.username:
        raise invalid("issuer", "a URL as https://id.example.org, without a query")
    if parts.scheme == "http" and parts.hostname not in LOOPBACKS:
        raise invalid("issuer", "must be https")


def _check_redirects(uris: Sequence[str]) -> tuple[str, ...]:
    if len(uris) > MAX_LIST:
        raise invalid("redirect_uris", f"at most {MAX_LIST}")
    for uri in uris:
        _check_text("redirect_uris", uri)
        try:
            parts = urllib.parse.urlsplit(uri)
            _ = parts.port
        except ValueError as error:
            raise invalid("redirect_uris", "is no URL") from error
        is_loopback = parts.scheme == "http" and parts.hostname in LOOPBACKS
        if not ((parts.scheme == "https" and parts.hostname) or is_loopback) or parts.fragment or parts.username:
            raise invalid("redirect_uris", "https URLs without a fragment; http for loopback addresses only")
    return tuple(sorted(set(uris)))


def _check_text(field: str, text: str) -> None:
    if not 0 < len(text) <= MAX_TEXT_CHARACTERS or not is_plain_text(text) or text.strip() != text:
        raise invalid(field, f"1 to {MAX_TEXT_CHARACTERS} characters")


def _check_secret(secret: str | None) -> str | None:
    if secret is not None and (len(secret) > MAX_TEXT_CHARACTERS or not is_plain_text(secret)):
        raise invalid("client_secret", f"at most {MAX_TEXT_CHARACTERS} characters")
    return secret
