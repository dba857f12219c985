"""Authenticate (architecture §6): one reply for every wrong pair, slow hashing bounded, repeats answered from a cache.

- An unknown account costs one hash like a known one, and gives the same reply.
- INACTIVE is told only to who knows the password; to anybody else the mailbox looks like any other.
- A blocked network is refused before the cache is asked: the cache is no oracle for guessing fast.
- A wrong password that is repeated within FAILURE_SECONDS is one failure: a forgotten telephone blocks nobody.
"""

import hashlib
import hmac
import logging
import math
import secrets

import msgspec
from prometheus_client import CollectorRegistry, Counter

from postbus.contracts.app_passwords import Access
from postbus.contracts.logins import AuthenticateReply, AuthenticateRequest
from postbus.contracts.owners import OwnerKind
from postbus.core.clock import Clock
from postbus.core.errors import ErrorKind, MailError, after
from postbusd.directory.names import fold, read_forward_path
from postbusd.directory.passwords import CredentialKeys, digest_of, is_possible, prepare_password
from postbusd.directory.ports import LoginRepository, PasswordHasher
from postbusd.directory.rehashing import refresh_hash
from postbusd.directory.throttle import BoundedTable, LoginThrottle, network_of
from postbusd.directory.values import Credential, Login, MailboxFacts

SUCCESS_SECONDS = 300.0
FAILURE_SECONDS = 60.0
CONFIRM_SECONDS = 60.0  # wake-ups may be lost: the cache's revision is compared with the database's this often
MAX_CACHED = 10_000  # of each kind
MAX_USERNAME_CHARACTERS = 512

log = logging.getLogger(__name__)


class _Proven(msgspec.Struct, frozen=True, kw_only=True):
    mailbox: MailboxFacts
    member: str
    active: bool
    """Owner and mailbox."""
    scopes: tuple[Access, ...] | None
    """None: everything."""
    second_factor: bool
    """A password that is not enough."""
    app_password: str
    revision: int
    expires: float
    proof: str


class LoginCache:
    """Outcomes by keyed digest; the key is this process's own and is never stored."""

    def __init__(self) -> None:
        self._key = secrets.token_bytes(32)
        self._successes: BoundedTable[bytes, _Proven] = BoundedTable(MAX_CACHED)
        self._failures: BoundedTable[bytes, float] = BoundedTable(MAX_CACHED)
        self.revision = 0
        self.confirmed = -math.inf

    def digest(self, account: str, password: str) -> bytes:
        """What an attempt is known by."""
        return hmac.digest(self._key, f"{account}\0{password}".encode("utf-8", "surrogatepass"), hashlib.sha256)

    def success(self, digest: bytes, now: float) -> _Proven | None:
        """A fresh success."""
        proven = self._successes.get(digest)
        return proven if proven is not None and proven.expires > now else None

    def failed(self, digest: bytes, now: float) -> bool:
        """Whether this attempt failed a moment ago."""
        return (self._failures.get(digest) or -math.inf) > now

    def put_success(self, digest: bytes, proven: _Proven) -> None:
        """Keeps a success, unless it is older than a change we know of."""
        self.advance(proven.revision)
        if proven.revision == self.revision:
            self._successes.put(digest, proven)

    def put_failure(self, digest: bytes, revision: int, now: float) -> None:
        """Keeps a failure, unless it is older than a change we know of."""
        if revision >= self.revision:
            self._failures.put(digest, now + FAILURE_SECONDS)

    def advance(self, revision: int) -> None:
        """A change is known: everything before it is stale."""
        if revision > self.revision:
            self.clear()
            self.revision = revision

    def clear(self) -> None:
        """Changes may have been missed."""
        self._successes.clear()
        self._failures.clear()


