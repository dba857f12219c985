"""What the transmitter needs of the network: a connection that can become secure."""

import enum
from typing import Protocol


class Trust(enum.Enum):
    """Whose certificate will do."""

    ANYBODY = "anybody"
    """Opportunistic TLS: encryption against listeners, no proof of who is there (RFC 7435 §3)."""
    VERIFIED = "verified"
    """A valid certificate for the host's name."""


class StreamError(Exception):
    """The connection can't be made or is lost; the text is for people."""


class HandshakeError(StreamError):
    """TLS did not come about."""


class Stream(Protocol):
    """One connection. Nobody but the caller bounds the time; after cancellation it must be aborted."""

    @property
    def tls(self) -> str:
        """Protocol and cipher; empty: plain text."""
        ...

    async def read(self) -> bytes:
        """What has come, at least one octet; empty: the connection has ended, however."""
        ...

    async def write(self, data: bytes) -> None:
        """Returns when enough is on its way. Raises StreamError."""
        ...

    async def start_tls(self, host: str, trust: Trust) -> None:
        """The handshake, with `host` for SNI and for the proof. Raises HandshakeError; the stream is of no use then."""
        ...

    async def close(self) -> None:
        """Ends in good order, within a bounded time. Never raises."""
        ...

    def abort(self) -> None:
        """Ends at once."""
        ...


class Connector(Protocol):
    """Makes connections."""

    async def connect(self, address: str, port: int) -> Stream:
        """A connection. Raises StreamError."""
        ...
