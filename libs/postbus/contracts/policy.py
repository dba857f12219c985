"""directory's port for what holds for all mail of the installation: limits, the filter's threshold, block lists."""

import enum
from typing import Protocol

import msgspec

from postbus.contracts import Empty
from postbus.contracts.condition import Condition


class DmarcReject(enum.StrEnum):
    """What becomes of mail that fails DMARC where the author's domain asks for p=reject (RFC 9989)."""

    REJECT = "reject"
    QUARANTINE = "quarantine"


class DnsblMode(enum.StrEnum):
    """What becomes of mail from an address on a DNSBL."""

    REFUSE = "refuse"
    SCORE = "score"


class Dnsbl(msgspec.Struct, frozen=True, kw_only=True):
    """A list of addresses of spammers in the DNS (RFC 5782)."""

    zone: str
    """Lower-case A-labels."""
    mode: DnsblMode = DnsblMode.SCORE
    score: float = 2.0
    """That a hit adds in mode SCORE."""
    lookup_url: str = ""
    """Told to who is refused, for asking why and for delisting; `{address}` in it is the client's."""


DEFAULT_DNSBLS = (
    Dnsbl(
        zone="zen.spamhaus.org",
        mode=DnsblMode.REFUSE,
        lookup_url="https://check.spamhaus.org/results/?query={address}",
    ),
)


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """What administrators set for the whole installation; services follow it without a restart."""

    max_message_octets: int = 25 * 1024 * 1024
    """The largest message that SMTP takes; advertised as SIZE (RFC 1870)."""
    required_score: float = 5.0
    """From which on a message is filed under Spam."""
    dmarc_reject: DmarcReject = DmarcReject.REJECT
    messages_per_hour: int = 2_000
    """That a mailbox may submit; 0: no limit."""
    recipients_per_day: int = 10_000
    """That a mailbox may submit to; 0: no limit."""
    blocked_senders: tuple[str, ...] = ()
    """Patterns of addresses or domains with `*` and `?`: such mail is filed under Spam."""
    welcome_senders: tuple[str, ...] = ()
    """The same: such mail is not."""
    blocked_networks: tuple[str, ...] = ()
    """Whose mail is refused at connect, as 192.0.2.0/24."""
    archive_days: int = 0
    """How long the mail of deleted mailboxes is kept; 0: until an administrator purges it."""
    events_for_domain_admins: bool = False
    """Whether domain admins read the event log, as far as it is of their domains."""
    events_for_users: bool = False
    """Whether users read the event log, as far as it is of the mailboxes that they open."""
    mail_host: str = ""
    """The mail server's location for domains that name none; empty: the installation's own name."""
    dnsbls: tuple[Dnsbl, ...] = DEFAULT_DNSBLS
    """By zone. Never asked about private addresses and hosts that are an `alternate_mx`."""
    spam_rules: str = ""
    """Rules of the administrator, in SpamAssassin's language (docs/spam-rules.md)."""


class PolicyReply(msgspec.Struct, frozen=True, kw_only=True):
    """The policy as it is now."""

    policy: Policy
    revision: int
    """The directory's."""
    mail_hosts: tuple[str, ...] = ()
    """All locations that the policy and domains name."""
    alternate_mx: tuple[str, ...] = ()
    """Of all domains."""


class GetPolicyRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Of an administrator."""

    actor: str


class PutPolicyRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Replaces it."""

    policy: Policy
    actor: str
    condition: Condition = Condition()


class PolicyFinder(Protocol):
    """The port of smtp-edge and filter."""

    async def find_policy(self, request: Empty) -> PolicyReply:
        """What holds now. Raises MailError: UNAVAILABLE."""
        ...


class PolicyAdmin(Protocol):
    """The administrator's side."""

    async def get_policy(self, request: GetPolicyRequest) -> PolicyReply:
        """What holds now."""
        ...

    async def put_policy(self, request: PutPolicyRequest) -> PolicyReply:
        """Replaces it; idempotent. Raises MailError: INVALID, FORBIDDEN, UNAVAILABLE."""
        ...
