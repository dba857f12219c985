"""imap-gateway's composition root."""

import asyncio
import logging

from postbus.core.errors import ErrorKind, MailError
from postbus.core.ids import FolderId, MailboxId
from postbus.mailstore.epoch import Epoch
from postbus.mailstore.postgres import PostgresMailStore
from postbus.runtime.event_log import EventLog
from postbus.runtime.logins import LoginWatch
from postbus.runtime.provider import ProviderWatch
from postbus.runtime.service import Context, ServiceSpec
from postbus.runtime.tls import ServerTls
from postbusd.imap_gateway.adapters.listeners import Listeners
from postbusd.imap_gateway.deps import Deps
from postbusd.imap_gateway.metrics import GatewayMetrics
from postbusd.imap_gateway.ports import GatewayStore
from postbusd.imap_gateway.room import AppendRoom
from postbusd.imap_gateway.server import ImapServer
from postbusd.imap_gateway.settings import ImapGatewaySettings
from postbusd.imap_gateway.view_registry import ViewRegistry

log = logging.getLogger(__name__)

LAST_EVENTS_SECONDS = 2.0
NOBODY = MailboxId("00000000-0000-0000-0000-000000000000")
"""A mailbox that never exists: asking for it shows that the database answers."""


class ImapGatewayService:
    """The running service."""

    def __init__(self, context: Context, settings: ImapGatewaySettings, store: GatewayStore, tls: ServerTls) -> None:
        self._context = context
        self._settings = settings
        metrics = GatewayMetrics(context.registry)
        self._views = ViewRegistry(store, context.bus, settings.cached_messages)
        self._events = EventLog(context.bus, context.clock, context.service, metrics.events_dropped)
        self._metrics = metrics
        self._logins = LoginWatch(context.rpc.directory)
        self._provider = ProviderWatch(context.rpc.directory)
        self._server = ImapServer(
            Deps(
                store=store,
                blobs=context.blobs,
                bus=context.bus,
                authenticator=context.rpc.directory,
                tokens=context.rpc.directory,
                provider=self._provider,
                logins=self._logins,
                resolver=context.rpc.directory,
                indexer=context.rpc.indexer,
                clock=context.clock,
                views=self._views,
                events=self._events,
                metrics=metrics,
                settings=settings,
                room=AppendRoom(settings.append_memory_octets),
                mail_host=context.runtime.mail_host,
                tls_offered=True,
            )
        )
        self._listeners = Listeners(
            tls.context,
            self._server.accept,
            max_strangers=settings.max_strangers,
            max_strangers_per_address=settings.max_strangers_per_address,
        )

    @property
    def port(self) -> ImapServer:
        """imap-gateway's contract."""
        return self._server

    async def start(self) -> None:
        """Spawns the loops, opens the doors that are set."""
        context, settings = self._context, self._settings
        context.spawn("sessions", self._server.run)
        context.spawn("sweep", self._sweep)
        context.spawn("events", self._events.run)
        context.bus.on_reconnect(self._recheck)
        context.epoch.listen(self._end_epoch)
        await self._logins.listen(context.bus)
        context.spawn("logins", self._logins.run)
        await self._provider.listen(context.bus)
        context.spawn("provider", self._provider.run)
        for name, endpoint in (
            ("imaps", settings.imaps_listen),
            ("imap", settings.imap_listen),
            ("pop3s", settings.pop3s_listen),
            ("pop3", settings.pop3_listen),
        ):
            if endpoint:
                port = await self._open(endpoint, name)
                log.info("imap.listener.open", extra={"listener": name, "port": port})

    async def _open(self, endpoint: str, name: str) -> int:
        try:
            return await self._listeners.open(endpoint, name=name)
        except OSError as error:
            raise MailError(ErrorKind.CONFLICT, f"{endpoint}: {error.strerror or error}") from error

    async def drain(self) -> None:
        """Closes the doors, says BYE, publishes the last events."""
        await self._listeners.close()
        await self._server.drain()
        try:
            async with asyncio.timeout(LAST_EVENTS_SECONDS):
                await self._events.flush()
        except (MailError, TimeoutError):
            log.warning("imap.events.lost")

    async def _end_epoch(self, epoch: Epoch, before: Epoch | None, _: object) -> None:
        """Before anything of the new epoch is read: views and sessions of the one before end (architecture §4)."""
        if before is None:
            return
        ended = self._server.end_epoch()
        self._views.end_all()
        log.warning("imap.epoch.over", extra={"epoch": epoch.number, "reason": epoch.reason, "sessions": ended})

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(self._settings.sweep_seconds)
            await self._recheck()

    async def _recheck(self) -> None:
        """After a reconnect, and as often as `sweep_seconds` says."""
        self._metrics.views.set(self._views.open_views)
        self._metrics.view_messages.set(self._views.messages)
        try:
            await self._views.sweep()
        except MailError as error:
            log.warning("imap.sweep.failed", extra={"reason": str(error)})


async def build(context: Context, settings: ImapGatewaySettings) -> ImapGatewayService:
    """Makes the service; opens no listeners."""
    store = PostgresMailStore(await context.postgres(), context.clock)

    async def check_database() -> None:
        await store.heads([(NOBODY, FolderId(0))])

    context.add_check("database", check_database)
    return ImapGatewayService(context, settings, store, ServerTls(context))


SPEC = ServiceSpec(name="imap-gateway", settings=ImapGatewaySettings, build=build)
