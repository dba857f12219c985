"""What smtp-edge needs of the outside and no library offers."""

from typing import Protocol


class Stream(Protocol):
    """One connection. Octets only; the session never sees a socket."""

    @property
    def peer_address(self) -> str:
        """The client's IP address."""
        ...

    @property
    def tls(self) -> str:
        """Protocol and cipher, as `TLSv1.3 with cipher NAME`; empty: plain text."""
        ...

    def has_unread_data(self) -> bool:
        """Whether the peer has sent octets that `receive` has not given out; costs no waiting."""
        ...

    async def receive(self) -> bytes:
        """The next octets; empty at the end of the connection, however it ended."""
        ...

    async def send(self, data: bytes) -> None:
        """Writes; to a lost connection, nowhere."""
        ...

    async def start_tls(self, ready: bytes) -> int:
        """Sends `ready`, discards plain text that waits, shakes hands; the number of discarded octets.

        Raises MailError: INVALID (the handshake failed; the connection is of no more use).
        """
        ...


class TlsOffer(Protocol):
    """Whether TLS can be had now; `postbus.runtime.tls.ServerTls` in service."""

    async def check(self) -> None:
        """Raises MailError while there is no certificate."""
        ...
