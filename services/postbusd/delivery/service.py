"""delivery's contract (`postbus.contracts.delivery.Delivery`)."""

import msgspec

from postbus.contracts.delivery import (
    Accounted,
    Bookkeeper,
    ChangeHeldReply,
    ChangeHeldRequest,
    ChangeQueueReply,
    ChangeQueueRequest,
    GetLedgerReply,
    GetLedgerRequest,
    GetMessageReply,
    GetMessageRequest,
    ListHeldReply,
    ListHeldRequest,
    ListQueueReply,
    ListQueueRequest,
    Prechecker,
    PrecheckReply,
    PrecheckRequest,
    SettleLedgerReply,
    SettleLedgerRequest,
)
from postbus.contracts.notices import NoticeSender, SendNoticeReply, SendNoticeRequest
from postbus.contracts.relay_test import RelayTester, RelayTestReply, RelayTestRequest
from postbus.core.errors import ErrorKind, MailError
from postbusd.delivery.outbound.control import Control
from postbusd.delivery.outbound.queue import QueueBooks
from postbusd.delivery.ports import Ledger


class DeliveryPort(msgspec.Struct, frozen=True, kw_only=True):
    """The parts of delivery as one contract."""

    ledger: Ledger
    books: QueueBooks
    control: Control
    prechecker: Prechecker
    bookkeeper: Bookkeeper
    relay_tester: RelayTester
    notices: NoticeSender

    async def precheck(self, request: PrecheckRequest) -> PrecheckReply:
        """Which recipients would refuse this message."""
        return await self.prechecker.precheck(request)

    async def get_message(self, request: GetMessageRequest) -> GetMessageReply:
        """The ledger's account of a message, with its copies to other hosts."""
        entry = await self.ledger.find(request.queue_id)
        if entry is None:
            raise MailError(ErrorKind.NOT_FOUND, f"queue_id: {request.queue_id} is not in the ledger")
        outgoing = () if entry.accounted is Accounted.FOLDER else await self.books.entries(request.queue_id)
        return GetMessageReply(
            queue_id=entry.queue_id,
            stream_sequence=entry.stream_sequence,
            accounted=entry.accounted,
            detail=entry.detail,
            placements=entry.placements,
            traceparent=entry.traceparent,
            accepted_ms=entry.accepted_ms,
            outgoing=outgoing,
        )

    async def list_queue(self, request: ListQueueRequest) -> ListQueueReply:
        """What waits to go out, and why it is still here."""
        return await self.control.list_queue(request)

    async def change_queue(self, request: ChangeQueueRequest) -> ChangeQueueReply:
        """Retry, hold, release, cancel, bounce."""
        return await self.control.change_queue(request)

    async def get_ledger(self, request: GetLedgerRequest) -> GetLedgerReply:
        """The books as they stand."""
        return await self.bookkeeper.get_ledger(request)

    async def settle_ledger(self, request: SettleLedgerRequest) -> SettleLedgerReply:
        """Writes off what is missing, closes alarms."""
        return await self.bookkeeper.settle_ledger(request)

    async def list_held(self, request: ListHeldRequest) -> ListHeldReply:
        """The dead letters."""
        return await self.bookkeeper.list_held(request)

    async def change_held(self, request: ChangeHeldRequest) -> ChangeHeldReply:
        """Retries or discards dead letters."""
        return await self.bookkeeper.change_held(request)

    async def test_relay(self, request: RelayTestRequest) -> RelayTestReply:
        """Tries the smart host of a domain."""
        return await self.relay_tester.test_relay(request)

    async def send_notice(self, request: SendNoticeRequest) -> SendNoticeReply:
        """A message of our own to one person."""
        return await self.notices.send_notice(request)
