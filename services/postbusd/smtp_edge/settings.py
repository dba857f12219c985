"""What smtp-edge can be told: POSTBUS_SMTP_EDGE_<FIELD>."""

from typing import Annotated

import msgspec

from postbus.runtime.settings import field_doc


class SmtpEdgeSettings(msgspec.Struct, frozen=True, kw_only=True):
    """See README.md."""

    smtp_listen: Annotated[str, field_doc("HOST:PORT for mail from other servers (25); empty: off.")] = ":25"
    submission_listen: Annotated[
        str, field_doc("HOST:PORT for submission with STARTTLS and login (587); empty: off.")
    ] = ":587"
    submissions_listen: Annotated[
        str, field_doc("HOST:PORT for submission within TLS and login (465); empty: off.")
    ] = ":465"
    reuse_port: Annotated[bool, field_doc("Lets several processes listen on the same ports (SO_REUSEPORT).")] = False
    memory_octets: Annotated[
        int, field_doc("A message larger than this is spooled to a file while it comes in, octets.")
    ] = 256 * 1024
    total_memory_octets: Annotated[
        int, field_doc("All messages that are coming in together; beyond it they are spooled early, octets.")
    ] = 64 * 1024 * 1024
    max_recipients: Annotated[int, field_doc("Recipients of one transaction; more get 452 4.5.3.")] = 100
    max_sessions: Annotated[
        int, field_doc("Sessions at a time, all listeners together; more get 421. Port 25 may have three quarters.")
    ] = 2000
    max_sessions_per_address: Annotated[
        int, field_doc("Sessions at a time from one address (IPv6: one /64); more get 421.")
    ] = 100
    max_errors: Annotated[int, field_doc("Protocol errors and failed logins of a session before 421.")] = 20
    max_refused_recipients: Annotated[int, field_doc("Refused recipients of a session before 421.")] = 100
    idle_seconds: Annotated[float, field_doc("Silence of a client before 421, seconds (RFC 5321 §4.5.3.2.7).")] = 300.0
    data_seconds: Annotated[float, field_doc("Longest time for sending one message, seconds.")] = 1800.0
    greet_pause_seconds: Annotated[
        float, field_doc("Wait before the banner on the smtp listener, to catch clients that talk first, seconds.")
    ] = 0.1
    connection_cache_seconds: Annotated[
        float, field_doc("How long filter's word on a client's network is kept, seconds.")
    ] = 600.0
    resolve_cache_seconds: Annotated[
        float, field_doc("How long a resolved recipient is kept, seconds; at most 60.")
    ] = 60.0
    accept_unfiltered: Annotated[
        bool, field_doc("Accept mail without a verdict when filter is away, instead of answering 451.")
    ] = False

    def __post_init__(self) -> None:
        """Raises ValueError naming the field."""
        if not 0 <= self.resolve_cache_seconds <= 60:
            raise ValueError("resolve_cache_seconds: 0 to 60")
        for name in ("max_recipients", "max_sessions", "max_sessions_per_address", "max_errors"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: at least 1")
