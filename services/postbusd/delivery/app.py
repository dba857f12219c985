"""Composition root of delivery."""

import asyncio
import random

import asyncpg
from prometheus_client import Gauge

from postbus.bus.outbox import OutboxRelay
from postbus.bus.subjects import SUBJECT_DIRECTORY_CHANGED
from postbus.contracts.events import DirectoryChanged
from postbus.core.errors import MailError
from postbus.mailstore.postgres import PostgresMailStore
from postbus.runtime.dns import DnsResolver
from postbus.runtime.service import Context, ServiceSpec
from postbusd.delivery.adapters.postgres import PostgresLedger
from postbusd.delivery.adapters.postgres_books import PostgresBooks
from postbusd.delivery.adapters.postgres_expansions import PostgresExpansions
from postbusd.delivery.adapters.postgres_letters import PostgresLetters
from postbusd.delivery.adapters.postgres_queue import PostgresQueue
from postbusd.delivery.adapters.postgres_restore import QueueEpochs
from postbusd.delivery.expansion import Expander
from postbusd.delivery.journey import Site
from postbusd.delivery.ledger.audit import Auditor
from postbusd.delivery.ledger.bookkeeping import Bookkeeping
from postbusd.delivery.ledger.held import HeldMail, Road
from postbusd.delivery.ledger.keeper import Keeper, trim_ledger_forever
from postbusd.delivery.ledger.keeper import Parts as KeeperParts
from postbusd.delivery.ledger.metrics import LedgerMetrics
from postbusd.delivery.outbound.control import Control
from postbusd.delivery.outbound.entering import Lifetime
from postbusd.delivery.outbound.handing import Handover, Parts, QueueMetrics
from postbusd.delivery.outbound.notices import Notices
from postbusd.delivery.outbound.own_mail import OwnMail
from postbusd.delivery.outbound.queue import Counts
from postbusd.delivery.outbound.relay_testing import RelayTrials
from postbusd.delivery.outbound.reporting import Reporter
from postbusd.delivery.outbound.scheduler import Scheduler
from postbusd.delivery.outbound.signing import DkimSigner
from postbusd.delivery.outbound.transmit import SmtpTransmitter
from postbusd.delivery.precheck import PrecheckService
from postbusd.delivery.relay import (
    one_after_another,
    relay_reports_forever,
    trim_forever,
    trim_history_forever,
    trim_queue_forever,
)
from postbusd.delivery.service import DeliveryPort
from postbusd.delivery.settings import DeliverySettings
from postbusd.delivery.worker import Metrics, Worker

DNS_SECONDS = 10.0
COUNT_SECONDS = 15.0


