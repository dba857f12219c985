"""IMAP section numbers (RFC 9051 §6.4.5.1) on a scan's parts.

A part that is not multipart has part 1: its own body. Numbers pass through message/rfc822 and message/global into the
enclosed message: with a multipart inside, `4.1` is that multipart's first part, otherwise `4.1` is its body.
"""

import enum

from postbus.mime.values import Part


class PartText(enum.Enum):
    """What of a part is wanted (RFC 9051 §6.4.5.1)."""

    BODY = "body"
    """`BODY[1]`: the body."""
    MIME = "mime"
    """`BODY[1.MIME]`: the part's own MIME header section."""
    HEADER = "header"
    """`BODY[HEADER]`, `BODY[4.HEADER]`: the header section of the message, or of the enclosed one."""
    TEXT = "text"
    """`BODY[TEXT]`, `BODY[4.TEXT]`: the body of the message, or of the enclosed one."""
    FULL = "full"
    """`BODY[]` for the empty path: header section and body."""


def find_part(root: Part, path: tuple[int, ...]) -> Part | None:
    """The part with this number; the root for the empty path; None when there is no such part."""
    part = root
    holder: Part | None = root
    """The entity whose parts the next number counts; None below a leaf."""
    for number in path:
        if holder is None:
            return None
        if holder.media_type == "multipart":
            if not 1 <= number <= len(holder.children):
                return None
            part = holder.children[number - 1]
        elif number == 1:
            part = holder
        else:
            return None
        inner = part.children[0] if part.children else None
        holder = part if part.media_type == "multipart" else inner
    return part


def part_range(root: Part, path: tuple[int, ...], what: PartText = PartText.BODY) -> tuple[int, int] | None:
    """Octet offsets (start, end) in the blob; None when there is no such part or it has no such text.

    For the empty path BODY and FULL are the whole message.
    """
    part = find_part(root, path)
    if part is None:
        return None
    if not path:
        return {
            PartText.HEADER: (part.header_start, part.body_start),
            PartText.TEXT: (part.body_start, part.body_end),
        }.get(what, (part.header_start, part.body_end))
    if what is PartText.MIME:
        return part.header_start, part.body_start
    if what in (PartText.HEADER, PartText.TEXT):
        if part.envelope is None or not part.children:
            return None
        inner = part.children[0]
        return (inner.header_start, inner.body_start) if what is PartText.HEADER else (inner.body_start, inner.body_end)
    return part.body_start, part.body_end
