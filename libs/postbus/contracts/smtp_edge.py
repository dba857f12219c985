"""smtp-edge's port: its counters, which the ledger cross-checks (promise 1)."""

from typing import Protocol

import msgspec

from postbus.contracts import Empty


class Counters(msgspec.Struct, frozen=True, kw_only=True):
    """Since this process started."""

    instance_id: str
    started_ms: int
    accepted: int
    """Messages answered with 250 after DATA."""
    refused: int
    """Messages refused with 5xx at end of DATA."""
    deferred: int
    """Messages answered with 4xx at end of DATA."""
    last_stream_sequence: int
    """The highest sequence that the bus acknowledged to us."""
    open_sessions: int
    first_stream_sequence: int = 0
    """The lowest one; 0: none yet, or a version that does not tell."""


class SmtpEdge(Protocol):
    """All that smtp-edge serves."""

    async def get_counters(self, request: Empty) -> Counters:
        """The counters of this process."""
        ...
