"""ENVELOPE as it stands in a FETCH response (RFC 9051 §7.5.2); the store keeps the result of `format_envelope`."""

from postbus.imap.wire import NIL, format_nstring
from postbus.mime.values import Address, Envelope

EMPTY_ENVELOPE = Envelope(
    date=None,
    subject=None,
    from_=(),
    sender=(),
    reply_to=(),
    to=(),
    cc=(),
    bcc=(),
    in_reply_to=None,
    message_id=None,
)


def format_envelope(envelope: Envelope) -> bytes:
    """Wire-ready `(...)`: quoted strings, literals where octets demand it, NIL (RFC 9051 §7.5.2)."""
    return b"(%b)" % b" ".join(
        (
            format_nstring(envelope.date),
            format_nstring(envelope.subject),
            _format_addresses(envelope.from_),
            _format_addresses(envelope.sender),
            _format_addresses(envelope.reply_to),
            _format_addresses(envelope.to),
            _format_addresses(envelope.cc),
            _format_addresses(envelope.bcc),
            format_nstring(envelope.in_reply_to),
            format_nstring(envelope.message_id),
        )
    )


def _format_addresses(addresses: tuple[Address, ...]) -> bytes:
    """Address lists follow one another without spaces; none at all is NIL (RFC 9051 §9, env-from)."""
    if not addresses:
        return NIL
    return b"(%b)" % b"".join(_format_address(address) for address in addresses)


def _format_address(address: Address) -> bytes:
    return b"(%b %b %b %b)" % (
        format_nstring(address.name),
        format_nstring(address.route),
        format_nstring(address.mailbox),
        format_nstring(address.host),
    )