class Tables:
    """What delivery keeps in Postgres, by port."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self.ledger = PostgresLedger(pool)
        self.books = PostgresBooks(pool)
        self.letters = PostgresLetters(pool)
        self.queue = PostgresQueue(pool)
        self.expansions = PostgresExpansions(pool)
        self.store = PostgresMailStore(pool)


class DeliveryService:
    """The running service."""

    def __init__(self, context: Context, settings: DeliverySettings, tables: Tables) -> None:
        ledger, queue, store, expansions = tables.ledger, tables.queue, tables.store, tables.expansions
        self._context = context
        self._settings = settings
        self._store = store
        self._queue = queue
        self._expansions = expansions
        self._books = tables.books
        self._owner = context.instance_id
        self._resolver = DnsResolver(context.runtime.resolver, timeout_seconds=DNS_SECONDS, clock=context.clock)
        self._counts = Counts()
        own_mail = OwnMail(context.blobs, context.clock, context.runtime.mail_host)
        reporter = Reporter(context.blobs, context.clock, own_mail)
        transmitter = SmtpTransmitter(
            resolver=self._resolver,
            settings=settings,
            clock=context.clock,
            mail_host=context.runtime.mail_host,
            registry=context.registry,
        )
        self._handover = Handover(self._parts(reporter, transmitter))
        self._scheduler = Scheduler(
            owner=self._owner, queue=queue, handover=self._handover, clock=context.clock, settings=settings
        )
        control = Control(
            owner=self._owner, queue=queue, reporter=reporter, scheduler=self._scheduler, clock=context.clock
        )
        road = Road(
            store=store,
            blobs=context.blobs,
            bus=context.bus,
            resolver=context.rpc.directory,
            expander=Expander(context.rpc.directory, expansions, context.clock),
            site=Site(mail_host=context.runtime.mail_host, lifetime=Lifetime(hours=settings.queue_lifetime_hours)),
            wake_queue=self._scheduler.wake,
            clock=context.clock,
        )
        auditor = Auditor(context.bus, tables.books, context.clock)
        self._port = DeliveryPort(
            ledger=ledger,
            books=queue,
            control=control,
            prechecker=PrecheckService(context.rpc.directory),
            bookkeeper=Bookkeeping(auditor, tables.books, tables.letters, HeldMail(tables.letters, road)),
            notices=Notices(own_mail, queue, context.clock),
            relay_tester=RelayTrials(
                directory=context.rpc.directory,
                router=transmitter.router,
                opener=transmitter.opener,
                clock=context.clock,
                egress_allow=settings.egress_networks(),
            ),
        )
        self._worker = Worker(
            bus=context.bus,
            store=store,
            blobs=context.blobs,
            ledger=ledger,
            queue=queue,
            wake_queue=self._scheduler.wake,
            site=road.site,
            expander=road.expander,
            clock=context.clock,
            settings=settings,
            metrics=Metrics(context.registry),
        )
        keeping = KeeperParts(
            auditor=auditor,
            books=tables.books,
            bus=context.bus,
            deliver=self._worker.deliver,
            metrics=LedgerMetrics(context.registry),
            clock=context.clock,
        )
        self._keeper = Keeper(self._owner, keeping, settings.ledger_check_seconds)
        context.add_check("database", ledger.check)
        context.epoch.listen(QueueEpochs(queue, context.registry).begin)
        copies = Gauge(
            "postbus_delivery_queue_copies",
            "Outgoing copies that are not finished, by state (waiting, held).",
            ["state"],
            registry=context.registry,
        )
        copies.labels("waiting").set_function(lambda: self._counts.waiting)
        copies.labels("held").set_function(lambda: self._counts.held)
        oldest = Gauge(
            "postbus_delivery_queue_oldest_seconds",
            "Since the oldest message with a waiting outgoing copy was accepted; 0: none waits.",
            registry=context.registry,
        )
        oldest.set_function(self._oldest_seconds)

    @property
    def port(self) -> DeliveryPort:
        """The contract's implementation."""
        return self._port

    async def start(self) -> None:
        """Spawns the loops."""
        context, settings, bus = self._context, self._settings, self._context.bus
        await bus.listen(SUBJECT_DIRECTORY_CHANGED, DirectoryChanged, self._on_directory_changed)
        bus.on_reconnect(self._handover.forget_routes)
        context.spawn("worker", self._worker.run)
        outboxes = one_after_another(self._store.relay_outbox, self._queue.relay_events)
        context.spawn("relay", OutboxRelay(outboxes, bus, settings.relay_seconds).run)
        context.spawn("trim", lambda: trim_forever(bus, settings.trim_seconds))
        context.spawn("history", lambda: trim_history_forever(self._store, context.clock, settings.history_days))
        context.spawn("lock", lambda: self._queue.keep_lock(self._owner))
        context.spawn("queue", self._scheduler.run)
        context.spawn("leases", self._scheduler.keep_leases)
        context.spawn("reports", lambda: relay_reports_forever(self._queue, bus, settings.queue_poll_seconds))
        context.spawn(
            "queue-history",
            lambda: trim_queue_forever(self._queue, self._expansions, context.clock, settings.queue_history_days),
        )
        context.spawn("queue-count", self._count)
        context.spawn("ledger", self._keeper.run)
        context.spawn("ledger-history", lambda: trim_ledger_forever(self._books, context.clock, settings.ledger_days))

    async def drain(self) -> None:
        """Finishes the batch in hand and the transactions under way."""
        await asyncio.gather(self._worker.drain(), self._scheduler.drain())
        await self._resolver.close()

    def _parts(self, reporter: Reporter, transmitter: SmtpTransmitter) -> Parts:
        context, settings = self._context, self._settings
        return Parts(
            queue=self._queue,
            directory=context.rpc.directory,
            transmitter=transmitter,
            signer=DkimSigner(context.rpc.dns_provisioner, context.clock),
            reporter=reporter,
            blobs=context.blobs,
            clock=context.clock,
            settings=settings,
            metrics=QueueMetrics(context.registry),
            chance=random.Random(),  # noqa: S311  # spreads retries, keeps no secret
        )

    async def _on_directory_changed(self, _: DirectoryChanged) -> None:
        await self._handover.forget_routes()

    def _oldest_seconds(self) -> float:
        oldest_ms = self._counts.oldest_ms
        return max(self._context.clock.now_ms() - oldest_ms, 0) / 1000 if oldest_ms else 0.0

    async def _count(self) -> None:
        """Keeps the gauge fresh without a query at each scrape."""
        while True:
            try:
                self._counts = await self._queue.counts()
            except MailError:
                pass  # readiness tells
            await asyncio.sleep(COUNT_SECONDS)


async def build(context: Context, settings: DeliverySettings) -> DeliveryService:
    """Wires delivery."""
    return DeliveryService(context, settings, Tables(await context.postgres()))


SPEC = ServiceSpec(name="delivery", settings=DeliverySettings, build=build)
