"""filter's settings: POSTBUS_FILTER_<FIELD>."""

from typing import Annotated

import msgspec

from postbus.runtime.settings import field_doc


class FilterSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What an operator may change; scores and rules of mailboxes and domains are data, not settings."""

    check_seconds: Annotated[float, field_doc("Deadline of all look-ups for one message together, seconds.")] = 2.0
    connection_seconds: Annotated[float, field_doc("Deadline of the look-ups for one connection, seconds.")] = 2.0
    dns_seconds: Annotated[float, field_doc("Deadline of one DNS query with its retries, seconds.")] = 5.0
    show_login: Annotated[
        bool, field_doc("Write the address that logged in into Authentication-Results (smtp.auth).")
    ] = False
    max_signatures: Annotated[int, field_doc("DKIM signatures verified per message; more are ignored.")] = 6
    spf_threads: Annotated[int, field_doc("Threads for SPF: how many messages may wait for its DNS at once.")] = 8
    hash_threads: Annotated[int, field_doc("Threads that hash large messages for DKIM.")] = 2
