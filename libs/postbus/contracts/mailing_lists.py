"""directory's port for lists: addresses that many receive."""

from typing import Protocol

import msgspec

from postbus.contracts.condition import Condition
from postbus.contracts.objects import DeleteReply, DeleteRequest, ObjectRequest, PageRequest


class MailingList(msgspec.Struct, frozen=True, kw_only=True):
    """An address that many receive."""

    address: str
    members: tuple[str, ...] = ()
    """Addresses, ours (mailboxes, aliases, groups, other lists) or others'."""
    active: bool = True
    members_only: bool = False
    """Only members may post to it."""
    groups: tuple[str, ...] = ()
    """Names of groups whose active users get it too, in the oldest active mailbox of each; followed as they change."""


class PutListRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Creates or replaces a list."""

    list: MailingList
    actor: str
    condition: Condition = Condition()


class PutListReply(msgspec.Struct, frozen=True, kw_only=True):
    """The list as it is now."""

    list: MailingList
    created: bool


class ListPage(msgspec.Struct, frozen=True, kw_only=True):
    """One page; `next_after` empty: the last one."""

    lists: tuple[MailingList, ...]
    next_after: str = ""


class ListAdmin(Protocol):
    """The administrator's lists."""

    async def put_list(self, request: PutListRequest) -> PutListReply:
        """Creates or replaces a list; idempotent."""
        ...

    async def get_list(self, request: ObjectRequest) -> MailingList:
        """One list."""
        ...

    async def list_lists(self, request: PageRequest) -> ListPage:
        """One page of lists."""
        ...

    async def delete_list(self, request: DeleteRequest) -> DeleteReply:
        """Deletes a list."""
        ...
