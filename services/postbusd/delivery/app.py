"""Composition root of delivery."""

from postbus.bus.outbox import OutboxRelay
from postbus.contracts.delivery import GetMessageReply, GetMessageRequest, Prechecker, PrecheckReply, PrecheckRequest
from postbus.core.errors import ErrorKind, MailError
from postbus.mailstore.postgres import PostgresMailStore
from postbus.runtime.service import Context, ServiceSpec
from postbusd.delivery.adapters.postgres import PostgresLedger
from postbusd.delivery.ports import Ledger
from postbusd.delivery.precheck import PrecheckService
from postbusd.delivery.relay import trim_forever, trim_history_forever
from postbusd.delivery.settings import DeliverySettings
from postbusd.delivery.worker import Metrics, Worker


class DeliveryPort:
    """delivery's contract."""

    def __init__(self, ledger: Ledger, prechecker: Prechecker) -> None:
        self._ledger = ledger
        self._prechecker = prechecker

    async def precheck(self, request: PrecheckRequest) -> PrecheckReply:
        """Which recipients would refuse."""
        return await self._prechecker.precheck(request)

    async def get_message(self, request: GetMessageRequest) -> GetMessageReply:
        """The ledger's account of a message."""
        entry = await self._ledger.find(request.queue_id)
        if entry is None:
            raise MailError(ErrorKind.NOT_FOUND, f"queue_id: {request.queue_id} is not in the ledger")
        return GetMessageReply(
            queue_id=entry.queue_id,
            stream_sequence=entry.stream_sequence,
            accounted=entry.accounted,
            detail=entry.detail,
            placements=entry.placements,
            traceparent=entry.traceparent,
        )


class DeliveryService:
    """The running service."""

    def __init__(self, context: Context, settings: DeliverySettings, ledger: Ledger, store: PostgresMailStore) -> None:
        self._context = context
        self._settings = settings
        self._store = store
        self._port = DeliveryPort(ledger, PrecheckService(context.rpc.directory))
        self._worker = Worker(
            bus=context.bus,
            store=store,
            blobs=context.blobs,
            ledger=ledger,
            resolver=context.rpc.directory,
            clock=context.clock,
            settings=settings,
            metrics=Metrics(context.registry),
        )
        context.add_check("database", ledger.check)

    @property
    def port(self) -> DeliveryPort:
        """The contract's implementation."""
        return self._port

    async def start(self) -> None:
        """Spawns the loops."""
        bus = self._context.bus
        self._context.spawn("worker", self._worker.run)
        self._context.spawn("relay", OutboxRelay(self._store.relay_outbox, bus, self._settings.relay_seconds).run)
        self._context.spawn("trim", lambda: trim_forever(bus, self._settings.trim_seconds))
        self._context.spawn(
            "history", lambda: trim_history_forever(self._store, self._context.clock, self._settings.history_days)
        )

    async def drain(self) -> None:
        """Finishes the batch in hand."""
        await self._worker.drain()


async def build(context: Context, settings: DeliverySettings) -> DeliveryService:
    """Wires delivery."""
    pool = await context.postgres()
    return DeliveryService(context, settings, PostgresLedger(pool), PostgresMailStore(pool))


SPEC = ServiceSpec(name="delivery", settings=DeliverySettings, build=build)
