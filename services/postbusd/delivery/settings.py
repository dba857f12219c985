"""Settings of delivery."""

import ipaddress
from typing import Annotated

import msgspec

from postbus.core.egress import Network
from postbus.runtime.settings import field_doc


class DeliverySettings(msgspec.Struct, frozen=True, kw_only=True):
    """POSTBUS_DELIVERY_<FIELD>."""

    batch_messages: Annotated[int, field_doc("Messages taken from the bus at once and stored in one round trip.")] = 64
    poison_attempts: Annotated[
        int, field_doc("Attempts after which a message that fails for itself becomes a dead letter.")
    ] = 5
    relay_seconds: Annotated[float, field_doc("Pause between looks at an empty outbox, seconds.")] = 2.0
    trim_seconds: Annotated[float, field_doc("Time between trims of the MAIL stream, seconds.")] = 600.0
    history_days: Annotated[
        int, field_doc("Days that operation keys and change rows are kept; more than the replay window of 48 h.")
    ] = 60
    queue_connections: Annotated[int, field_doc("Connections to other hosts at a time, of one process.")] = 20
    queue_connections_per_destination: Annotated[
        int, field_doc("Connections at a time to the hosts of one domain, or to one smart host for one domain.")
    ] = 4
    queue_batch_copies: Annotated[
        int, field_doc("Outgoing copies that are handed over by one connection, one after the other.")
    ] = 50
    queue_poll_seconds: Annotated[float, field_doc("Pause between looks for copies that are due, seconds.")] = 1.0
    queue_lifetime_hours: Annotated[
        float, field_doc("How long a copy is tried before its sender is told that it failed, hours.")
    ] = 120.0
    queue_history_days: Annotated[
        int, field_doc("Days that finished copies are kept; more than the replay window of 48 h.")
    ] = 14
    ledger_check_seconds: Annotated[
        float, field_doc("Time between looks at the ledger: what is missing is told and delivered again, seconds.")
    ] = 15.0
    ledger_days: Annotated[
        int, field_doc("Days that the ledger keeps each message; after that it is counted only. Dead letters stay.")
    ] = 90
    retry_seconds: Annotated[
        tuple[float, ...],
        field_doc("Pauses before the second, third … attempt, seconds, each moved by up to a fifth; the last repeats."),
    ] = (60.0, 300.0, 900.0, 1800.0, 3600.0)
    lease_grace_seconds: Annotated[
        float, field_doc("How long after its end a process's outgoing copies are taken over by another one, seconds.")
    ] = 10.0
    mx_port: Annotated[int, field_doc("Port of remote MXs, other than 25 for tests only.")] = 25
    egress_allow: Annotated[
        tuple[str, ...],
        field_doc(
            "Networks of private, loopback or link-local addresses that MXs may lie in, as 192.0.2.0/24; a smart host "
            "needs no leave."
        ),
    ] = ()
    relay_ca_file: Annotated[
        str, field_doc("Certificates of private CAs that smart hosts may have besides the system's, PEM; empty: none.")
    ] = ""

    def __post_init__(self) -> None:
        """Raises ValueError naming the field."""
        for name in ("queue_connections", "queue_connections_per_destination", "queue_batch_copies"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: at least 1")
        if not self.retry_seconds or min(self.retry_seconds) <= 0:
            raise ValueError("retry_seconds: at least one pause, each above 0")
        if self.queue_history_days < 3:
            raise ValueError("queue_history_days: at least 3")
        if self.ledger_check_seconds <= 0:
            raise ValueError("ledger_check_seconds: above 0")
        if self.ledger_days < 3:
            raise ValueError("ledger_days: at least 3, more than the replay window of 48 h")
        if not 0 < self.mx_port < 65536:
            raise ValueError("mx_port: 1 to 65535")
        try:
            self.egress_networks()
        except ValueError as error:
            raise ValueError(f"egress_allow: {error}") from error

    def egress_networks(self) -> tuple[Network, ...]:
        """`egress_allow` as networks. Raises ValueError, naming the entry."""
        return tuple(ipaddress.ip_network(text) for text in self.egress_allow)
