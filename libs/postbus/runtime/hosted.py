"""The ports of a process: its own services called directly, all others over gRPC, with the same manners.

`HostedPort` stands for a service of this process as long as the process lives, whatever becomes of the service: it
answers UNAVAILABLE until the service is built, gives it its own name in the logs and opens a span for each call.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, cast

from postbus.contracts.admin_api import AdminApi
from postbus.contracts.delivery import Delivery
from postbus.contracts.directory import Directory
from postbus.contracts.dns_provisioner import DnsProvisioner
from postbus.contracts.filter import Filter
from postbus.contracts.imap_gateway import ImapGateway
from postbus.contracts.indexer import Indexer
from postbus.contracts.smtp_edge import SmtpEdge
from postbus.core.errors import ErrorKind, MailError
from postbus.rpc.calls import methods
from postbus.rpc.client import GrpcClient
from postbus.rpc.invoke import invoke
from postbus.rpc.local import LocalClient
from postbus.runtime.log import use_service
from postbus.runtime.telemetry import span


class HostedPort:
    """Every method of a service's port, bound to the implementation of the moment."""

    def __init__(self, service: str) -> None:
        self._service = service
        self.implementation: object | None = None
        """None: not built yet, being built again, or retired."""
        self._calls = 0
        self._quiet = asyncio.Event()
        self._quiet.set()
        for name in methods(service):
            setattr(self, name, self._bind(name))

    def _bind(self, name: str) -> Callable[[Any], Awaitable[Any]]:
        label = f"{self._service}.{name}"

        async def call(request: Any) -> Any:
            implementation = self.implementation
            if implementation is None:
                raise MailError(ErrorKind.UNAVAILABLE, f"{self._service}: starting or ending")
            self._calls += 1
            self._quiet.clear()
            try:
                with use_service(self._service), span(label):
                    return await invoke(self._service, name, implementation, request)
            finally:
                self._calls -= 1
                if not self._calls:
                    self._quiet.set()

        return call

    async def retire(self) -> None:
        """Takes no new call and waits for those under way: afterwards the implementation may be drained."""
        self.implementation = None
        await self._quiet.wait()


class ProcessRpc:
    """`postbus.runtime.service.Rpc`: clients made at first use, kept, shared by the services of the process."""

    def __init__(self, hosted: Mapping[str, HostedPort], target: Callable[[str], str], deadline_seconds: float) -> None:
        """`target` gives the gRPC target of a service of another process."""
        self._hosted = hosted
        self._target = target
        self._deadline_seconds = deadline_seconds
        self._clients: dict[str, LocalClient | GrpcClient] = {}

    def client(self, service: str) -> LocalClient | GrpcClient:
        """The client of a service."""
        client = self._clients.get(service)
        if client is None:
            client = self._clients[service] = self._make(service)
        return client

    def _make(self, service: str) -> LocalClient | GrpcClient:
        port = self._hosted.get(service)
        if port is None:
            return GrpcClient(service, self._target(service), self._deadline_seconds)
        return LocalClient(service, lambda: port, self._deadline_seconds)

    async def close(self) -> None:
        """Closes the channels."""
        for client in self._clients.values():
            if isinstance(client, GrpcClient):
                await client.close()

    @property
    def directory(self) -> Directory:
        """directory."""
        return cast(Directory, self.client("directory"))

    @property
    def filter(self) -> Filter:
        """filter."""
        return cast(Filter, self.client("filter"))

    @property
    def delivery(self) -> Delivery:
        """delivery."""
        return cast(Delivery, self.client("delivery"))

    @property
    def indexer(self) -> Indexer:
        """indexer."""
        return cast(Indexer, self.client("indexer"))

    @property
    def dns_provisioner(self) -> DnsProvisioner:
        """dns-provisioner."""
        return cast(DnsProvisioner, self.client("dns-provisioner"))

    @property
    def smtp_edge(self) -> SmtpEdge:
        """smtp-edge."""
        return cast(SmtpEdge, self.client("smtp-edge"))

    @property
    def imap_gateway(self) -> ImapGateway:
        """imap-gateway."""
        return cast(ImapGateway, self.client("imap-gateway"))

    @property
    def admin_api(self) -> AdminApi:
        """admin-api."""
        return cast(AdminApi, self.client("admin-api"))
