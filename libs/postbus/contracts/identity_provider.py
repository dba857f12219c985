"""directory's ports for an identity provider of others (OpenID Connect): its settings, sign-ins, bearer tokens."""

from typing import Protocol

import msgspec

from postbus.contracts import Empty
from postbus.contracts.app_passwords import Access
from postbus.contracts.condition import Condition
from postbus.contracts.logins import AuthenticateReply
from postbus.contracts.sign_in import SignedIn


class IdentityProvider(msgspec.Struct, frozen=True, kw_only=True):
    """The installation's one provider, which knows its users by the same names."""

    issuer: str
    """`https://…`, as the provider's configuration and its tokens spell it."""
    client_id: str
    """Of this installation, as the provider has registered it."""
    has_secret: bool = False
    """Whether it was registered with a secret; that is never shown."""
    username_claim: str = "preferred_username"
    """The claim that has a user's username."""
    scopes: tuple[str, ...] = ("openid", "profile")
    """Asked for at a sign-in."""
    redirect_uris: tuple[str, ...] = ()
    """Where the provider may send people back to after a sign-in, in order."""
    audiences: tuple[str, ...] = ()
    """Beside client_id: whom the tokens of mail programs may be for (`aud`) or issued to (`azp`, `client_id`)."""


class IdentityProviderReply(msgspec.Struct, frozen=True, kw_only=True):
    """The provider as it is now; None: there is none."""

    provider: IdentityProvider | None = None


class GetIdentityProviderRequest(msgspec.Struct, frozen=True, kw_only=True):
    """For an administrator."""

    actor: str


class PutIdentityProviderRequest(msgspec.Struct, frozen=True, kw_only=True):
    """The provider as it shall be; None: none."""

    actor: str
    provider: IdentityProvider | None = None
    client_secret: str | None = None
    """None: the one before, of the same issuer and client_id; empty: none."""
    condition: Condition = Condition()


class ProviderFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What mail programs are told (RFC 7628 §3.2.2); empty: there is no provider."""

    configuration_url: str = ""


class BeginProviderSignInRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Of somebody who is not known yet."""

    redirect_uri: str


class BeginProviderSignInReply(msgspec.Struct, frozen=True, kw_only=True):
    """Where to go, and what comes back from there."""

    authorization_url: str
    state: str


class FinishProviderSignInRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What the provider has sent back by the redirect_uri."""

    state: str
    code: str


class AuthenticateTokenRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A bearer token for a mailbox (SASL OAUTHBEARER, RFC 7628; XOAUTH2)."""

    token: str
    mailbox: str = ""
    """The address; empty: the user's own, the oldest."""
    access: Access
    client_address: str = ""


class ProviderSignIn(Protocol):
    """The port of admin-api."""

    async def begin_provider_sign_in(self, request: BeginProviderSignInRequest) -> BeginProviderSignInReply:
        """An authorization request (RFC 6749 §4.1.1) with PKCE (RFC 7636).

        Raises MailError: NOT_FOUND (no provider), FORBIDDEN (redirect_uri), UNAVAILABLE.
        """
        ...

    async def finish_provider_sign_in(self, request: FinishProviderSignInRequest) -> SignedIn:
        """Exchanges the code, checks the ID token, finds the user.

        Raises MailError: UNAUTHENTICATED (state, code), FORBIDDEN (no active user of that name), UNAVAILABLE.
        """
        ...


class TokenAuthenticator(Protocol):
    """The port of whatever mail programs log in to by bearer tokens."""

    async def find_provider(self, request: Empty) -> ProviderFacts:
        """What mail programs are told of it."""
        ...

    async def authenticate_token(self, request: AuthenticateTokenRequest) -> AuthenticateReply:
        """Checks a token by the provider's keys, or by introspection (RFC 7662), and whom it opens the mailbox for.

        Raises MailError: UNAUTHENTICATED, INACTIVE, RATE_LIMITED, UNAVAILABLE.
        """
        ...


class IdentityProviderAdmin(Protocol):
    """For superadmins."""

    async def get_identity_provider(self, request: GetIdentityProviderRequest) -> IdentityProviderReply:
        """As it is now. Raises MailError: FORBIDDEN."""
        ...

    async def put_identity_provider(self, request: PutIdentityProviderRequest) -> IdentityProviderReply:
        """Replaces or removes it; sessions that the one before began end.

        Raises MailError: FORBIDDEN, INVALID, CHANGED.
        """
        ...
