"""smtp-edge's composition root."""

import asyncio
import logging
import shutil

from postbus.bus.subjects import SUBJECT_DIRECTORY_CHANGED
from postbus.contracts.events import DirectoryChanged
from postbus.core.errors import MailError
from postbus.runtime.event_log import EventLog
from postbus.runtime.logins import LoginWatch
from postbus.runtime.policy import PolicyWatch
from postbus.runtime.provider import ProviderWatch
from postbus.runtime.service import Context, ServiceSpec
from postbus.runtime.tls import ServerTls
from postbusd.smtp_edge.adapters.listeners import Listeners
from postbusd.smtp_edge.conversation import ListenerKind, Site
from postbusd.smtp_edge.counters import EdgeCounters
from postbusd.smtp_edge.networks import BlockedNetworks, ConnectionChecks, SessionLimits
from postbusd.smtp_edge.rates import SubmissionRates
from postbusd.smtp_edge.recipients import Recipients
from postbusd.smtp_edge.settings import SmtpEdgeSettings
from postbusd.smtp_edge.signatures import Signatures
from postbusd.smtp_edge.spool import SpoolMemory, remove_leftovers

log = logging.getLogger(__name__)

LAST_EVENTS_SECONDS = 2.0


class SmtpEdgeService:
    """The running service."""

    def __init__(self, context: Context, settings: SmtpEdgeSettings, tls: ServerTls) -> None:
        self._context = context
        self._settings = settings
        self._tls = tls
        self._counters = EdgeCounters(context.instance_id, context.clock.now_ms(), context.registry)
        self._events = EventLog(context.bus, context.clock, context.service, self._counters.events_dropped)
        self._recipients = Recipients(context.rpc.directory, context.clock, settings.resolve_cache_seconds)
        self._signatures = Signatures(context.rpc.directory, context.clock, settings.resolve_cache_seconds)
        self._logins = LoginWatch(context.rpc.directory)
        self._provider = ProviderWatch(context.rpc.directory)
        self._blocked = BlockedNetworks()
        self._policy = PolicyWatch(context.rpc.directory, self._blocked.set)
        self._listeners = Listeners(self._make_site(), tls.context)

    @property
    def port(self) -> EdgeCounters:
        """smtp-edge's contract."""
        return self._counters

    async def start(self) -> None:
        """Opens the doors that are set."""
        context, settings = self._context, self._settings
        spooled = await asyncio.to_thread(remove_leftovers, context.data_dir, 2 * settings.data_seconds)
        if spooled:
            log.info("smtp.spool.cleaned", extra={"files": spooled})
        await context.bus.listen(SUBJECT_DIRECTORY_CHANGED, DirectoryChanged, self._recipients.on_changed)
        context.bus.on_reconnect(self._recipients.on_reconnect)
        await context.bus.listen(SUBJECT_DIRECTORY_CHANGED, DirectoryChanged, self._signatures.on_changed)
        context.bus.on_reconnect(self._signatures.on_reconnect)
        await self._logins.listen(context.bus)
        context.spawn("logins", self._logins.run)
        await self._policy.listen(context.bus)
        context.spawn("policy", self._policy.run)
        await self._provider.listen(context.bus)
        context.spawn("provider", self._provider.run)
        context.spawn("events", self._events.run)
        context.add_check("blobs", self._check_blobs)
        for kind, listen in (
            (ListenerKind.SMTP, settings.smtp_listen),
            (ListenerKind.SUBMISSION, settings.submission_listen),
            (ListenerKind.SUBMISSIONS, settings.submissions_listen),
        ):
            if listen:
                await self._listeners.open(kind, listen)

    async def drain(self) -> None:
        """421 to idle sessions, open transactions to their end, then the last events."""
        await self._listeners.drain()
        try:
            async with asyncio.timeout(LAST_EVENTS_SECONDS):
                await self._events.flush()
        except (MailError, TimeoutError) as error:
            log.warning("smtp.events.lost", extra={"reason": str(error)})

    async def _check_blobs(self) -> None:
        runtime = self._context.runtime
        folder = runtime.expand(runtime.blobs_dir)
        try:
            usage = await asyncio.to_thread(shutil.disk_usage, folder)
        except OSError:
            pass  # below it is told why
        else:
            self._counters.disk(usage.free, runtime.disk_reserve_octets)
        await self._context.blobs.check_writable()

    def _make_site(self) -> Site:
        context, settings = self._context, self._settings
        return Site(
            settings=settings,
            mail_host=context.runtime.mail_host,
            spool_dir=str(context.data_dir),
            memory=SpoolMemory(settings.total_memory_octets),
            clock=context.clock,
            tls=self._tls,
            recipients=self._recipients,
            checks=ConnectionChecks(context.rpc.filter, context.clock, settings.connection_cache_seconds),
            limits=SessionLimits(settings.max_sessions, settings.max_sessions_per_address),
            authenticator=context.rpc.directory,
            tokens=context.rpc.directory,
            provider=self._provider,
            logins=self._logins,
            message_filter=context.rpc.filter,
            prechecker=context.rpc.delivery,
            blobs=context.blobs,
            bus=context.bus,
            events=self._events,
            counters=self._counters,
            rates=SubmissionRates(context.bus, context.clock, lambda: self._policy.policy, self._counters),
            policy=self._policy,
            blocked=self._blocked,
            signatures=self._signatures,
        )


async def build(context: Context, settings: SmtpEdgeSettings) -> SmtpEdgeService:
    """Puts the service together; listens to nothing yet."""
    return SmtpEdgeService(context, settings, ServerTls(context))


SPEC = ServiceSpec(name="smtp-edge", settings=SmtpEdgeSettings, build=build)