class PasswordAuthenticator:
    """The Authenticator of directory: a mailbox's address, and the password of one who may open it."""

    def __init__(
        self,
        reader: LoginRepository,
        hasher: PasswordHasher,
        keys: CredentialKeys,
        clock: Clock,
        registry: CollectorRegistry,
    ) -> None:
        self.cache = LoginCache()
        self._reader = reader
        self._hasher = hasher
        self._keys = keys
        self._clock = clock
        self._throttle = LoginThrottle()
        self._logins = Counter(
            "postbus_directory_logins",
            "Logins checked, by result (accepted, cached, wrong, repeated, inactive, second_factor, blocked).",
            ["result"],
            registry=registry,
        )
        self._rehashed = Counter("postbus_directory_rehashed", "Passwords hashed anew at a login.", registry=registry)

    async def authenticate(self, request: AuthenticateRequest) -> AuthenticateReply:
        """Checks a password. Raises MailError: UNAUTHENTICATED, INACTIVE, RATE_LIMITED, UNAVAILABLE."""
        address = read_forward_path(request.username)
        name = fold(address.local_part) if address else request.username[:MAX_USERNAME_CHARACTERS]
        account = f"{name}@{address.domain}" if address else name
        network = network_of(request.client_address)
        self._refuse_for(self._throttle.blocked_seconds(account, network, self._clock.monotonic()))
        if not is_possible(request.password):
            raise self._wrong(account, network)
        password = prepare_password(request.password)
        digest = self.cache.digest(account, password)
        await self._confirm_revision()
        now = self._clock.monotonic()
        proven = self.cache.success(digest, now)
        if proven is not None:
            return self._admit(proven, "cached", request.access, account, network)
        if self.cache.failed(digest, now):
            self._logins.labels("repeated").inc()
            raise _wrong_error()
        login, index = None, self._keys.index(password)
        if address is not None:
            login = await self._reader.load_login(name, address.domain, self._keys.tag(password), index)
        proven = await self._prove_generated(login, index)
        if proven is None:
            self._refuse_for(self._throttle.take_hash(account, network, now))
            proven = await self._prove(login, password)
        if proven is None:
            self.cache.put_failure(digest, login.revision if login else self.cache.revision, self._clock.monotonic())
            raise self._wrong(account, network)
        self.cache.put_success(digest, proven)
        reply = self._admit(proven, "accepted", request.access, account, network)
        self._throttle.note_success(account, network, self._clock.monotonic())
        return reply

    async def _prove_generated(self, login: Login | None, index: str) -> _Proven | None:
        """An app's credential or an app password: fast, as it has 128 bits and can't be guessed."""
        if login is None:
            return None
        for credential in login.credentials:
            is_app = login.owner_kind is OwnerKind.APP
            if (is_app or credential.app_password) and hmac.compare_digest(credential.secret_hash, index):
                if self._seconds_left(credential) <= 0:
                    return None
                if credential.app_password:
                    await self._note_use(index)
                return self._proven(login, credential, "" if is_app else credential.name)
        return None

    async def _prove(self, login: Login | None, password: str) -> _Proven | None:
        """Whose password it is; None: nobody's."""
        if login is not None and login.owner_kind is OwnerKind.APP:
            return None
        credentials = [each for each in login.credentials if not each.app_password] if login is not None else []
        if login is None or not credentials:
            await self._hasher.verify_nothing(password)
            return None
        for credential in credentials:
            if await self._hasher.verify(credential.secret_hash, password):
                return self._proven(login, await self._refreshed(credential, password), credential.name)
        return None

    async def _refreshed(self, credential: Credential, password: str) -> Credential:
        """The credential with a hash as new ones are made, where its own is of another kind."""
        before = credential.secret_hash
        now = await refresh_hash(self._reader, self._hasher, self._keys, credential.name, (before, password))
        if now != before:
            self._rehashed.inc()
        return msgspec.structs.replace(credential, secret_hash=now)

    async def _note_use(self, index: str) -> None:
        """Nice to know, and no reason to refuse."""
        try:
            await self._reader.touch_app_password(index)
        except MailError as error:
            log.warning("directory.app_password.untouched", extra={"reason": str(error)})

    def _seconds_left(self, credential: Credential) -> float:
        if credential.expires_ms is None:
            return SUCCESS_SECONDS
        return (credential.expires_ms - self._clock.now_ms()) / 1000

    def _proven(self, login: Login, credential: Credential, member: str) -> _Proven:
        digest = digest_of(credential.secret_hash)
        return _Proven(
            mailbox=login.mailbox,
            member=member,
            active=login.mailbox.active and credential.active,
            scopes=credential.scopes,
            second_factor=credential.second_factor,
            app_password=credential.app_password,
            revision=login.revision,
            expires=self._clock.monotonic() + min(SUCCESS_SECONDS, self._seconds_left(credential)),
            proof=self._keys.proof(login.mailbox.mailbox_id, member, digest),
        )

    async def _confirm_revision(self) -> None:
        """Notices changes whose wake-up was lost. Without a database the cache lives on for its five minutes."""
        now = self._clock.monotonic()
        if now - self.cache.confirmed < CONFIRM_SECONDS:
            return
        try:
            self.cache.advance(await self._reader.revision())
        except MailError as error:
            log.warning("directory.revision.unknown", extra={"kind": error.kind.value, "reason": error.detail})
            return
        self.cache.confirmed = now

    def _admit(self, proven: _Proven, result: str, access: Access, account: str, network: str) -> AuthenticateReply:
        if proven.scopes is not None and access not in proven.scopes:
            raise self._wrong(account, network)
        if not proven.active:
            self._logins.labels("inactive").inc()
            raise MailError(ErrorKind.INACTIVE, "this mailbox is not active")
        if proven.second_factor:
            self._logins.labels("second_factor").inc()
            raise MailError(ErrorKind.INACTIVE, "with a second factor mail programs need an app password")
        if access is Access.POP3 and not proven.mailbox.pop3:
            self._logins.labels("inactive").inc()
            raise MailError(ErrorKind.INACTIVE, "POP3 is off for this mailbox")
        self._logins.labels(result).inc()
        return AuthenticateReply(
            mailbox_id=proven.mailbox.mailbox_id,
            address=proven.mailbox.address,
            quota_octets=proven.mailbox.quota_octets,
            revision=proven.revision,
            member=proven.member,
            proof=proven.proof,
            app_password=proven.app_password,
        )

    def _refuse_for(self, seconds: float) -> None:
        if seconds > 0:
            self._logins.labels("blocked").inc()
            raise MailError(
                ErrorKind.RATE_LIMITED, "too many login attempts, try again later", after(math.ceil(seconds))
            )

    def _wrong(self, account: str, network: str) -> MailError:
        self._throttle.note_failure(account, network, self._clock.monotonic())
        self._logins.labels("wrong").inc()
        return _wrong_error()


def _wrong_error() -> MailError:
    return MailError(ErrorKind.UNAUTHENTICATED, "wrong user name or password")
