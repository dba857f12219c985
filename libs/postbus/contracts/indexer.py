"""indexer's port: which messages match text criteria. Flags, dates, sizes and boolean logic are the gateway's."""

import enum
from typing import Protocol

import msgspec

from postbus.core.ids import MailboxId


class TextField(enum.StrEnum):
    """Where to look (RFC 9051 §6.4.4)."""

    TEXT = "text"
    """Header and body."""
    BODY = "body"
    FROM = "from"
    TO = "to"
    CC = "cc"
    BCC = "bcc"
    SUBJECT = "subject"
    HEADER = "header"
    """The header field `header_name`; an empty value asks whether the field is there at all."""


class TextTerm(msgspec.Struct, frozen=True, kw_only=True):
    """One criterion: all words of `value` in this order, the last one as a prefix."""

    field: TextField
    value: str
    header_name: str = ""


class SearchRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Several criteria on the same mailboxes in one call."""

    mailbox_ids: tuple[MailboxId, ...]
    terms: tuple[TextTerm, ...]


class TermHits(msgspec.Struct, frozen=True, kw_only=True):
    """Matches of one term: 16-octet email_ids, one after the other, unordered."""

    email_ids: bytes


class SearchReply(msgspec.Struct, frozen=True, kw_only=True):
    """Hits in the order of the terms, complete up to every message committed before the call (promise 6)."""

    hits: tuple[TermHits, ...]


class Indexer(Protocol):
    """All that indexer serves."""

    async def search(self, request: SearchRequest) -> SearchReply:
        """Matching messages. Raises MailError: UNAVAILABLE when the index is away."""
        ...
