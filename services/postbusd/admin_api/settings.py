"""Settings of admin-api: POSTBUS_ADMIN_API_<FIELD>."""

from typing import Annotated

import msgspec

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
    probe_seconds: Annotated[float, field_doc("How long /status waits for each part, seconds.")] = 3.0
    event_days: Annotated[int, field_doc("How long the event log is kept, days."), msgspec.Meta(ge=1)] = 90
    audit_days: Annotated[
        int, field_doc("How long the audit log is kept, days, at least 7."), msgspec.Meta(ge=MIN_AUDIT_DAYS)
    ] = 730
