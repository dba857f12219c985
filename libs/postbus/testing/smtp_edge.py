"""A session of smtp-edge on a stream in memory, with fakes behind it: tests read like the protocol's transcript."""

import asyncio
import base64
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
from prometheus_client import CollectorRegistry

from postbus.contracts import Empty
from postbus.contracts.delivery import PrecheckReply, PrecheckRequest
from postbus.contracts.directory import MailboxTarget, Outcome, Resolution, ResolveReply, ResolveRequest, Via
from postbus.contracts.domains import FindSignatureRequest, Signature, SignatureReply
from postbus.contracts.filter import (
    CheckConnectionReply,
    CheckConnectionRequest,
    CheckMessageReply,
    CheckMessageRequest,
    Verdict,
)
from postbus.contracts.identity_provider import AuthenticateTokenRequest, ProviderFacts
from postbus.contracts.logins import (
    AuthenticateReply,
    AuthenticateRequest,
    ConfirmedLogin,
    ConfirmLoginsReply,
    ConfirmLoginsRequest,
)
from postbus.contracts.policy import Policy, PolicyReply
from postbus.core.clock import SystemClock
from postbus.core.errors import ErrorKind, MailError
from postbus.core.ids import MailboxId
from postbus.runtime.event_log import EventLog
from postbus.runtime.logins import LoginWatch
from postbus.runtime.policy import PolicyWatch
from postbus.runtime.provider import ProviderWatch
from postbus.testing.blobs import MemoryBlobStore
from postbus.testing.bus import FakeBus
from postbusd.smtp_edge.conversation import ListenerKind, Site
from postbusd.smtp_edge.counters import EdgeCounters
from postbusd.smtp_edge.networks import BlockedNetworks, ConnectionChecks, SessionLimits
from postbusd.smtp_edge.rates import SubmissionRates
from postbusd.smtp_edge.recipients import Recipients
from postbusd.smtp_edge.session import Session
from postbusd.smtp_edge.settings import SmtpEdgeSettings
from postbusd.smtp_edge.signatures import Signatures
from postbusd.smtp_edge.spool import SpoolMemory

ALICE = MailboxId("0190a0a0-0000-7000-8000-00000000000a")
BOB = MailboxId("0190a0a0-0000-7000-8000-00000000000b")
PASSWORD = "correct horse"  # noqa: S105  # of fakes
TOKEN = "a.bearer-token"  # noqa: S105  # of fakes
PLAIN = base64.b64encode(f"\0alice@demo.example\0{PASSWORD}".encode()).decode()
"""The initial response of AUTH PLAIN for alice@demo.example."""
AWAY = MailError(ErrorKind.UNAVAILABLE, "away")
TEST_TLS = "TLSv1.3 with cipher TLS_TEST"


def mailbox_resolution(
    address: str,
    mailbox_id: MailboxId,
    *,
    over_quota: bool = False,
    script: str = "",
    via: Via = Via.MAILBOX,
    free_octets: int | None = None,
) -> Resolution:
    """A forward_path that leads to one mailbox."""
    target = MailboxTarget(
        mailbox_id=mailbox_id, address=address, over_quota=over_quota, script_hash=script, free_octets=free_octets
    )
    return Resolution(forward_path=address, outcome=Outcome.MAILBOX, targets=(target,), via=via)


