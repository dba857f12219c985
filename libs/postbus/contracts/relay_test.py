"""delivery's port for trying a domain's smart host."""

import enum
from typing import Protocol

import msgspec

from postbus.contracts.relays import Relay


class RelayStage(enum.StrEnum):
    """What is tried, in order."""

    ADDRESS = "address"
    """Looking up the host."""
    CONNECT = "connect"
    GREETING = "greeting"
    """Its banner, EHLO."""
    TLS = "tls"
    LOGIN = "login"
    ANY_SENDER = "any_sender"
    """A sender of the domain that nobody has verified by itself."""
    POSTMASTER = "postmaster"
    """A second one: a smart host that takes a single address is found."""


class RelayStep(msgspec.Struct, frozen=True, kw_only=True):
    """How one stage went."""

    stage: RelayStage
    ok: bool
    reply: str = ""
    """What the host said, or why there is no answer."""
    advice: str = ""
    """What to do, where a known refusal was met."""
    milliseconds: int = 0


class RelayTestRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Tries the relay that the domain has, or `relay` before it is saved.

    Without `recipient` no mail is sent: each sender's transaction ends before DATA. With it each sends a short message.
    """

    domain: str
    actor: str
    relay: Relay | None = None
    """Without a password: that of the stored one for the same host and username."""
    recipient: str = ""


class RelayTestReply(msgspec.Struct, frozen=True, kw_only=True):
    """What was tried: it ends with the first stage that fails, but both senders are tried."""

    host: str
    port: int
    steps: tuple[RelayStep, ...]
    sent: int = 0
    """Messages that it took."""


class RelayTester(Protocol):
    """The port of admin-api."""

    async def test_relay(self, request: RelayTestRequest) -> RelayTestReply:
        """Tries it, within RELAY_TEST_SECONDS.

        Raises MailError: NOT_FOUND (the domain; it has no relay), FORBIDDEN, INVALID (recipient, relay), CONFLICT (it
        is being tested), UNAVAILABLE.
        """
        ...


RELAY_TEST_SECONDS = 30.0
"""After so long a test ends where it is."""
