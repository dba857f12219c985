"""What a scan of a message gives. Offsets count octets from the start of the scanned bytes (the blob, without prefix).

The values are array-like: they travel in `mail.accepted` and rest in the store as MessagePack (`postbus.mime.codec`).
Fields may be added at the end, with defaults, never removed or moved.
"""

import msgspec


class HeaderField(msgspec.Struct, frozen=True, array_like=True):
    """One field of a header section: `start`..`end` spans name, colon, value and the final line break."""

    name: str
    """Lower-case; octets above 127 as surrogate escapes never occur: they are replaced by U+FFFD."""
    start: int
    value_start: int
    end: int


class Part(msgspec.Struct, frozen=True, array_like=True):
    """A body part (RFC 2045, RFC 9051 §7.5.2). Strings are unfolded, at most MAX_PARAMETER_OCTETS each."""

    media_type: str
    """Lower-case, as `text`."""
    subtype: str
    params: tuple[tuple[str, str], ...]
    """Content-Type parameters: lower-case names, RFC 2231 continuations joined and decoded."""
    content_id: str
    description: str
    encoding: str
    """Content-Transfer-Encoding, lower-case; `7bit` when absent."""
    header_start: int
    """Start of the part's own MIME header section."""
    body_start: int
    body_end: int
    """The line break before a boundary delimiter belongs to the delimiter."""
    lines: int
    """Lines of the body as transferred, an unfinished last one included; 0 for multipart/*."""
    disposition: str
    disposition_params: tuple[tuple[str, str], ...]
    language: tuple[str, ...]
    location: str
    md5: str
    children: tuple["Part", ...] = ()
    """multipart/*: its parts, never none (an implied text part when there is no delimiter). message/rfc822 and
    message/global: the enclosed message's root, alone (application/octet-stream over the whole body, and an empty
    envelope, when it is encoded or too deep to look into)."""
    envelope: "Envelope | None" = None
    """message/rfc822 and message/global only: the enclosed message's envelope."""


class Address(msgspec.Struct, frozen=True, array_like=True):
    """One address of a header field, as RFC 9051's `address`: raw octets, encoded-words left alone; None is NIL.

    Group syntax: `mailbox` with `host` None starts a group, both None ends it.
    """

    name: bytes | None
    route: bytes | None
    mailbox: bytes | None
    host: bytes | None


class Envelope(msgspec.Struct, frozen=True, array_like=True):
    """IMAP's ENVELOPE (RFC 9051 §7.5.2): raw unfolded octets, None is NIL; sender and reply_to default to from_."""

    date: bytes | None
    subject: bytes | None
    from_: tuple[Address, ...]
    sender: tuple[Address, ...]
    reply_to: tuple[Address, ...]
    to: tuple[Address, ...]
    cc: tuple[Address, ...]
    bcc: tuple[Address, ...]
    in_reply_to: bytes | None
    message_id: bytes | None


class Scan(msgspec.Struct, frozen=True, array_like=True):
    """All that one pass finds. Reaching a limit is a defect, not an error: the structure stays usable."""

    octets: int
    fields: tuple[HeaderField, ...]
    """The message's own header section, in order, at most MAX_HEADER_FIELDS."""
    body_start: int
    root: Part
    envelope: Envelope
    references: tuple[str, ...]
    """Message-IDs of References, else In-Reply-To, without angle brackets, oldest first."""
    message_id: str
    """Without angle brackets; empty: none."""
    sent_ms: int | None
    """The Date: header as Unix milliseconds."""
    sent_day: int | None
    """The Date: header's day in its own zone, days since 1970-01-01 (SENTSINCE, RFC 9051 §6.4.4)."""
    has_attachment: bool
    preview: str = ""
    """The first characters of the first text part, white space folded, at most 256 (RFC 8970)."""
    defects: tuple[str, ...] = ()
    """Closed list in `postbus.mime.scanner`, as `depth_limit`, `missing_boundary`."""
