"""Composition root of dns-provisioner."""

import asyncio
import logging
from pathlib import Path
from typing import TYPE_CHECKING

from prometheus_client import Gauge

from postbus.bus.subjects import SUBJECT_CERTIFICATE_CHANGED
from postbus.contracts.events import CertificateChanged, Event, EventType
from postbus.core.errors import MailError
from postbus.core.ids import new_uuid7
from postbus.core.trace import use_trace
from postbus.runtime.service import Context, ServiceSpec
from postbusd.dns_provisioner.settings import DnsProvisionerSettings

if TYPE_CHECKING:
    from postbusd.dns_provisioner.provisioner import CertificateProvisioner

log = logging.getLogger(__name__)


class RunningDnsProvisioner:
    """What the process holds."""

    def __init__(
        self, context: Context, settings: DnsProvisionerSettings, provisioner: "CertificateProvisioner"
    ) -> None:
        self._context = context
        self._settings = settings
        self._provisioner = provisioner
        self._unannounced = 0
        """The revision that nobody was told of yet."""

    @property
    def port(self) -> "CertificateProvisioner":
        """The implementation of the contract."""
        return self._provisioner

    async def start(self) -> None:
        """Makes the CA and the first certificate, then keeps an eye on them."""
        made = await self._provisioner.renew()
        if made is not None:
            self._unannounced = made
        self._context.spawn("renew", self._keep_fresh)

    async def drain(self) -> None:
        """Nothing listens here, and a renewal is one transaction."""

    async def _keep_fresh(self) -> None:
        while True:
            if self._unannounced:
                await self._announce(self._unannounced)
            await asyncio.sleep(self._settings.check_seconds)
            made = await self._provisioner.renew()
            if made is not None:
                self._unannounced = made

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
    from postbus.runtime.sealing import Sealer, read_master_key
    from postbusd.dns_provisioner.adapters.postgres import PostgresCertificateStore
    from postbusd.dns_provisioner.provisioner import CertificateProvisioner

    store = PostgresCertificateStore(context.postgres)
    sealer = Sealer(read_master_key(Path(context.runtime.secrets_dir)))
    provisioner = CertificateProvisioner(store, sealer, context.clock, context.runtime.mail_host, settings)

    Gauge(
        "postbus_dns_provisioner_certificate_not_after_seconds",
        "Unix time at which the first certificate in force ends.",
        registry=context.registry,
    ).set_function(lambda: provisioner.soonest_end_ms / 1000)

    async def check_database() -> None:
        await store.load_revision()

    context.add_check("database", check_database)
    return RunningDnsProvisioner(context, settings, provisioner)


SPEC = ServiceSpec(name="dns-provisioner", settings=DnsProvisionerSettings, build=build)