class FakeDirectory:
    """Knows alice@ and bob@demo.example; domain demo.example is ours. `answers` and `fail_with` override."""

    def __init__(self) -> None:
        self.answers: dict[str, Resolution] = {
            "alice@demo.example": mailbox_resolution("alice@demo.example", ALICE),
            "bob@demo.example": mailbox_resolution("bob@demo.example", BOB),
            "postmaster": mailbox_resolution("alice@demo.example", ALICE),
        }
        self.stale: dict[str, Resolution] = {}
        """What a cache on the way would still answer."""
        self.requests: list[ResolveRequest] = []
        self.logins: list[AuthenticateRequest] = []
        self.fail_with: MailError | None = None
        self.login_fails_with: MailError | None = None
        self.ended: set[MailboxId] = set()
        """Whose logins stand no more."""
        self.revision = 1
        self.signatures: dict[str, Signature] = {}
        """By domain."""
        self.signatures_asked: list[str] = []
        self.provider = ""
        self.token_logins: list[AuthenticateTokenRequest] = []

    async def resolve(self, request: ResolveRequest) -> ResolveReply:
        """Answers in order."""
        self.requests.append(request)
        if self.fail_with is not None:
            raise self.fail_with
        found = []
        for path in request.forward_paths:
            stale = None if request.bypass_cache else self.stale.get(path)
            found.append(stale or self.answers.get(path) or _unknown(path))
        return ResolveReply(resolutions=tuple(found), revision=self.revision)

    async def authenticate(self, request: AuthenticateRequest) -> AuthenticateReply:
        """alice@ and bob@ with PASSWORD."""
        self.logins.append(request)
        if self.login_fails_with is not None:
            raise self.login_fails_with
        known = self.answers.get(request.username)
        if known is None or request.password != PASSWORD:
            raise MailError(ErrorKind.UNAUTHENTICATED, "unknown user or wrong password")
        mailbox_id = known.targets[0].mailbox_id
        return AuthenticateReply(mailbox_id=mailbox_id, address=request.username, proof=f"of {mailbox_id}")

    async def find_policy(self, request: Empty) -> PolicyReply:
        """The defaults."""
        return PolicyReply(policy=Policy(), revision=self.revision)

    async def find_provider(self, request: Empty) -> ProviderFacts:
        """`provider`."""
        return ProviderFacts(configuration_url=self.provider)

    async def authenticate_token(self, request: AuthenticateTokenRequest) -> AuthenticateReply:
        """TOKEN opens alice@, asked for or not."""
        self.token_logins.append(request)
        if self.login_fails_with is not None:
            raise self.login_fails_with
        address = request.mailbox or "alice@demo.example"
        if request.token != TOKEN or address != "alice@demo.example":
            raise MailError(ErrorKind.UNAUTHENTICATED, "this user may not open this mailbox")
        mailbox_id = self.answers[address].targets[0].mailbox_id
        return AuthenticateReply(mailbox_id=mailbox_id, address=address, member="alice", proof=f"of {mailbox_id}")

    async def find_signature(self, request: FindSignatureRequest) -> SignatureReply:
        """Of `signatures`."""
        self.signatures_asked.append(request.domain)
        if self.fail_with is not None:
            raise self.fail_with
        return SignatureReply(signature=self.signatures.get(request.domain), revision=self.revision)

    async def confirm_logins(self, request: ConfirmLoginsRequest) -> ConfirmLoginsReply:
        """All but those in `ended`."""
        if self.fail_with is not None:
            raise self.fail_with
        words = (ConfirmedLogin(stands=each.mailbox_id not in self.ended) for each in request.logins)
        return ConfirmLoginsReply(logins=tuple(words), revision=self.revision)


def _unknown(path: str) -> Resolution:
    if path.endswith("@demo.example"):
        return Resolution(
            forward_path=path, outcome=Outcome.REJECT, kind=ErrorKind.NOT_FOUND, reason="no such mailbox here"
        )
    return Resolution(forward_path=path, outcome=Outcome.REMOTE)


class FakeFilter:
    """Accepts with a prefix, unless told otherwise."""

    def __init__(self) -> None:
        self.connection = CheckConnectionReply(verdict=Verdict.ACCEPT, client_name="client.example")
        self.message = CheckMessageReply(
            verdict=Verdict.ACCEPT, score=0.5, required=5.0, prefix=b"X-Spam-Status: No\r\n"
        )
        self.connections: list[CheckConnectionRequest] = []
        self.messages: list[CheckMessageRequest] = []
        self.fail_with: MailError | None = None

    async def check_connection(self, request: CheckConnectionRequest) -> CheckConnectionReply:
        """`connection`."""
        self.connections.append(request)
        if self.fail_with is not None:
            raise self.fail_with
        return self.connection

    async def check_message(self, request: CheckMessageRequest) -> CheckMessageReply:
        """`message`."""
        self.messages.append(request)
        if self.fail_with is not None:
            raise self.fail_with
        return self.message


class FakePrechecker:
    """Answers what `reply` says, at RCPT what `envelope_reply` says."""

    def __init__(self) -> None:
        self.reply = PrecheckReply(results=())
        self.envelope_reply = PrecheckReply(results=())
        self.requests: list[PrecheckRequest] = []
        self.fail_with: MailError | None = None

    async def precheck(self, request: PrecheckRequest) -> PrecheckReply:
        """`reply` or `envelope_reply`."""
        self.requests.append(request)
        if self.fail_with is not None:
            raise self.fail_with
        return self.envelope_reply if request.envelope_only else self.reply


class FakeTls:
    """TlsOffer: ready unless told otherwise."""

    def __init__(self) -> None:
        self.ready = True

    async def check(self) -> None:
        """Raises when not ready."""
        if not self.ready:
            raise AWAY


class MemoryStream:
    """A connection in memory: implements `postbusd.smtp_edge.ports.Stream`."""

    def __init__(self, peer_address: str) -> None:
        self.peer_address = peer_address
        self.tls = ""
        self.early = b""
        """What the client sends before the banner."""
        self.discarded_by_tls = 0
        self.tls_fails = False
        self.sent = bytearray()
        self.idle = asyncio.Event()
        """Set while the session waits for octets."""
        self.incoming: asyncio.Queue[bytes] = asyncio.Queue()

    def has_unread_data(self) -> bool:
        """`early`, or what waits."""
        return bool(self.early) or not self.incoming.empty()

    async def receive(self) -> bytes:
        """What was fed, piece by piece."""
        if self.early:
            early, self.early = self.early, b""
            return early
        if self.incoming.empty():
            self.idle.set()
        data = await self.incoming.get()
        self.idle.clear()
        return data

    async def send(self, data: bytes) -> None:
        """Keeps it."""
        self.sent += data

    async def start_tls(self, ready: bytes) -> int:
        """Pretends."""
        self.sent += ready
        if self.tls_fails:
            raise MailError(ErrorKind.INVALID, "handshake failed")
        self.tls = TEST_TLS
        return self.discarded_by_tls


