"""What a session knows, and what all sessions share."""

import asyncio
import enum
from collections.abc import Callable

import msgspec

from postbus.blobs.ports import BlobStore
from postbus.bus.ports import MailPublisher
from postbus.contracts.delivery import Prechecker
from postbus.contracts.directory import Resolution
from postbus.contracts.filter import MessageFilter, Verdict
from postbus.contracts.identity_provider import TokenAuthenticator
from postbus.contracts.logins import AuthenticateReply, Authenticator
from postbus.core.clock import Clock
from postbus.core.errors import MailError
from postbus.core.ids import QueueId
from postbus.runtime.event_log import EventLog
from postbus.runtime.logins import LoginWatch
from postbus.runtime.policy import PolicyWatch
from postbus.runtime.provider import ProviderWatch
from postbus.runtime.telemetry import Span
from postbus.smtp.commands import Hello, Mail, Rcpt
from postbus.smtp.sasl import SaslExchange
from postbusd.smtp_edge.counters import EdgeCounters
from postbusd.smtp_edge.networks import BlockedNetworks, ConnectionChecks, ConnectionVerdict, SessionLimits
from postbusd.smtp_edge.ports import TlsOffer
from postbusd.smtp_edge.rates import SubmissionRates
from postbusd.smtp_edge.recipients import Recipients
from postbusd.smtp_edge.settings import SmtpEdgeSettings
from postbusd.smtp_edge.signatures import Signatures
from postbusd.smtp_edge.spool import Spool, SpoolMemory
from postbusd.smtp_edge.values import Login


class ListenerKind(enum.StrEnum):
    """The three doors."""

    SMTP = "smtp"
    """25: mail from other servers, no login."""
    SUBMISSION = "submission"
    """587: STARTTLS, then login."""
    SUBMISSIONS = "submissions"
    """465: within TLS, then login."""


class Site(msgspec.Struct, frozen=True, kw_only=True):
    """What all sessions of a process share."""

    settings: SmtpEdgeSettings
    mail_host: str
    spool_dir: str
    memory: SpoolMemory
    clock: Clock
    tls: TlsOffer
    recipients: Recipients
    checks: ConnectionChecks
    limits: SessionLimits
    authenticator: Authenticator
    tokens: TokenAuthenticator
    provider: ProviderWatch
    logins: LoginWatch
    message_filter: MessageFilter
    prechecker: Prechecker
    blobs: BlobStore
    bus: MailPublisher
    events: EventLog
    counters: EdgeCounters
    rates: SubmissionRates
    policy: PolicyWatch
    blocked: BlockedNetworks
    signatures: Signatures


class Recipient(msgspec.Struct, frozen=True, kw_only=True):
    """An accepted RCPT."""

    command: Rcpt
    resolution: Resolution


class Transaction:
    """From MAIL to the end of DATA or RSET."""

    def __init__(self, mail: Mail, queue_id: QueueId, span: Span) -> None:
        """`span` is the first of the message's trace."""
        self.mail = mail
        self.queue_id = queue_id
        self.span = span
        self.outcome = "abandoned"
        """For the span: accepted | refused | deferred | abandoned."""
        self.recipients: list[Recipient] = []
        self.resolved: dict[str, Resolution] = {}
        """Answers to RCPT commands that were pipelined behind the current one."""
        self.spool: Spool | None = None
        self.spool_fault: MailError | None = None
        self.deadline = 0.0
        """Monotonic time by which DATA must end."""

    @property
    def reverse_path(self) -> str:
        """Empty: the null path."""
        return "" if self.mail.reverse_path is None else self.mail.reverse_path.format()


class Conversation:
    """One session's memory; the session alone changes it."""

    def __init__(self, site: Site, kind: ListenerKind, client_address: str) -> None:
        self.site = site
        self.kind = kind
        self.client_address = client_address
        self.policy = site.policy.policy
        """As it was when the session began: what EHLO says holds to its end."""
        self.tls = ""
        self.hello: Hello | None = None
        self.login: Login | None = None
        self.on_login: Callable[[AuthenticateReply], None] = _ignore
        """Told of the login; set by the session."""
        self.transaction: Transaction | None = None
        self.exchange: SaslExchange | None = None
        self.connection: ConnectionVerdict | None = None
        self.connection_task: asyncio.Task[ConnectionVerdict] | None = None
        self.errors = 0
        self.idle_commands = 0
        """Since the last message: those that brought the session no further, well-formed or not."""
        self.refused_recipients = 0

    @property
    def takes_logins(self) -> bool:
        """Whether this door is for submission."""
        return self.kind is not ListenerKind.SMTP

    async def connection_verdict(self) -> ConnectionVerdict:
        """The block list's word on the client, else filter's, which was asked for in the background; ACCEPT on
        submission doors."""
        if not self.takes_logins and self.site.blocked.has(self.client_address):
            return ConnectionVerdict(verdict=Verdict.REJECT, reply_text=f"{self.client_address} is on our block list")
        if self.connection is None and self.connection_task is not None:
            self.connection = await self.connection_task
        return self.connection or ConnectionVerdict()

    def end_transaction(self) -> None:
        """Forgets the envelope and what was spooled."""
        transaction, self.transaction = self.transaction, None
        if transaction is None:
            return
        if transaction.spool is not None:
            transaction.spool.discard()
        transaction.span.set(outcome=transaction.outcome, recipients=len(transaction.recipients))
        transaction.span.end()


def _ignore(login: AuthenticateReply) -> None:
    """Before a session has said what a login means to it."""
