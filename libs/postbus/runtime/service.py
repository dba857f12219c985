"""What a service is to its process, and what the process gives to a service.

`services/postbusd/<name>/app.py` holds `SPEC: ServiceSpec`. A process hosts one or several services (`postbus run a b`)
without any of them knowing: `Context.rpc` calls a service of the same process directly and any other over gRPC.
"""

from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any, Protocol

import asyncpg
import msgspec
from prometheus_client import CollectorRegistry

from postbus.blobs.ports import BlobStore
from postbus.bus.ports import Bus
from postbus.contracts.admin_api import AdminApi
from postbus.contracts.delivery import Delivery
from postbus.contracts.directory import Directory
from postbus.contracts.dns_provisioner import DnsProvisioner
from postbus.contracts.filter import Filter
from postbus.contracts.imap_gateway import ImapGateway
from postbus.contracts.indexer import Indexer
from postbus.contracts.smtp_edge import SmtpEdge
from postbus.core.clock import Clock
from postbus.mailstore.epoch import EpochGuard
from postbus.runtime.settings import RuntimeSettings


class Rpc(Protocol):
    """Clients of every service: cheap to get, connected at the first call, usable before the other side is up.

    A call has a deadline (RuntimeSettings.rpc_seconds), carries the trace context and raises MailError only; an absent
    service is UNAVAILABLE.
    """

    @property
    def directory(self) -> Directory:
        """directory."""
        ...

    @property
    def filter(self) -> Filter:
        """filter."""
        ...

    @property
    def delivery(self) -> Delivery:
        """delivery."""
        ...

    @property
    def indexer(self) -> Indexer:
        """indexer."""
        ...

    @property
    def dns_provisioner(self) -> DnsProvisioner:
        """dns-provisioner."""
        ...

    @property
    def smtp_edge(self) -> SmtpEdge:
        """smtp-edge."""
        ...

    @property
    def imap_gateway(self) -> ImapGateway:
        """imap-gateway."""
        ...

    @property
    def admin_api(self) -> AdminApi:
        """admin-api."""
        ...


class Context(Protocol):
    """What a process gives to one of its services."""

    service: str
    instance_id: str
    """Unique per process start."""
    clock: Clock
    runtime: RuntimeSettings
    data_dir: Path
    """The service's own folder for derived data and spool, made, mode 700."""
    rpc: Rpc
    bus: Bus
    blobs: BlobStore
    registry: CollectorRegistry
    """The service's metrics; names `postbus_<service>_<thing>_<unit>` (house-style §7)."""
    epoch: EpochGuard
    """Ensures the mail store's epoch on every connection of `postgres` (of services that use the mail store)."""

    async def postgres(self) -> asyncpg.Pool:
        """The pool of the service's own role; opened at the first call, min_size 0, closed after drain."""
        ...

    def spawn(self, name: str, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Runs a background loop in the service's task group, cancelled after `drain()`.

        An unexpected end or exception is logged with an incident id, counted, shown in health, and the loop is started
        again with back-off.
        """
        ...

    def add_check(self, name: str, check: Callable[[], Awaitable[None]]) -> None:
        """A readiness check: raises MailError when the service can't do its work. Run by /readyz and gRPC health."""
        ...


class RunningService(Protocol):
    """What `build` returns."""

    @property
    def port(self) -> object:
        """The implementation of the service's contract (`postbus.contracts.<service>`)."""
        ...

    async def start(self) -> None:
        """Opens listeners and spawns loops; returns when ready. Called after every port of the process is known."""
        ...

    async def drain(self) -> None:
        """Stops accepting, finishes what is under way, closes listeners; the process bounds it (drain_seconds)."""
        ...


class ServiceSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A service's entry point."""

    name: str
    settings: type[msgspec.Struct]
    """Fields with defaults and descriptions (`postbus.runtime.settings`), read from POSTBUS_<SERVICE>_<FIELD>."""
    build: Callable[[Context, Any], Awaitable[RunningService]]
    """Called with the context and an instance of `settings`; must not open listeners."""
