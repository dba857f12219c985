"""Which copies of an accepted message go to other hosts, as whom, and by whose route.

The resolution made at RCPT is the pinned expansion (ADR 2): a redelivery comes to the same copies. Mail from outside
never has any but a list's: delivery checks that once more, no relay is ever open (promise 3).
"""

import re

import msgspec

from postbus.contracts.directory import Outcome
from postbus.contracts.events import MailAccepted, Origin
from postbus.contracts.filter import Verdict
from postbus.core.address import parse_address
from postbus.core.errors import ErrorKind, MailError
from postbusd.delivery.outbound.queue import NewCopy, Outgoing, QueuedMessage

_SPAM_FIELD = re.compile(rb"^X-Spam-[^\r\n]*\r\n(?:[ \t][^\r\n]*\r\n)*", re.MULTILINE | re.IGNORECASE)
HOUR_MS = 3_600_000
OWN_ORIGINS = frozenset({Origin.SUBMISSION, Origin.DSN, Origin.VACATION})
"""Mail of our own: of who logged in, or written by us. Only this may leave as it came."""


class Lifetime(msgspec.Struct, frozen=True, kw_only=True):
    """How long copies are tried, hours."""

    hours: float

    def end_ms(self, accepted_ms: int) -> int:
        """When we give up."""
        return accepted_ms + int(self.hours * HOUR_MS)


def plan_outgoing(accepted: MailAccepted, message_id: str, mail_host: str, lifetime: Lifetime) -> Outgoing | None:
    """The outgoing copies; None: there are none. Raises MailError: INVALID for mail that we may not relay."""
    copies: dict[str, NewCopy] = {}
    verdicts = {verdict.forward_path: verdict.verdict for verdict in accepted.verdict.recipients}
    for path in accepted.envelope.forward_paths:
        resolution = path.resolution
        if resolution.outcome is Outcome.REMOTE:
            if accepted.origin not in OWN_ORIGINS:
                raise MailError(ErrorKind.INVALID, f"{path.address}: mail from outside is not relayed")
            copy = NewCopy(
                recipient=path.address,
                domain=parse_address(path.address).domain,
                reverse_path=accepted.envelope.reverse_path,
                route_domain=_route_domain(accepted, mail_host),
                notify=path.notify,
                orcpt=path.orcpt,
            )
            copies[path.address] = copy
        elif resolution.outcome is Outcome.LIST:
            held = verdicts.get(path.address, accepted.verdict.verdict) is Verdict.QUARANTINE
            for member in resolution.remotes:
                copies.setdefault(member, _list_copy(member, resolution.bounce_path, held=held))
    if not copies:
        return None
    envelope = accepted.envelope
    return Outgoing(
        message=QueuedMessage(
            queue_id=accepted.queue_id,
            origin=accepted.origin,
            blob_id=accepted.blob_id,
            blob_octets=accepted.blob_octets,
            prefix=outgoing_prefix(accepted.prefix),
            body=envelope.body,
            smtputf8=envelope.smtputf8,
            ret=envelope.ret,
            envid=envelope.envid,
            message_id=message_id,
            accepted_ms=accepted.accepted_ms,
            expires_ms=lifetime.end_ms(accepted.accepted_ms),
            traceparent=accepted.traceparent,
        ),
        copies=tuple(copies.values()),
    )


def outgoing_prefix(prefix: bytes) -> bytes:
    """Without our X-Spam fields: they are for our own readers, a stranger's filter must not believe them."""
    return _SPAM_FIELD.sub(b"", prefix)


def _list_copy(member: str, bounce_path: str, *, held: bool) -> NewCopy:
    """The list is the mediator: failures go to its bounce address, not by the sender's DSN wishes (RFC 3461 §5.2.7).

    What looks like spam is not sent to other hosts in our name before an administrator has seen it.
    """
    return NewCopy(
        recipient=member,
        domain=parse_address(member).domain,
        reverse_path=bounce_path,
        route_domain=bounce_path.rpartition("@")[2],
        held=held,
    )


def _route_domain(accepted: MailAccepted, mail_host: str) -> str:
    """The author's domain for submissions, the mail host for what we write ourselves (architecture §3)."""
    if accepted.origin is Origin.DSN:
        return mail_host
    return accepted.verdict.author_domain or accepted.envelope.reverse_path.rpartition("@")[2] or mail_host
