"""Hands messages over by SMTP: implements `Transmitter`.

A batch goes through one connection as long as that lasts. What a lost connection leaves undecided is tried once more on
a new one, unless the dot was out: then the outcome is unknown and the queue waits. Content is loaded one message at a
time. Every connection is told once in the log, when it ends or when it does not come about.
"""

import random
from collections.abc import Sequence
from typing import Final

from prometheus_client import CollectorRegistry

from postbus.core.clock import Clock
from postbus.runtime.dns import Resolver
from postbusd.delivery.adapters.smtp_client import SmtpConnector
from postbusd.delivery.outbound.ports import Load, Report
from postbusd.delivery.outbound.routing import Router
from postbusd.delivery.outbound.transmit_batch import Batch, SessionMetrics
from postbusd.delivery.outbound.transmit_opening import Opener
from postbusd.delivery.outbound.transmit_ports import Connector
from postbusd.delivery.outbound.values import NextHop, OutgoingMessage
from postbusd.delivery.settings import DeliverySettings

BATCH_SECONDS: Final = 600.0
"""After so long no further message of a batch is begun: a host that lets us wait for each answer holds a connection
that others need."""


class SmtpTransmitter:
    """The Transmitter that speaks SMTP; any number of batches at a time."""

    def __init__(
        self,
        *,
        resolver: Resolver,
        settings: DeliverySettings,
        clock: Clock,
        mail_host: str,
        registry: CollectorRegistry,
        connector: Connector | None = None,
    ) -> None:
        """Opens nothing; without `connector` it is the network. Raises MailError: INVALID for `relay_ca_file`."""
        chance = random.Random()  # noqa: S311  # spreads load over MXs, keeps no secret
        self.router = Router(
            resolver=resolver,
            mail_host=mail_host,
            mx_port=settings.mx_port,
            egress_allow=settings.egress_networks(),
            random=chance,
        )
        self.opener = Opener(connector or SmtpConnector(settings.relay_ca_file), mail_host)
        self._clock = clock
        self._metrics = SessionMetrics(registry)

    async def transmit(
        self, next_hop: NextHop, messages: Sequence[OutgoingMessage], load: Load, report: Report
    ) -> None:
        """See `Transmitter.transmit`."""
        road = await self.router.find(next_hop)
        batch = Batch(self.opener, self._clock, self._metrics, next_hop, road)
        begun = self._clock.monotonic()
        try:
            for message in messages:
                if not await report(message, await batch.hand_over(message, load)):
                    break
                if self._clock.monotonic() - begun > BATCH_SECONDS:
                    break  # what is left is given back, and has its turn after others
        except BaseException:
            batch.abort()
            raise
        await batch.close()
