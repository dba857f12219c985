"""Values that modules below `conversation` need too."""

import msgspec

from postbus.core.ids import MailboxId


class Login(msgspec.Struct, frozen=True, kw_only=True):
    """Who logged in."""

    mailbox_id: MailboxId
    address: str
