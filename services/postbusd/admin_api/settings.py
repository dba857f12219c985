"""Settings of admin-api: POSTBUS_ADMIN_API_<FIELD>."""

import ipaddress
from typing import Annotated

import msgspec

from postbus.core.egress import Network
from postbus.runtime.settings import field_doc

MIN_AUDIT_DAYS = 7
"""The database refuses to delete what is younger."""


class AdminApiSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Where the API listens and how much it takes."""

    listen: Annotated[str, field_doc("HOST:PORT of the API (HTTPS); empty: off.")] = ""
    max_body_octets: Annotated[int, field_doc("Largest request body, octets.")] = 1024 * 1024
    max_connections: Annotated[
        int, field_doc("Connections at the same time, half of them of one address; further ones get 503 or no answer.")
    ] = 200
    request_seconds: Annotated[float, field_doc("How long a client may take to send a request, seconds.")] = 20.0
    webhook_egress_allow: Annotated[
        tuple[str, ...],
        field_doc(
            "Networks of private, loopback or link-local addresses that webhooks may go to, as 192.0.2.0/24; plain "
            "http goes to these only."
        ),
    ] = ()
    webhook_ca_file: Annotated[
        str, field_doc("Certificates of private CAs of webhooks' receivers besides the system's, PEM; empty: none.")
    ] = ""
    probe_seconds: Annotated[float, field_doc("How long /status waits for each part, seconds.")] = 3.0
    session_idle_minutes: Annotated[
        int, field_doc("How long a session of the API may be unused, minutes."), msgspec.Meta(ge=5)
    ] = 720
    session_days: Annotated[
        int, field_doc("How long a session of the API lasts at most, days."), msgspec.Meta(ge=1)
    ] = 30
    event_days: Annotated[int, field_doc("How long the event log is kept, days."), msgspec.Meta(ge=1)] = 90
    audit_days: Annotated[
        int, field_doc("How long the audit log is kept, days, at least 7."), msgspec.Meta(ge=MIN_AUDIT_DAYS)
    ] = 730

    def __post_init__(self) -> None:
        """Raises ValueError, naming the setting."""
        try:
            self.webhook_networks()
        except ValueError as error:
            raise ValueError(f"webhook_egress_allow: {error}") from error

    def webhook_networks(self) -> tuple[Network, ...]:
        """`webhook_egress_allow` as networks. Raises ValueError, naming the entry."""
        return tuple(ipaddress.ip_network(text) for text in self.webhook_egress_allow)
