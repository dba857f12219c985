"""delivery's own composition in a forked process, for trials by `postbus.testing.kill_points`.

Real Postgres, NATS, blob store and SMTP; directory and dns-provisioner are answered from the order, which may answer
otherwise the next time: as a directory does that was changed meanwhile.
"""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import msgspec
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519

from postbus.blobs.local import LocalBlobStore
from postbus.bus.nats import NatsBus
from postbus.bus.ports import MailDelivery
from postbus.bus.subjects import CONSUMER_DELIVERY, STREAM_MAIL
from postbus.contracts.directory import (
    FindRouteRequest,
    MailboxTarget,
    Outcome,
    Resolution,
    ResolveReply,
    ResolveRequest,
    Route,
)
from postbus.contracts.dns_provisioner import DkimAlgorithm, DkimKey, GetDkimKeysReply, GetDkimKeysRequest
from postbus.core.clock import SystemClock
from postbus.core.ids import MailboxId
from postbus.runtime.context import ServiceContext
from postbus.runtime.service import Rpc
from postbus.runtime.settings import RuntimeSettings
from postbus.testing.kill_points import KillPoints
from postbusd.delivery.app import DeliveryService, build
from postbusd.delivery.relay import one_after_another
from postbusd.delivery.settings import DeliverySettings

FETCH_SECONDS = 5.0
IDLE_SECONDS = 0.1
REPORT_ROWS = 20
EVENT_ROWS = 500
BATCH = 64
_KEY = ed25519.Ed25519PrivateKey.generate().private_bytes(
    serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
)


class Servers(msgspec.Struct, frozen=True, kw_only=True):
    """Where everything is."""

    data_dir: str
    secrets_dir: str
    postgres_dsn: str
    nats_url: str
    resolver: str = ""
    mx_port: int = 25


class Trial(msgspec.Struct, frozen=True, kw_only=True):
    """What delivery is to do."""

    servers: Servers
    action: str
    """`deliver` messages of the bus, `hand_over` what the queue holds, `relay` events; to the end: `drain` the bus, or
    `finish` bus and queue."""
    messages: int = 0
    """deliver: how many to take, all in one batch."""
    resolves_to: dict[str, str] = {}
    """directory's answers: mailbox_id by address."""
    poison_attempts: int = 1


class _Directory:
    """The directory as the order describes it."""

    def __init__(self, resolves_to: dict[str, str]) -> None:
        self._resolves_to = resolves_to

    async def resolve(self, request: ResolveRequest) -> ResolveReply:
        """After an await, as a call over the network is one."""
        await asyncio.sleep(0)
        return ResolveReply(resolutions=tuple(self._resolve(path) for path in request.forward_paths), revision=1)

    def _resolve(self, path: str) -> Resolution:
        mailbox = self._resolves_to.get(path)
        if mailbox is None:
            return Resolution(forward_path=path, outcome=Outcome.LATER)
        target = MailboxTarget(mailbox_id=MailboxId(mailbox), address=path)
        return Resolution(forward_path=path, outcome=Outcome.MAILBOX, targets=(target,))

    async def find_route(self, request: FindRouteRequest) -> Route:
        """By MX, signed."""
        await asyncio.sleep(0)
        return Route(signing_domain=request.domain)


class _Keys:
    """dns-provisioner with the same key for every domain."""

    async def get_dkim_keys(self, request: GetDkimKeysRequest) -> GetDkimKeysReply:
        """After an await."""
        await asyncio.sleep(0)
        key = DkimKey(domain=request.domain, selector="s", algorithm=DkimAlgorithm.ED25519_SHA256, private_key_pem=_KEY)
        return GetDkimKeysReply(keys=(key,))


class _Rpc(msgspec.Struct, frozen=True, kw_only=True):
    directory: _Directory
    dns_provisioner: _Keys


