"""AuthenticateToken: mail programs that log in with a bearer token of the identity provider (RFC 7628, XOAUTH2).

A good token is remembered for a while, so that a telephone that reconnects costs the provider nothing; whose mailbox it
opens is read each time. Guesses are slowed down by network.
"""

import hashlib
import hmac
import math
import secrets

import msgspec
from prometheus_client import CollectorRegistry, Counter

from postbus.contracts import Empty
from postbus.contracts.app_passwords import Access
from postbus.contracts.identity_provider import AuthenticateTokenRequest, ProviderFacts
from postbus.contracts.logins import AuthenticateReply
from postbus.core.clock import Clock
from postbus.core.errors import ErrorKind, MailError, after
from postbusd.directory.names import check_username, fold, read_forward_path
from postbusd.directory.oidc.relying_party import CONFIGURATION_PATH, RelyingParty
from postbusd.directory.passwords import CredentialKeys, provider_digest
from postbusd.directory.ports import DirectoryReader
from postbusd.directory.throttle import BoundedTable, LoginThrottle, network_of

REMEMBERED_SECONDS = 300.0
MAX_REMEMBERED = 10_000
ACCOUNT = "bearer token"
"""To the throttle: whose it would be is not known before it is checked."""


class _Known(msgspec.Struct, frozen=True, kw_only=True):
    username: str
    issuer: str
    until: float


class TokenLogin:
    """The TokenAuthenticator."""

    def __init__(
        self,
        reader: DirectoryReader,
        party: RelyingParty,
        keys: CredentialKeys,
        clock: Clock,
        registry: CollectorRegistry,
    ) -> None:
        self._reader = reader
        self._party = party
        self._keys = keys
        self._clock = clock
        self._throttle = LoginThrottle()
        self._key = secrets.token_bytes(32)
        self._known: BoundedTable[bytes, _Known] = BoundedTable(MAX_REMEMBERED)
        self._logins = Counter(
            "postbus_directory_token_logins",
            "Logins by bearer token, by result (accepted, wrong, inactive, blocked).",
            ["result"],
            registry=registry,
        )

    async def find_provider(self, request: Empty) -> ProviderFacts:
        """What mail programs are told of it."""
        try:
            issuer = (await self._party.provider()).provider.issuer
        except MailError as error:
            if error.kind is not ErrorKind.NOT_FOUND:
                raise
            return ProviderFacts()
        return ProviderFacts(configuration_url=issuer.rstrip("/") + CONFIGURATION_PATH)

    async def authenticate_token(self, request: AuthenticateTokenRequest) -> AuthenticateReply:
        """Checks a token, and whom it opens the mailbox for."""
        network = network_of(request.client_address)
        now = self._clock.monotonic()
        blocked = self._throttle.blocked_seconds(ACCOUNT, network, now)
        if blocked > 0:
            self._logins.labels("blocked").inc()
            wait = math.ceil(blocked)
            raise MailError(ErrorKind.RATE_LIMITED, "too many login attempts, try again later", after(wait))
        try:
            reply = await self._open(request)
        except MailError as error:
            if error.kind is ErrorKind.UNAUTHENTICATED:
                self._throttle.note_failure(ACCOUNT, network, self._clock.monotonic())
                self._logins.labels("wrong").inc()
            elif error.kind is ErrorKind.INACTIVE:
                self._logins.labels("inactive").inc()
            raise
        self._throttle.note_success(ACCOUNT, network, self._clock.monotonic())
        self._logins.labels("accepted").inc()
        return reply

    async def _open(self, request: AuthenticateTokenRequest) -> AuthenticateReply:
        known = await self._whose(request.token)
        local_part = domain = ""
        if request.mailbox:
            address = read_forward_path(request.mailbox)
            if address is None:
                raise _refuse()
            local_part, domain = fold(address.local_part), address.domain
        found = await self._reader.load_opener(known.username, local_part, domain)
        if found is None:
            raise _refuse()
        revision, mailbox, active = found
        if not active or not mailbox.active:
            raise MailError(ErrorKind.INACTIVE, "this mailbox is not active")
        if request.access is Access.POP3 and not mailbox.pop3:
            raise MailError(ErrorKind.INACTIVE, "POP3 is off for this mailbox")
        return AuthenticateReply(
            mailbox_id=mailbox.mailbox_id,
            address=mailbox.address,
            quota_octets=mailbox.quota_octets,
            revision=revision,
            member=known.username,
            proof=self._keys.proof(mailbox.mailbox_id, known.username, provider_digest(known.issuer)),
        )

    async def _whose(self, token: str) -> _Known:
        """Raises MailError: UNAUTHENTICATED, UNAVAILABLE."""
        try:
            issuer = (await self._party.provider()).provider.issuer
            digest = hmac.digest(self._key, f"{issuer}\0{token}".encode("utf-8", "surrogatepass"), hashlib.sha256)
            known = self._known.get(digest)
            if known is not None and known.until > self._clock.monotonic():
                return known
            bearer = await self._party.check(token)
        except MailError as error:
            if error.kind is ErrorKind.NOT_FOUND:
                raise MailError(ErrorKind.UNAUTHENTICATED, error.detail) from error
            raise
        try:
            username = check_username(bearer.username)
        except MailError as error:
            raise _refuse() from error
        left = REMEMBERED_SECONDS
        if bearer.expires_ms is not None:
            left = min(left, (bearer.expires_ms - self._clock.now_ms()) / 1000)
        known = _Known(username=username, issuer=issuer, until=self._clock.monotonic() + left)
        self._known.put(digest, known)
        return known


def _refuse() -> MailError:
    return MailError(ErrorKind.UNAUTHENTICATED, "this user may not open this mailbox")