class Peer:
    """The other end of a session."""

    def __init__(self, stream: MemoryStream, task: asyncio.Task[None], session: Session) -> None:
        self.stream = stream
        self.task = task
        self.session = session

    async def say(self, data: bytes | str) -> str:
        """Sends octets (str: a line) and returns what the session sent until it waits again or has ended."""
        octets = data.encode() + b"\r\n" if isinstance(data, str) else data
        self.stream.idle.clear()
        self.stream.incoming.put_nowait(octets)
        return await self.listen()

    async def listen(self) -> str:
        """What the session has sent so far, once it waits or has ended; lines joined by `|`."""
        waiting = asyncio.ensure_future(self.stream.idle.wait())
        await asyncio.wait({waiting, self.task}, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        text = bytes(self.stream.sent).decode("ascii")
        self.stream.sent.clear()
        return "|".join(text.split("\r\n")[:-1])

    @property
    def has_ended(self) -> bool:
        """Whether the session is over."""
        return self.task.done()


class Edge:
    """smtp-edge without sockets."""

    def __init__(self, spool_dir: Path, settings: SmtpEdgeSettings | None = None) -> None:
        """Fakes everywhere, no greet pause."""
        self.settings = settings or SmtpEdgeSettings(greet_pause_seconds=0)
        self.directory = FakeDirectory()
        self.filter = FakeFilter()
        self.prechecker = FakePrechecker()
        self.blobs = MemoryBlobStore()
        self.bus = FakeBus()
        self.tls = FakeTls()
        self.registry = CollectorRegistry()
        clock = SystemClock()
        self.counters = EdgeCounters("instance", 1, self.registry)
        self.events = EventLog(self.bus, clock, "smtp-edge", self.counters.events_dropped)
        self.recipients = Recipients(self.directory, clock, self.settings.resolve_cache_seconds)
        self.signatures = Signatures(self.directory, clock, self.settings.resolve_cache_seconds)
        self.logins = LoginWatch(self.directory)
        self.provider = ProviderWatch(self.directory)
        self.policy = PolicyWatch(self.directory)
        self.blocked = BlockedNetworks()
        self.site = Site(
            settings=self.settings,
            mail_host="mail.demo.example",
            spool_dir=str(spool_dir),
            memory=SpoolMemory(self.settings.total_memory_octets),
            clock=clock,
            tls=self.tls,
            recipients=self.recipients,
            checks=ConnectionChecks(self.filter, clock, self.settings.connection_cache_seconds),
            limits=SessionLimits(self.settings.max_sessions, self.settings.max_sessions_per_address),
            authenticator=self.directory,
            tokens=self.directory,
            provider=self.provider,
            logins=self.logins,
            message_filter=self.filter,
            prechecker=self.prechecker,
            blobs=self.blobs,
            bus=self.bus,
            events=self.events,
            counters=self.counters,
            rates=SubmissionRates(self.bus, clock, lambda: self.policy.policy, self.counters),
            policy=self.policy,
            blocked=self.blocked,
            signatures=self.signatures,
        )

    def change(self, **fields: object) -> None:
        """Other settings for sessions to come."""
        self.settings = msgspec.structs.replace(self.settings, **fields)
        self.site = msgspec.structs.replace(self.site, settings=self.settings)

    def set_policy(self, **fields: object) -> None:
        """Another policy, as if directory had told it."""
        self.policy.policy = msgspec.structs.replace(self.policy.policy, **fields)
        self.blocked.set(self.policy.policy)

    @contextlib.asynccontextmanager
    async def connect(
        self, kind: ListenerKind = ListenerKind.SMTP, address: str = "192.0.2.1", stream: MemoryStream | None = None
    ) -> AsyncIterator[Peer]:
        """A session from before its banner; at the end the peer hangs up."""
        stream = stream or MemoryStream(address)
        if kind is ListenerKind.SUBMISSIONS:
            stream.tls = TEST_TLS
        session = Session(stream, kind, self.site)
        async with asyncio.TaskGroup() as group:
            task = group.create_task(session.run())
            yield Peer(stream, task, session)
            stream.incoming.put_nowait(b"")


async def enter(peer: Peer, auth: str = f"AUTH PLAIN {PLAIN}") -> str:
    """Greets and logs in on a submission door that is within TLS; the answer to AUTH."""
    await peer.listen()
    await peer.say("EHLO client.example")
    return await peer.say(auth)


async def submit(peer: Peer, reverse_path: str, forward_path: str, wire: bytes) -> str:
    """One message of a session that has logged in; the answer to the final dot, or the first that is no yes."""
    for line in (f"MAIL FROM:<{reverse_path}>", f"RCPT TO:<{forward_path}>", "DATA"):
        answer = await peer.say(line)
        if answer[0] not in "23":
            return answer
    return await peer.say(wire)
