"""Settings of delivery."""

import ipaddress
from typing import Annotated

import msgspec

from postbus.runtime.settings import field_doc

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


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
        if not 0 < self.mx_port < 65536:
            raise ValueError("mx_port: 1 to 65535")
        try:
            self.egress_networks()
        except ValueError as error:
            raise ValueError(f"egress_allow: {error}") from error

    def egress_networks(self) -> tuple[Network, ...]:
        """`egress_allow` as networks. Raises ValueError, naming the entry."""
        return tuple(ipaddress.ip_network(text) for text in self.egress_allow)
