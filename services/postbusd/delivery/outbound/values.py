"""What the queue, the scheduler and the transmitter speak of."""

import enum

import msgspec

from postbus.contracts.relays import Relay
from postbus.core.ids import QueueId


class NextHop(msgspec.Struct, frozen=True, kw_only=True):
    """Where a copy goes next: the smart host of its author's domain, else the MXs of the recipient's domain."""

    domain: str
    """Of the recipients, lower-case A-labels."""
    relay: Relay | None = None

    @property
    def name(self) -> str:
        """For people, and what attempts are grouped by."""
        return f"{self.relay.host}:{self.relay.port}" if self.relay is not None else self.domain


class OutgoingRecipient(msgspec.Struct, frozen=True, kw_only=True):
    """A final recipient with the DSN parameters of its RCPT (RFC 3461 §4.1, §4.2), ORCPT in xtext."""

    address: str
    notify: tuple[str, ...] = ()
    orcpt: str = ""


class OutgoingMessage(msgspec.Struct, frozen=True, kw_only=True):
    """One transaction: a message for recipients behind the same next hop."""

    queue_id: QueueId
    reverse_path: str
    """Empty: the null path."""
    recipients: tuple[OutgoingRecipient, ...]
    octets: int
    """Of the whole content, about: for SIZE."""
    body: str = "7BIT"
    smtputf8: bool = False
    ret: str = ""
    envid: str = ""


class Outcome(enum.StrEnum):
    """What an attempt came to."""

    SENT = "sent"
    DEFERRED = "deferred"
    FAILED = "failed"


class RecipientResult(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one recipient in one attempt."""

    address: str
    outcome: Outcome
    reply: str
    """The remote's reply as one line of printable text (`550 5.1.1 no such user`), or what kept us from asking."""
    status: str
    """Enhanced status code (RFC 3463), ours where the remote gave none."""
    remote_host: str = ""
    """MX or smart host that spoke; empty: nobody did."""
    remote_address: str = ""
    tls: str = ""
    """Protocol and cipher; empty: plain text."""
    is_reply: bool = False
    """Whether `reply` is the remote's (RFC 3464 §2.3.6: only then it is a Diagnostic-Code of type smtp)."""
    relay_failed: bool = False
    """The smart host was of no use: unreachable, not secure, or it refused the login (event RELAY_FAILURE)."""
    dsn_offered: bool = False
    """SENT: the remote took the DSN parameters over; else we answer NOTIFY=SUCCESS with `relayed` (RFC 3461 §5.2.2)."""
