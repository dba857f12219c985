"""Settings of imap-gateway: POSTBUS_IMAP_GATEWAY_<FIELD>."""

from typing import Annotated

import msgspec

from postbus.runtime.settings import field_doc


class ImapGatewaySettings(msgspec.Struct, frozen=True, kw_only=True):
    """Listeners, limits and time-outs."""

    imaps_listen: Annotated[str, field_doc("HOST:PORT of IMAP over TLS; empty: off.")] = "0.0.0.0:993"
    imap_listen: Annotated[str, field_doc("HOST:PORT of IMAP with STARTTLS; empty: off.")] = ""
    pop3s_listen: Annotated[str, field_doc("HOST:PORT of POP3 over TLS; empty: off.")] = "0.0.0.0:995"
    pop3_listen: Annotated[str, field_doc("HOST:PORT of POP3 with STLS; empty: off.")] = ""
    pop3_idle_seconds: Annotated[
        float, field_doc("How long a POP3 session may be silent (RFC 1939 §3: 600 at least), seconds.")
    ] = 600.0
    max_sessions: Annotated[int, field_doc("Sessions of this process.")] = 2000
    max_sessions_per_mailbox: Annotated[int, field_doc("Sessions of one mailbox in this process.")] = 50
    max_strangers: Annotated[
        int, field_doc("Connections before login, from accept on, at a time; more are closed without a word.")
    ] = 1000
    max_strangers_per_address: Annotated[
        int, field_doc("Connections before login from one address (IPv6: one /64); more are closed without a word.")
    ] = 100
    max_append_octets: Annotated[int, field_doc("Largest message that APPEND takes, octets.")] = 52_428_800
    append_memory_octets: Annotated[
        int,
        field_doc("Large messages (over 1 MiB) of APPEND in memory at a time, octets; half of it for one mailbox."),
    ] = 268_435_456
    login_seconds: Annotated[float, field_doc("How long a session may wait before login, seconds.")] = 60.0
    idle_seconds: Annotated[float, field_doc("How long a session may be silent (RFC 9051 §5.4), seconds.")] = 1800.0
    write_seconds: Annotated[float, field_doc("How long a client may refuse to read, seconds.")] = 300.0
    failed_login_seconds: Annotated[float, field_doc("Delay of the answer to a failed login, seconds.")] = 2.0
    max_failed_logins: Annotated[int, field_doc("Failed logins of one session, then BYE.")] = 3
    outcome_seconds: Annotated[
        float, field_doc("How long the outcome of a change is sought whose answer was lost, then BYE, seconds.")
    ] = 10.0
    sweep_seconds: Annotated[float, field_doc("How often open folders are re-checked for lost wake-ups, seconds.")] = (
        30.0
    )
    cached_messages: Annotated[
        int, field_doc("Messages of folder views kept in memory while no session has them open (64 octets each).")
    ] = 200_000
