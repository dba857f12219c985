"""A gateway in memory: sessions on the fakes of the store, the blobs and the bus."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import msgspec
import pytest
from prometheus_client import CollectorRegistry

from postbus.bus.subjects import folder_changed_subject
from postbus.contracts import Empty
from postbus.contracts.directory import MailboxTarget, Outcome, Resolution, ResolveReply, ResolveRequest
from postbus.contracts.events import FolderChanged
from postbus.contracts.identity_provider import AuthenticateTokenRequest, ProviderFacts
from postbus.contracts.indexer import SearchReply, SearchRequest, TermHits, TextField
from postbus.contracts.logins import (
    AuthenticateReply,
    AuthenticateRequest,
    ConfirmedLogin,
    ConfirmLoginsReply,
    ConfirmLoginsRequest,
)
from postbus.core.errors import ErrorKind, MailError
from postbus.core.ids import EmailId, FolderId, MailboxId, ModSeq, new_email_id
from postbus.mailstore.prepare import prepare_message
from postbus.mailstore.values import Append, AppendResult, Flag
from postbus.mime.scanner import scan_message
from postbus.runtime.event_log import EventLog
from postbus.runtime.logins import LoginWatch
from postbus.runtime.provider import ProviderWatch
from postbus.testing.blobs import MemoryBlobStore
from postbus.testing.bus import FakeBus
from postbus.testing.mailstore import MemoryMailStore
from postbus.testing.transcript import ScriptedWire, play_transcript
from postbusd.imap_gateway.deps import Deps
from postbusd.imap_gateway.metrics import GatewayMetrics
from postbusd.imap_gateway.room import AppendRoom
from postbusd.imap_gateway.server import ImapServer
from postbusd.imap_gateway.settings import ImapGatewaySettings
from postbusd.imap_gateway.view_registry import ViewRegistry

ANN = MailboxId("01900000-0000-7000-8000-000000000001")
NO_FLAGS = Flag(0)
NOW_MS = 1_790_000_000_000


class FixedClock:
    def __init__(self) -> None:
        self.now = NOW_MS

    def now_ms(self) -> int:
        return self.now

    def monotonic(self) -> float:
        return self.now / 1000


class FakeAuthenticator:
    """ann@demo.example with the password secret; `fail_with` for a directory that is away."""

    def __init__(self) -> None:
        self.requests: list[AuthenticateRequest] = []
        self.resolved: list[ResolveRequest] = []
        self.quota_octets = 1_000_000
        self.ended = False
        self.provider = ""
        self.token_requests: list[AuthenticateTokenRequest] = []
        self.fail_with: MailError | None = None

    async def authenticate(self, request: AuthenticateRequest) -> AuthenticateReply:
        self.requests.append(request)
        if self.fail_with is not None:
            raise self.fail_with
        if (request.username, request.password) != ("ann@demo.example", "secret"):
            raise MailError(ErrorKind.UNAUTHENTICATED, "wrong")
        return AuthenticateReply(
            mailbox_id=ANN, address="ann@demo.example", quota_octets=self.quota_octets, member="ann", proof="ann's"
        )

    async def find_provider(self, request: Empty) -> ProviderFacts:
        return ProviderFacts(configuration_url=self.provider)

    async def authenticate_token(self, request: AuthenticateTokenRequest) -> AuthenticateReply:
        self.token_requests.append(request)
        if self.fail_with is not None:
            raise self.fail_with
        if (request.mailbox or "ann@demo.example", request.token) != ("ann@demo.example", "a.token"):
            raise MailError(ErrorKind.UNAUTHENTICATED, "wrong")
        return AuthenticateReply(
            mailbox_id=ANN, address="ann@demo.example", quota_octets=self.quota_octets, member="ann", proof="ann's"
        )

    async def confirm_logins(self, request: ConfirmLoginsRequest) -> ConfirmLoginsReply:
        if self.fail_with is not None:
            raise self.fail_with
        word = ConfirmedLogin(stands=not self.ended, quota_octets=self.quota_octets)
        return ConfirmLoginsReply(logins=(word,) * len(request.logins), revision=1)

    async def resolve(self, request: ResolveRequest) -> ResolveReply:
        self.resolved.append(request)
        if self.fail_with is not None:
            raise self.fail_with
        target = MailboxTarget(mailbox_id=ANN, address="ann@demo.example", quota_octets=self.quota_octets)
        resolution = Resolution(forward_path=request.forward_paths[0], outcome=Outcome.MAILBOX, targets=(target,))
        return ResolveReply(resolutions=(resolution,), revision=1)


class FakeIndexer:
    """Looks for substrings in what was delivered."""

    def __init__(self) -> None:
        self.messages: dict[EmailId, bytes] = {}
        self.requests: list[SearchRequest] = []
        self.fail_with: MailError | None = None

    async def search(self, request: SearchRequest) -> SearchReply:
        self.requests.append(request)
        if self.fail_with is not None:
            raise self.fail_with
        return SearchReply(
            hits=tuple(
                TermHits(
                    email_ids=b"".join(
                        uuid.UUID(email_id).bytes
                        for email_id, message in self.messages.items()
                        if self._matches(message, term.field, term.value, term.header_name)
                    )
                )
                for term in request.terms
            )
        )

    def _matches(self, message: bytes, field: TextField, value: str, header_name: str) -> bool:
        header, _, body = message.lower().partition(b"\r\n\r\n")
        wanted = value.lower().encode()
        if field is TextField.BODY:
            return wanted in body
        if field is TextField.TEXT:
            return wanted in message.lower()
        name = (header_name or field.value).lower().encode()
        return any(line.startswith(name + b":") and wanted in line for line in header.split(b"\r\n"))


class Gateway:
    def __init__(self, settings: ImapGatewaySettings, tls_offered: bool = True) -> None:
        self.mailbox_id = ANN
        self.clock = FixedClock()
        self.store = MemoryMailStore(self.clock)
        self.blobs = MemoryBlobStore(self.clock)
        self.bus = FakeBus()
        self.authenticator = FakeAuthenticator()
        self.indexer = FakeIndexer()
        self.metrics = GatewayMetrics(CollectorRegistry())
        self.events = EventLog(self.bus, self.clock, "imap-gateway", self.metrics.events_dropped)
        self.views = ViewRegistry(self.store, self.bus, settings.cached_messages)
        self.logins = LoginWatch(self.authenticator)
        self.provider = ProviderWatch(self.authenticator)
        self.room = AppendRoom(settings.append_memory_octets)
        self.deps = Deps(
            store=self.store,
            blobs=self.blobs,
            bus=self.bus,
            authenticator=self.authenticator,
            tokens=self.authenticator,
            provider=self.provider,
            logins=self.logins,
            resolver=self.authenticator,
            indexer=self.indexer,
            clock=self.clock,
            views=self.views,
            events=self.events,
            metrics=self.metrics,
            settings=settings,
            room=self.room,
            mail_host="mail.demo.example",
            tls_offered=tls_offered,
        )
        self.server = ImapServer(self.deps)

    def connect(self, is_secure: bool = True) -> ScriptedWire:
        wire = ScriptedWire(is_secure=is_secure)
        self.server.accept(wire, "imaps" if is_secure else "imap")
        return wire

    async def deliver(
        self, message: bytes, folder: str = "INBOX", prefix: bytes = b"", flags: Flag = NO_FLAGS, wake: bool = True
    ) -> AppendResult:
        """Stores a message as delivery does, and wakes the sessions."""
        email_id = new_email_id(self.clock.now)
        prepared = prepare_message(
            email_id=email_id,
            blob_id=await self.blobs.put(message),
            prefix=prefix,
            scan=scan_message(message),
            internal_date_ms=self.clock.now,
        )
        append = Append(mailbox_id=ANN, operation_key=email_id, folder=folder, message=prepared, flags=flags)
        result = (await self.store.append([append]))[0]
        self.indexer.messages[email_id] = message
        if wake:
            await self.wake(result.folder_id, result.mod_seq)
        return result

    async def wake(self, folder_id: FolderId, mod_seq: int = 0) -> None:
        changed = FolderChanged(mailbox_id=ANN, folder_ids=(folder_id,), mod_seq=ModSeq(mod_seq))
        await self.bus.wake(folder_changed_subject(ANN), changed)

    async def log_in(self, folder: str = "") -> ScriptedWire:
        """A connection after LOGIN, and SELECT of `folder`."""
        wire = self.connect()
        await wire.read_line()
        await self.ask(wire, "l LOGIN ann@demo.example secret")
        if folder:
            await self.ask(wire, f"s SELECT {folder}")
        return wire

    async def ask(self, wire: ScriptedWire, line: str) -> list[str]:
        """Sends a command and reads up to its tagged reply."""
        tag = line.split(" ", maxsplit=1)[0].encode()
        wire.send(line.encode() + b"\r\n")
        lines: list[bytes] = []
        while not lines or not lines[-1].startswith(tag + b" "):
            lines.append(await wire.read_line())
            assert lines[-1] or not wire.closed, f"closed after {lines}"
        return [answer.decode("utf-8", "replace") for answer in lines]


MakeGateway = Callable[..., Awaitable[Gateway]]


@pytest.fixture
async def make_gateway() -> AsyncIterator[MakeGateway]:
    tasks: list[asyncio.Task[None]] = []

    async def make(**changes: object) -> Gateway:
        settings = msgspec.structs.replace(ImapGatewaySettings(failed_login_seconds=0.0), **changes)
        gateway = Gateway(settings)
        await gateway.store.ensure_mailboxes([ANN])
        tasks.append(asyncio.create_task(gateway.server.run()))
        return gateway

    yield make
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


@pytest.fixture
async def gateway(make_gateway: MakeGateway) -> Gateway:
    return await make_gateway()


@pytest.fixture
def play(gateway: Gateway) -> Callable[..., Awaitable[None]]:
    async def play_file(name: str, wire: ScriptedWire, **actions: Callable[[], Awaitable[None]]) -> None:
        path = Path(__file__).parent / "transcripts" / name
        await play_transcript(path.read_text("utf-8"), wire, actions)

    return play_file
