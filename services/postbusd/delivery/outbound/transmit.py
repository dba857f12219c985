"""Hands messages over by SMTP."""

import random
from collections.abc import Sequence

from prometheus_client import CollectorRegistry

from postbus.core.clock import Clock
from postbus.runtime.dns import Resolver
from postbusd.delivery.outbound.ports import Load, Report
from postbusd.delivery.outbound.values import NextHop, OutgoingMessage
from postbusd.delivery.settings import DeliverySettings


class SmtpTransmitter:
    """The Transmitter that speaks SMTP."""

    def __init__(
        self,
        *,
        resolver: Resolver,
        settings: DeliverySettings,
        clock: Clock,
        mail_host: str,
        registry: CollectorRegistry,
    ) -> None:
        """Opens nothing. Raises MailError: INVALID when `relay_ca_file` holds no certificates."""
        self._resolver = resolver
        self._settings = settings
        self._clock = clock
        self._mail_host = mail_host
        self._random = random.Random()  # noqa: S311  # spreads load over MXs, keeps no secret

    async def transmit(
        self, next_hop: NextHop, messages: Sequence[OutgoingMessage], load: Load, report: Report
    ) -> None:
        """See `Transmitter.transmit`."""
        raise NotImplementedError
