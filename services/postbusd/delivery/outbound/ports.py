"""What the scheduler needs: somebody who hands messages over, and somebody who signs them."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from postbusd.delivery.outbound.values import NextHop, OutgoingMessage, RecipientResult

Load = Callable[[OutgoingMessage], Awaitable[bytes]]
"""The whole content of a message, CRLF line ends, not yet dot-stuffed. Raises MailError: UNAVAILABLE."""
Report = Callable[[OutgoingMessage, Sequence[RecipientResult]], Awaitable[bool]]
"""Commits what became of a message's recipients, before the next message is begun. False: the lease is lost, stop."""


class Transmitter(Protocol):
    """Hands a batch for one next hop over, by as few connections as it takes."""

    async def transmit(
        self, next_hop: NextHop, messages: Sequence[OutgoingMessage], load: Load, report: Report
    ) -> None:
        """Every message is reported once, each recipient in it once, whatever happens; raises nothing but what `report`
        raises, and CancelledError: what was not reported then was not handed over, or its outcome is unknown.
        """
        ...


class Signer(Protocol):
    """DKIM (RFC 6376)."""

    async def sign(self, domain: str, content: bytes) -> bytes:
        """DKIM-Signature fields to put before `content`, each ending in CRLF; empty for an empty domain.

        Raises MailError: UNAVAILABLE while the keys can't be had: the message waits, it never leaves unsigned.
        """
        ...
