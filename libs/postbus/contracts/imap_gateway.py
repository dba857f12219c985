"""imap-gateway's port: who is connected."""

from typing import Protocol

import msgspec

from postbus.core.ids import MailboxId


class ListSessionsRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Sessions of one mailbox, or of all."""

    mailbox_id: MailboxId | None = None
    limit: int = 1000


class Session(msgspec.Struct, frozen=True, kw_only=True):
    """An open session."""

    session_id: str
    mailbox_id: MailboxId | None
    """None before login."""
    address: str
    protocol: str
    client_address: str
    started_ms: int
    folder: str = ""
    state: str = ""


class ListSessionsReply(msgspec.Struct, frozen=True, kw_only=True):
    """The oldest `limit` sessions and the number of all."""

    sessions: tuple[Session, ...]
    total: int


class ImapGateway(Protocol):
    """All that imap-gateway serves."""

    async def list_sessions(self, request: ListSessionsRequest) -> ListSessionsReply:
        """The open sessions of this process."""
        ...
