"""The client of an identity provider: its documents, sign-ins by code and PKCE, the check of bearer tokens.

Configuration and keys are kept for a while. A token that names an unknown key has them fetched again, now and then: a
provider that changes its keys needs nobody here.
"""

import asyncio
import base64
import hashlib
import hmac
import math
import secrets
import urllib.parse

import msgspec

from postbus.contracts.identity_provider import IdentityProvider
from postbus.core.clock import Clock
from postbus.core.errors import ErrorKind, MailError
from postbus.runtime.sealing import Sealer
from postbusd.directory.oidc import tokens
from postbusd.directory.oidc.ports import Claims, ProviderReader, StoredProvider, Transport

CONFIGURATION_PATH = "/.well-known/openid-configuration"
CONFIGURATION_SECONDS = 3600.0
KEYS_SECONDS = 600.0
REFETCH_SECONDS = 10.0
"""Between two fetches because of unknown keys, or after a failure."""
SIGN_IN_SECONDS = 600
"""From the authorization request to its code."""
SECRET_OWNER = "identity_provider"  # noqa: S105  # of `Sealer`
STATE_OWNER = "provider_sign_in"
MAX_STATE_CHARACTERS = 4_096
MAX_CODE_CHARACTERS = 4_096
LOOPBACKS = frozenset({"127.0.0.1", "::1", "localhost"})


class _State(msgspec.Struct, frozen=True, kw_only=True):
    """What a sign-in must show again; it travels sealed."""

    issuer: str
    client_id: str
    redirect_uri: str
    verifier: str
    nonce: str
    expires_ms: int


class _Kept(msgspec.Struct, kw_only=True):
    """The documents of one issuer."""

    issuer: str
    configuration: Claims
    configuration_until: float
    keys: tokens.Keys
    keys_until: float
    refetch_from: float


class Bearer(msgspec.Struct, frozen=True, kw_only=True):
    """Whom a token speaks for."""

    username: str
    """As the claim has it."""
    expires_ms: int | None


