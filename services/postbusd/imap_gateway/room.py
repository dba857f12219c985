"""Room in memory for messages of APPEND that come in: bounded for all together, half of it for one mailbox."""

from postbus.core.ids import MailboxId
from postbus.runtime.octets import OctetBudget


class _Share:
    """What one mailbox may hold; kept while anybody uses it."""

    def __init__(self, max_octets: int) -> None:
        self.budget = OctetBudget(max_octets)
        self.users = 0


class AppendRoom:
    """Of one process. Who comes too late waits, and nothing is read from his connection meanwhile."""

    def __init__(self, max_octets: int) -> None:
        self.all = OctetBudget(max_octets)
        self._max_octets = max_octets
        self._shares: dict[MailboxId, _Share] = {}

    async def take(self, mailbox_id: MailboxId, octets: int) -> "Taken":
        """Waits for room. Cancelled, it takes nothing."""
        share = self._shares.setdefault(mailbox_id, _Share(self._max_octets // 2))
        share.users += 1
        taken = Taken(self, mailbox_id)
        try:
            taken.own = await share.budget.take(octets)
            taken.total = await self.all.take(octets)
        except BaseException:
            taken.give_back()
            raise
        return taken

    def leave(self, mailbox_id: MailboxId, octets: int) -> None:
        """Of `Taken`."""
        share = self._shares[mailbox_id]
        share.budget.give_back(octets)
        share.users -= 1
        if not share.users:
            del self._shares[mailbox_id]


class Taken:
    """Room for one message, until it is given back."""

    def __init__(self, room: AppendRoom, mailbox_id: MailboxId) -> None:
        self.own = self.total = 0
        self._room: AppendRoom | None = room
        self._mailbox_id = mailbox_id

    def give_back(self) -> None:
        """As often as it is called."""
        room, self._room = self._room, None
        if room is not None:
            room.all.give_back(self.total)
            room.leave(self._mailbox_id, self.own)
