"""delivery's queue and dns-provisioner's plans in memory, as admin-api asks for them."""

import msgspec

from postbus.contracts.delivery import (
    Accounted,
    ChangeQueueReply,
    ChangeQueueRequest,
    GetMessageReply,
    GetMessageRequest,
    ListQueueReply,
    ListQueueRequest,
    QueueAction,
    QueueEntry,
    QueueState,
)
from postbus.contracts.dns_provisioner import (
    ListCertificatesReply,
    ListCertificatesRequest,
    PlanDomainReply,
    PlanDomainRequest,
    RecordState,
    WantedRecord,
)
from postbus.contracts.domains import DomainAdmin
from postbus.contracts.notices import SendNoticeReply, SendNoticeRequest
from postbus.contracts.objects import ObjectRequest
from postbus.contracts.relay_test import RelayTestReply, RelayTestRequest
from postbus.core.errors import ErrorKind, MailError
from postbus.core.ids import QueueId, new_queue_id

PEM = b"-----BEGIN CERTIFICATE-----\n"
_STATES = {
    QueueAction.RETRY: QueueState.WAITING,
    QueueAction.HOLD: QueueState.HELD,
    QueueAction.RELEASE: QueueState.WAITING,
    QueueAction.CANCEL: QueueState.CANCELLED,
    QueueAction.BOUNCE: QueueState.FAILED,
}
_OPEN = (QueueState.WAITING, QueueState.HELD)


class MemoryQueue:
    """MessageTracker and QueueControl; `messages` are the ledger's, `entries` the copies, `busy` those being sent."""

    def __init__(self) -> None:
        self.messages: dict[QueueId, GetMessageReply] = {}
        self.entries: list[QueueEntry] = []
        self.busy: set[str] = set()
        self.requests: list[ChangeQueueRequest] = []

    async def get_message(self, request: GetMessageRequest) -> GetMessageReply:
        """The ledger's account with the copies."""
        if request.queue_id not in self.messages:
            raise MailError(ErrorKind.NOT_FOUND, "queue_id: no such message")
        outgoing = tuple(entry for entry in self.entries if entry.queue_id == request.queue_id)
        return msgspec.structs.replace(self.messages[request.queue_id], outgoing=outgoing)

    async def list_queue(self, request: ListQueueRequest) -> ListQueueReply:
        """One page in the order of (queue_id, recipient)."""
        found = sorted((entry for entry in self.entries if self._is_wanted(entry, request)), key=_key)
        rest = [entry for entry in found if _key(entry) > request.after]
        page = rest[: request.limit]
        return ListQueueReply(
            entries=tuple(page),
            next_after=_key(page[-1]) if len(rest) > len(page) else "",
            waiting=sum(entry.state is QueueState.WAITING for entry in self.entries),
            held=sum(entry.state is QueueState.HELD for entry in self.entries),
        )

    async def change_queue(self, request: ChangeQueueRequest) -> ChangeQueueReply:
        """Applies the action to open copies."""
        self.requests.append(request)
        chosen = [entry for entry in self.entries if entry.state in _OPEN and _matches(entry, request)]
        if request.action is QueueAction.RELEASE:
            chosen = [entry for entry in chosen if entry.state is QueueState.HELD]
        free = [entry for entry in chosen if entry.recipient not in self.busy]
        if not request.dry_run:
            state = _STATES[request.action]
            self.entries = [
                msgspec.structs.replace(entry, state=state) if entry in free else entry for entry in self.entries
            ]
        return ChangeQueueReply(changed=len(free), busy=len(chosen) - len(free))

    def _is_wanted(self, entry: QueueEntry, request: ListQueueRequest) -> bool:
        if request.queue_id and entry.queue_id != request.queue_id:
            return False
        if request.domain and not entry.recipient.endswith(f"@{request.domain}"):
            return False
        return entry.state in _OPEN or request.finished or bool(request.queue_id)