class RelyingParty:
    """The client. Every method raises MailError: UNAVAILABLE when the provider, or the database, can't be reached."""

    def __init__(self, reader: ProviderReader, transport: Transport, sealer: Sealer, clock: Clock) -> None:
        self._reader = reader
        self._transport = transport
        self._sealer = sealer
        self._clock = clock
        self._kept: _Kept | None = None
        self._failed_until = -math.inf
        self._failed_issuer = ""
        self._fetching = asyncio.Lock()

    async def provider(self) -> StoredProvider:
        """Raises MailError: NOT_FOUND."""
        stored = await self._reader.load_identity_provider()
        if stored is None:
            raise MailError(ErrorKind.NOT_FOUND, "there is no identity provider")
        return stored

    async def authorize(self, redirect_uri: str) -> tuple[str, str]:
        """An authorization request's URL, and its state. Raises MailError: NOT_FOUND, FORBIDDEN (redirect_uri)."""
        provider = (await self.provider()).provider
        if not is_redirect(redirect_uri, provider.redirect_uris):
            raise MailError(ErrorKind.FORBIDDEN, "redirect_uri: is none of those that were set")
        configuration = (await self._documents(provider.issuer)).configuration
        verifier, nonce = secrets.token_urlsafe(48), secrets.token_urlsafe(24)
        state = _State(
            issuer=provider.issuer,
            client_id=provider.client_id,
            redirect_uri=redirect_uri,
            verifier=verifier,
            nonce=nonce,
            expires_ms=self._clock.now_ms() + SIGN_IN_SECONDS * 1000,
        )
        sealed = base64.urlsafe_b64encode(self._sealer.seal(msgspec.json.encode(state), STATE_OWNER)).decode()
        query = {
            "response_type": "code",
            "client_id": provider.client_id,
            "redirect_uri": redirect_uri,
            "scope": " ".join(provider.scopes),
            "state": sealed,
            "nonce": nonce,
            "code_challenge": challenge_of(verifier),
            "code_challenge_method": "S256",
        }
        where = _endpoint(configuration, "authorization_endpoint")
        return f"{where}{'&' if '?' in where else '?'}{urllib.parse.urlencode(query)}", sealed

    async def redeem(self, state: str, code: str) -> tuple[str, str]:
        """The issuer, and who has signed in there. Raises MailError: UNAUTHENTICATED (state, code), NOT_FOUND."""
        opened = self._open(state)
        stored = await self.provider()
        provider = stored.provider
        if (opened.issuer, opened.client_id) != (provider.issuer, provider.client_id):
            raise _refuse("state", "is of another identity provider")
        if not 0 < len(code) <= MAX_CODE_CHARACTERS:
            raise _refuse("code", "is not one")
        configuration = (await self._documents(provider.issuer)).configuration
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": opened.redirect_uri,
            "code_verifier": opened.verifier,
        }
        status, answer = await self._post(stored, configuration, _endpoint(configuration, "token_endpoint"), form)
        id_token = answer.get("id_token")
        if status != 200 or not isinstance(id_token, str):  # RFC 6749 §5.1
            raise _refuse("code", f"the identity provider refused it: {_told(answer)}")
        claims = await self._verify(provider, id_token)
        self._check_id_token(claims, provider, opened.nonce)
        access_token = str(answer.get("access_token") or "")
        return provider.issuer, await self._username(provider, configuration, claims, access_token)

    async def check(self, token: str) -> Bearer:
        """Whom a bearer token speaks for. Raises MailError: UNAUTHENTICATED, NOT_FOUND."""
        stored = await self.provider()
        provider = stored.provider
        if not 0 < len(token) <= tokens.MAX_TOKEN_CHARACTERS or not token.isascii() or not token.isprintable():
            raise tokens.refuse("is malformed")
        if tokens.is_signed_form(token):
            claims = await self._verify(provider, token)
            if tokens.is_id_token(claims):
                raise tokens.refuse("is an ID token")
        else:
            claims = await self._introspect(stored, token)
        if not tokens.is_for(claims, {provider.client_id, *provider.audiences}):
            raise tokens.refuse("is for another audience")
        configuration = (await self._documents(provider.issuer)).configuration
        expires = claims.get("exp")
        return Bearer(
            username=await self._username(provider, configuration, claims, token),
            expires_ms=int(expires * 1000) if isinstance(expires, int | float) else None,
        )

    def _open(self, state: str) -> _State:
        """Raises MailError: UNAUTHENTICATED."""
        try:
            sealed = base64.urlsafe_b64decode(state) if len(state) <= MAX_STATE_CHARACTERS else b""
            opened = msgspec.json.decode(self._sealer.open(sealed, STATE_OWNER), type=_State)
        except (MailError, ValueError) as error:
            raise _refuse("state", "is not one of ours") from error
        if opened.expires_ms <= self._clock.now_ms():
            raise _refuse("state", "is over: begin again")
        return opened

    async def _verify(self, provider: IdentityProvider, token: str) -> Claims:
        """Claims of a signed token of this issuer. Raises MailError: UNAUTHENTICATED."""
        if not tokens.is_signed_form(token):
            raise tokens.refuse("is malformed")
        kept, kid = await self._documents(provider.issuer), tokens.key_id(token)
        fitting = tokens.candidates(kept.keys, kid)
        now = self._clock.monotonic()
        if not fitting and now >= kept.refetch_from:
            kept.refetch_from = now + REFETCH_SECONDS
            await self._fetch_keys(kept)
            fitting = tokens.candidates(kept.keys, kid)
        return tokens.verify(token, fitting, provider.issuer, self._clock.now_ms() / 1000)

    def _check_id_token(self, claims: Claims, provider: IdentityProvider, nonce: str) -> None:
        """OpenID Connect Core 1.0 §3.1.3.7. Raises MailError: UNAUTHENTICATED."""
        audience = claims.get("aud")
        audiences = audience if isinstance(audience, list) else [audience]
        if provider.client_id not in audiences or claims.get("azp", provider.client_id) != provider.client_id:
            raise tokens.refuse("is for another audience")
        if not hmac.compare_digest(str(claims.get("nonce", "")).encode(), nonce.encode()):
            raise tokens.refuse("is of another sign-in")

    async def _introspect(self, stored: StoredProvider, token: str) -> Claims:
        """RFC 7662. Raises MailError: UNAUTHENTICATED."""
        configuration = (await self._documents(stored.provider.issuer)).configuration
        where = configuration.get("introspection_endpoint")
        if not isinstance(where, str):
            raise tokens.refuse("is not signed, and the identity provider has no introspection")
        form = {"token": token, "token_type_hint": "access_token"}
        status, answer = await self._post(stored, configuration, where, form)
        if status != 200:  # RFC 7662 §2.3
            raise MailError(ErrorKind.UNAVAILABLE, f"identity provider: introspection was refused: {_told(answer)}")
        if answer.get("active") is not True:
            raise tokens.refuse("is not active")
        if answer.get("iss", stored.provider.issuer) != stored.provider.issuer:
            raise tokens.refuse("is of another issuer")
        tokens.check_time(answer, self._clock.now_ms() / 1000)
        return answer

    async def _username(
        self, provider: IdentityProvider, configuration: Claims, claims: Claims, access_token: str
    ) -> str:
        """The claim that names the user, here or in the user information. Raises MailError: UNAUTHENTICATED."""
        name, found = provider.username_claim, claims
        if name not in claims and access_token and isinstance(configuration.get("userinfo_endpoint"), str):
            found = await self._transport.get(configuration["userinfo_endpoint"], access_token)
            if found.get("sub") != claims.get("sub"):  # OpenID Connect Core 1.0 §5.3.2
                raise tokens.refuse("the user information is of somebody else")
        value = found.get(name)
        if not isinstance(value, str) or not value:
            raise tokens.refuse(f"has no claim {name}")
        if name == "email" and found.get("email_verified") is False:
            raise tokens.refuse("its email is not verified")
        return value

    async def _post(
        self, stored: StoredProvider, configuration: Claims, url: str, form: dict[str, str]
    ) -> tuple[int, Claims]:
        """A form by this client (RFC 6749 §2.3.1)."""
        client_id = stored.provider.client_id
        secret = self._sealer.open(stored.secret_sealed, SECRET_OWNER).decode() if stored.secret_sealed else ""
        methods = configuration.get("token_endpoint_auth_methods_supported", ["client_secret_basic"])
        if secret and "client_secret_basic" in methods:
            return await self._transport.post(url, form, (client_id, secret))
        own = {"client_id": client_id, **({"client_secret": secret} if secret else {})}
        return await self._transport.post(url, {**form, **own}, None)

    async def _documents(self, issuer: str) -> _Kept:
        """Configuration and keys, as old as they may be."""
        async with self._fetching:
            now = self._clock.monotonic()
            kept = self._kept
            if kept is not None and kept.issuer == issuer and now < kept.configuration_until:
                if now >= kept.keys_until:
                    await self._fetch_keys(kept)
                return kept
            if self._failed_issuer == issuer and now < self._failed_until:
                raise MailError(ErrorKind.UNAVAILABLE, "identity provider: could not be reached a moment ago")
            try:
                self._kept = await self._fetch(issuer, now)
            except MailError:
                self._failed_issuer, self._failed_until = issuer, now + REFETCH_SECONDS
                raise
            return self._kept

    async def _fetch(self, issuer: str, now: float) -> _Kept:
        configuration = await self._transport.get(issuer.rstrip("/") + CONFIGURATION_PATH)
        if configuration.get("issuer") != issuer:  # Discovery 1.0 §4.3
            raise MailError(ErrorKind.UNAVAILABLE, "identity provider: its configuration is of another issuer")
        kept = _Kept(
            issuer=issuer,
            configuration=configuration,
            configuration_until=now + CONFIGURATION_SECONDS,
            keys={},
            keys_until=now,
            refetch_from=now,
        )
        await self._fetch_keys(kept)
        return kept

    async def _fetch_keys(self, kept: _Kept) -> None:
        document = await self._transport.get(_endpoint(kept.configuration, "jwks_uri"))
        kept.keys = tokens.read_keys(document)
        kept.keys_until = self._clock.monotonic() + KEYS_SECONDS


def challenge_of(verifier: str) -> str:
    """RFC 7636 §4.2, S256."""
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).decode().rstrip("=")


def is_redirect(uri: str, allowed: tuple[str, ...]) -> bool:
    """Whether people may be sent there: one of those allowed; a loopback address with any port (RFC 8252 §7.3)."""
    if uri in allowed:
        return True
    parts = urllib.parse.urlsplit(uri)
    if parts.scheme != "http" or parts.hostname not in LOOPBACKS or parts.username or parts.fragment:
        return False
    try:
        bare = parts._replace(netloc=f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname).geturl()
        return parts.port is not None and bare in allowed
    except ValueError:
        return False


def _endpoint(configuration: Claims, name: str) -> str:
    found = configuration.get(name)
    if not isinstance(found, str):
        raise MailError(ErrorKind.UNAVAILABLE, f"identity provider: its configuration has no {name}")
    return found


def _told(answer: Claims) -> str:
    """RFC 6749 §5.2."""
    told = [str(answer[name])[:200] for name in ("error", "error_description") if name in answer]
    return ", ".join(told) or "no reason"


def _refuse(field: str, reason: str) -> MailError:
    return MailError(ErrorKind.UNAUTHENTICATED, f"{field}: {reason}")
