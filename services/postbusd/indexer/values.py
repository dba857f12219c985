"""What the index holds of a message, and what is asked of it."""

import msgspec

from postbus.core.ids import EmailId, MailboxId
from postbus.mime.text import MessageText

HEADER_MARK = "="
"""`=subject` among the header tokens tells that a Subject field begins here; no word contains it."""
MAX_NAME_CHARACTERS = 64
MAX_TERM_WORDS = 32
"""Words of one criterion that are looked for."""


class IndexDocument(msgspec.Struct, frozen=True, kw_only=True):
    """One message of a mailbox; the text is folded (`analysis.fold_text`) but not yet cut into words."""

    mailbox_id: MailboxId
    email_id: bytes
    """16 octets."""
    body: str
    """Text of all parts, and the names of attachments."""
    head: str
    """Values of all header fields."""
    header: tuple[tuple[str, str], ...]
    """(name as `format_name` gives it, folded value) of each field."""

    @property
    def key(self) -> str:
        """Unique in the index."""
        return format_key(self.mailbox_id, self.email_id)


class Phrase(msgspec.Struct, frozen=True, kw_only=True):
    """A criterion ready for the index: all `words` in this order, the last one as a prefix.

    Without words: `header_name` present at all, or every message when there is no header_name either.
    """

    in_body: bool = False
    in_head: bool = False
    header_name: str = ""
    words: tuple[str, ...] = ()
    impossible: bool = False
    """The value holds no word at all: nothing matches."""


class IndexState(msgspec.Struct, frozen=True, kw_only=True):
    """What is kept beside the index: what it is, and how far it has been filled since it was made."""

    schema: int
    incomplete: bool = True
    """Messages stored before it was made are still to be enqueued."""
    mailbox_id: MailboxId | None = None
    email_id: EmailId | None = None
    """The last message enqueued; none yet."""
    messages: int = 0
    """How many were enqueued so far."""


def format_key(mailbox_id: MailboxId, email_id: bytes) -> str:
    """The document's key."""
    return f"{mailbox_id}/{email_id.hex()}"


def format_name(name: str) -> str:
    """A header field's name as part of a token: letters, digits and hyphens; anything else becomes `_`."""
    lower = name.lower()[:MAX_NAME_CHARACTERS]
    if lower.replace("-", "").isalnum() and lower.isascii():
        return lower
    return "".join(letter if (letter.isalnum() and letter.isascii()) or letter == "-" else "_" for letter in lower)


EMPTY_TEXT = MessageText(subject="", from_="", to="", cc="", bcc="", body="", attachment_names=(), headers=())
