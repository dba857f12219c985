"""Composition root of dns-provisioner."""

import asyncio
import contextlib
import logging
from pathlib import Path
from typing import TYPE_CHECKING

from prometheus_client import Gauge

from postbus.bus.subjects import SUBJECT_CERTIFICATE_CHANGED
from postbus.contracts.events import CertificateChanged, Event, EventType
from postbus.contracts.policy import Policy
from postbus.core.errors import MailError
from postbus.core.ids import new_uuid7
from postbus.core.trace import use_trace
from postbus.runtime.policy import PolicyWatch
from postbus.runtime.service import Context, ServiceSpec
from postbusd.dns_provisioner.settings import DnsProvisionerSettings

if TYPE_CHECKING:
    from postbus.runtime.dns import DnsResolver
    from postbusd.dns_provisioner.provisioner import CertificateProvisioner
    from postbusd.dns_provisioner.service import DnsProvisionerService

log = logging.getLogger(__name__)


class RunningDnsProvisioner:
    """What the process holds."""

    def __init__(
        self,
        context: Context,
        settings: DnsProvisionerSettings,
        *,
        provisioner: "CertificateProvisioner",
        service: "DnsProvisionerService",
        resolver: "DnsResolver",
    ) -> None:
        self._context = context
        self._settings = settings
        self._provisioner = provisioner
        self._service = service
        self._resolver = resolver
        self._unannounced = 0
        """The revision that nobody was told of yet."""
        self._policy = PolicyWatch(context.rpc.directory, self._on_policy)
        self._due = asyncio.Event()

    @property
    def port(self) -> "DnsProvisionerService":
        """The implementation of the contract."""
        return self._service

    async def start(self) -> None:
        """Makes the CA and the first certificate, then keeps an eye on them."""
        made = await self._provisioner.renew()
        if made is not None:
            self._unannounced = made
        await self._policy.listen(self._context.bus)
        self._context.spawn("policy", self._policy.run)
        self._context.spawn("renew", self._keep_fresh)

    async def drain(self) -> None:
        """Nothing listens here, and a renewal is one transaction; look-ups under way end."""
        await self._resolver.close()

    async def _keep_fresh(self) -> None:
        while True:
            if self._unannounced:
                await self._announce(self._unannounced)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._due.wait(), self._settings.check_seconds)
            self._due.clear()
            made = await self._provisioner.renew()
            if made is not None:
                self._unannounced = made

    def _on_policy(self, policy: Policy) -> None:
        """The mail server may have another location."""
        self._provisioner.set_locations(self._policy.mail_hosts)
        self._due.set()

    async def _announce(self, revision: int) -> None:
        """Wakes the listeners and tells the event log; what fails is tried again at the next look."""
        with use_trace(None) as trace:
            await self._context.bus.wake(SUBJECT_CERTIFICATE_CHANGED, CertificateChanged(revision=revision))
            now_ms = self._context.clock.now_ms()
            event = Event(
                event_id=new_uuid7(now_ms),
                type=EventType.CERTIFICATE,
                at_ms=now_ms,
                service=self._context.service,
                summary=f"server certificate made, revision {revision}",
                domain=self._context.runtime.mail_host,
                traceparent=trace.format(),
            )
            try:
                await self._context.bus.publish_events([event])
                self._unannounced = 0
            except MailError as error:
                log.warning("certificate.event.waits", extra={"reason": str(error)})


async def build(context: Context, settings: DnsProvisionerSettings) -> RunningDnsProvisioner:
    """Puts the service together; cryptography is imported only here."""
    from postbus.runtime.dns import DnsResolver
    from postbus.runtime.sealing import Sealer, read_master_key
    from postbusd.dns_provisioner.adapters.postgres import PostgresCertificateStore
    from postbusd.dns_provisioner.adapters.postgres_dkim import PostgresDkimKeyStore
    from postbusd.dns_provisioner.keyring import DkimKeyring
    from postbusd.dns_provisioner.planner import DomainPlanner
    from postbusd.dns_provisioner.provisioner import CertificateProvisioner
    from postbusd.dns_provisioner.service import DnsProvisionerService

    store = PostgresCertificateStore(context.postgres)
    sealer = Sealer(read_master_key(Path(context.runtime.secrets_dir)))
    mail_host = context.runtime.mail_host
    provisioner = CertificateProvisioner(store, sealer, context.clock, mail_host, settings)
    directory = context.rpc.directory
    keyring = DkimKeyring(PostgresDkimKeyStore(context.postgres), sealer, directory)
    # No cache: whoever compares has just changed something.
    resolver = DnsResolver(
        context.runtime.resolver, timeout_seconds=settings.dns_seconds, clock=context.clock, max_entries=0
    )
    service = DnsProvisionerService(provisioner, keyring, DomainPlanner(keyring, directory, resolver, mail_host))

    Gauge(
        "postbus_dns_provisioner_certificate_not_after_seconds",
        "Unix time at which the first certificate in force ends.",
        registry=context.registry,
    ).set_function(lambda: provisioner.soonest_end_ms / 1000)

    async def check_database() -> None:
        await store.load_revision()

    context.add_check("database", check_database)
    return RunningDnsProvisioner(context, settings, provisioner=provisioner, service=service, resolver=resolver)


SPEC = ServiceSpec(name="dns-provisioner", settings=DnsProvisionerSettings, build=build)
