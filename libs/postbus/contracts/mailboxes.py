"""A mailbox, as administrators see it."""

import msgspec

from postbus.contracts.owners import Owner
from postbus.core.ids import MailboxId


class Mailbox(msgspec.Struct, frozen=True, kw_only=True):
    """An account that stores mail."""

    mailbox_id: MailboxId
    address: str
    active: bool = True
    quota_octets: int | None = None
    """None: the default of its domain; 0: unlimited."""
    owner: Owner | None = None
    """None never comes from this version (promise 9)."""
    used_octets: int = 0
    pop3: bool = False
    """Whether it may be read by POP3."""
    send_as: tuple[str, ...] = ()
    """Addresses of ours that it may send as, besides its own."""
    effective_quota_octets: int | None = None
    """What holds; None: unlimited."""
