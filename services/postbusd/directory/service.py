"""All of `postbus.contracts.directory.Directory`, and the news about changes.

The administrator's methods stand in Administration; what a change must do to caches and peers stands here.
"""

import msgspec

from postbus.bus.outbox import OutboxRelay
from postbus.bus.ports import Bus
from postbus.bus.subjects import SUBJECT_DIRECTORY_CHANGED
from postbus.contracts import Empty
from postbus.contracts.directory import FindRouteRequest, ResolveReply, ResolveRequest, Route
from postbus.contracts.events import DirectoryChanged
from postbus.contracts.identity_provider import AuthenticateTokenRequest, ProviderFacts
from postbus.contracts.logins import AuthenticateReply, AuthenticateRequest, ConfirmLoginsReply, ConfirmLoginsRequest
from postbusd.directory.administration import Administration, Tools
from postbusd.directory.confirming import LoginConfirming
from postbusd.directory.login import PasswordAuthenticator
from postbusd.directory.resolution import CachedResolver
from postbusd.directory.routes import CachedRoutes
from postbusd.directory.token_login import TokenLogin

RELAY_SECONDS = 30.0
"""How often the outbox is looked at without a reason: events of a process that died after its commit."""


class LoginParts(msgspec.Struct, frozen=True, kw_only=True):
    """What checks logins to mailboxes."""

    authenticator: PasswordAuthenticator
    token_login: TokenLogin
    confirming: LoginConfirming


class DirectoryService(Administration):
    """The parts of directory as one contract."""

    def __init__(
        self,
        *,
        resolver: CachedResolver,
        logins: LoginParts,
        routes: CachedRoutes,
        tools: Tools,
        bus: Bus,
    ) -> None:
        super().__init__(tools, self._tell_change)
        self._resolver = resolver
        self._authenticator = logins.authenticator
        self._token_login = logins.token_login
        self._confirming = logins.confirming
        self._routes = routes
        self._bus = bus
        self._relay = OutboxRelay(tools.repository.relay_outbox, bus, RELAY_SECONDS)

    async def resolve(self, request: ResolveRequest) -> ResolveReply:
        """What becomes of mail for these addresses."""
        return await self._resolver.resolve(request)

    async def authenticate(self, request: AuthenticateRequest) -> AuthenticateReply:
        """Checks a password."""
        return await self._authenticator.authenticate(request)

    async def find_provider(self, request: Empty) -> ProviderFacts:
        """What mail programs are told of the identity provider."""
        return await self._token_login.find_provider(request)

    async def authenticate_token(self, request: AuthenticateTokenRequest) -> AuthenticateReply:
        """Checks a bearer token."""
        return await self._token_login.authenticate_token(request)

    async def confirm_logins(self, request: ConfirmLoginsRequest) -> ConfirmLoginsReply:
        """Whether the logins of open sessions still stand."""
        return await self._confirming.confirm_logins(request)

    async def find_route(self, request: FindRouteRequest) -> Route:
        """The way out for mail of a domain, and what it is signed as."""
        return await self._routes.find_route(request)

    async def check_database(self) -> None:
        """Readiness: raises MailError when the directory can't be read."""
        await self._repository.revision()

    async def note_change(self, changed: DirectoryChanged) -> None:
        """Another process has changed the directory."""
        self._resolver.cache.advance(changed.revision)
        self._authenticator.cache.advance(changed.revision)
        self._routes.advance(changed.revision)

    async def forget(self) -> None:
        """Changes may have been missed: the bus was away."""
        self._resolver.cache.clear()
        self._authenticator.cache.clear()
        self._routes.clear()

    def wake_events(self) -> None:
        """There are new ones in the outbox."""
        self._relay.wake()

    async def relay_events(self) -> None:
        """Publishes the outbox, for ever."""
        await self._relay.run()

    async def tell_all(self, changed: DirectoryChanged) -> None:
        """Drops what is cached before this revision, here and elsewhere."""
        await self.note_change(changed)
        await self._bus.wake(SUBJECT_DIRECTORY_CHANGED, changed)

    async def _tell_change(self, changed: DirectoryChanged) -> None:
        """After the commit. A lost wake-up costs 60 s: no cache lives longer unconfirmed."""
        self._relay.wake()
        await self.tell_all(changed)