async def run_trial(argument: bytes, points: KillPoints) -> bytes:
    """The `Work` of the zygote."""
    trial = msgspec.msgpack.decode(argument, type=Trial)
    async with _composed(trial) as (service, bus):
        if trial.action == "deliver":
            deliveries = await _fetch(bus, trial.messages)
            await service._queue.counts()  # a database connection, so that its opening is not counted
            await points.watch(service._worker.deliver(deliveries))
        elif trial.action == "hand_over":
            async with _lock_held(service):
                await service._queue.counts()
                await points.watch(_hand_over(service, bus))
        elif trial.action == "relay":
            await bus._ready(FETCH_SECONDS)
            relay = one_after_another(service._store.relay_outbox, service._queue.relay_events)
            await points.watch(relay(EVENT_ROWS, bus.publish_events))
        elif trial.action == "drain":
            await _drain(service, bus)
        else:
            async with _lock_held(service):
                await _finish(service, bus)
    return b""


@contextlib.asynccontextmanager
async def _composed(trial: Trial) -> AsyncIterator[tuple[DeliveryService, NatsBus]]:
    servers = trial.servers
    runtime = RuntimeSettings(
        data_dir=servers.data_dir,
        secrets_dir=servers.secrets_dir,
        postgres_dsn=servers.postgres_dsn,
        nats_url=servers.nats_url,
        resolver=servers.resolver,
        disk_reserve_octets=0,
    )
    settings = DeliverySettings(
        poison_attempts=trial.poison_attempts, mx_port=servers.mx_port, egress_allow=("127.0.0.0/8",)
    )
    rpc = cast("Rpc", _Rpc(directory=_Directory(trial.resolves_to), dns_provisioner=_Keys()))
    blobs = LocalBlobStore(Path(runtime.expand(runtime.blobs_dir)), 0)
    context = ServiceContext("delivery", f"trial-{os.getpid()}", SystemClock(), runtime, rpc, blobs)
    try:
        yield await build(context, settings), context._nats
    finally:
        await context.close()


@contextlib.asynccontextmanager
async def _lock_held(service: DeliveryService) -> AsyncIterator[None]:
    """While the block runs others see that this process lives, and it may claim."""
    holding = asyncio.create_task(service._queue.keep_lock(service._owner))
    try:
        while not service._queue.holds_lock:  # noqa: ASYNC110  # the lock has no event
            await asyncio.sleep(0.001)
        yield
    finally:
        holding.cancel()
        await asyncio.gather(holding, return_exceptions=True)


async def _fetch(bus: NatsBus, count: int) -> list[MailDelivery]:
    found: list[MailDelivery] = []
    while len(found) < count:
        found += await bus.fetch_mail(count - len(found), FETCH_SECONDS)
    return found


async def _hand_over(service: DeliveryService, bus: NatsBus) -> None:
    """A round of the queue with the DSNs that follow from it; they are delivered as any message is."""
    await service._scheduler.work_once()
    await service._queue.relay_reports(REPORT_ROWS, bus.publish_mail)


async def _finish(service: DeliveryService, bus: NatsBus) -> None:
    """Until nothing is left to do; what dead processes had leased is freed first."""
    suspects = await service._queue.release_orphans(service._owner, [])
    await service._queue.release_orphans(service._owner, suspects)
    while (await service._queue.counts()).waiting:
        await service._scheduler.work_once()
    while await service._queue.relay_reports(REPORT_ROWS, bus.publish_mail):
        pass
    await _drain(service, bus)


async def _drain(service: DeliveryService, bus: NatsBus) -> None:
    """Until the bus has nothing for us, and nothing that it waits for."""
    while True:
        deliveries = await bus.fetch_mail(BATCH, IDLE_SECONDS)
        await service._worker.deliver(deliveries)
        info: Any = await bus._client.jetstream().consumer_info(STREAM_MAIL, CONSUMER_DELIVERY)
        if not deliveries and not info.num_pending and not info.num_ack_pending:
            return