class MemoryDns:
    """CertificateSource and DnsPlanner; directory says whose a domain is; it is live when `live` has it."""

    def __init__(self, directory: DomainAdmin) -> None:
        self.ca_pem = PEM
        self.away = False
        self.live: set[str] = set()
        self._directory = directory

    async def list_certificates(self, request: ListCertificatesRequest) -> ListCertificatesReply:
        """A CA."""
        return ListCertificatesReply(revision=1, ca_pem=self.ca_pem)

    async def plan_domain(self, request: PlanDomainRequest) -> PlanDomainReply:
        """An MX and a DMARC record."""
        if self.away:
            raise MailError(ErrorKind.UNAVAILABLE, "dns-provisioner is away")
        domain = (await self._directory.get_domain(ObjectRequest(name=request.domain, actor=request.actor))).name
        wanted = (
            WantedRecord(name=domain, type="MX", values=("10 mail.demo.example.",), purpose="brings mail here"),
            WantedRecord(
                name=f"_dmarc.{domain}", type="TXT", values=("v=DMARC1; p=none",), purpose="says what to do with fakes"
            ),
        )
        records = tuple(self._compare(record) for record in wanted) if request.compare else wanted
        zone = "".join(f"{record.name}. 3600 IN {record.type} {record.values[0]}\n" for record in wanted)
        return PlanDomainReply(domain=domain, records=records, zone=zone)

    def _compare(self, record: WantedRecord) -> WantedRecord:
        if record.name in self.live:
            return msgspec.structs.replace(record, state=RecordState.OK, live=record.values)
        return msgspec.structs.replace(record, state=RecordState.MISSING, advice=f"add this {record.type} record")


def make_entry(queue_id: QueueId, recipient: str, **changes: object) -> QueueEntry:
    """A copy that waits after one attempt."""
    entry = QueueEntry(
        queue_id=queue_id,
        recipient=recipient,
        reverse_path="kim@demo.example",
        state=QueueState.WAITING,
        accepted_ms=1_790_000_000_000,
        due_ms=1_790_000_900_000,
        attempts=1,
        next_hop=recipient.partition("@")[2],
        last_reply="451 4.7.1 come back later",
        remote_host="mx.far.example",
        tls="TLSv1.3 TLS_AES_256_GCM_SHA384",
        size_octets=4096,
        message_id="<one@demo.example>",
        expires_ms=1_790_432_000_000,
    )
    return msgspec.structs.replace(entry, **changes)


def make_message(queue_id: QueueId) -> GetMessageReply:
    """The ledger's account of a message that went to the queue."""
    return GetMessageReply(
        queue_id=queue_id, stream_sequence=1, accounted=Accounted.QUEUED, accepted_ms=1_790_000_000_000
    )


def _key(entry: QueueEntry) -> str:
    return f"{entry.queue_id} {entry.recipient}"


def _matches(entry: QueueEntry, request: ChangeQueueRequest) -> bool:
    return (
        request.queue_id in ("", entry.queue_id)
        and request.recipient in ("", entry.recipient)
        and (not request.domain or entry.recipient.endswith(f"@{request.domain}"))
    )


class MemoryRelays:
    """RelayTester; `requests` were made, `reply` is the answer to each."""

    def __init__(self, domains: DomainAdmin) -> None:
        self.requests: list[RelayTestRequest] = []
        self.reply = RelayTestReply(host="smtp.example.net", port=587, steps=())
        self._domains = domains

    async def test_relay(self, request: RelayTestRequest) -> RelayTestReply:
        """Checks the actor as delivery does."""
        await self._domains.get_domain(ObjectRequest(name=request.domain, actor=request.actor))
        self.requests.append(request)
        return self.reply


class MemoryNotices:
    """The NoticeSender; `sent` are the notices; `away` makes it UNAVAILABLE."""

    def __init__(self) -> None:
        self.sent: list[SendNoticeRequest] = []
        self.away = False

    async def send_notice(self, request: SendNoticeRequest) -> SendNoticeReply:
        """Keeps it."""
        if self.away:
            raise MailError(ErrorKind.UNAVAILABLE, "delivery is away")
        self.sent.append(request)
        return SendNoticeReply(queue_id=new_queue_id(len(self.sent)))
