"""directory's port for domains."""

from typing import Protocol

import msgspec

from postbus.contracts.condition import Condition
from postbus.contracts.objects import DeleteReply, DeleteRequest, ObjectRequest
from postbus.contracts.relays import Relay


class Signature(msgspec.Struct, frozen=True, kw_only=True):
    """What is put under every message that is submitted with an author of the domain."""

    text: str
    """Under plain text; lines end in LF."""
    html: str = ""
    """Under HTML, a fragment; empty: made of the text."""


class Domain(msgspec.Struct, frozen=True, kw_only=True):
    """A domain of ours."""

    name: str
    """Lower-case A-labels."""
    incoming: bool = False
    """Whether we receive mail for it (off at creation)."""
    catch_all: tuple[str, ...] = ()
    """Addresses of mailboxes of ours that get what nobody else takes; none: such mail is refused."""
    relay: Relay | None = None
    """The smart host of its outgoing mail; None: to the recipients' MX."""
    masquerading: bool = False
    """Whoever logs in with one of its mailboxes may send as any address of it."""
    alias_of: str = ""
    """Every address of it means the same local_part at that domain of ours; empty: it has addresses of its own."""
    suspended: bool = False
    """Mail for it is refused, nobody logs in to its mailboxes; nothing is deleted."""
    quota_octets: int | None = None
    """What its mailboxes may be granted together; None: unlimited."""
    default_quota_octets: int | None = None
    """Of its mailboxes that have no quota of their own; None: unlimited."""
    max_message_octets: int | None = None
    """The largest message that it takes, where the policy allows more; None: what the policy says."""
    mail_host: str = ""
    """The mail server's location: the name that its MX has and that its people connect to; empty: the policy's."""
    signature: Signature | None = None
    alternate_mx: tuple[str, ...] = ()
    """Others who take its mail and pass it on to us, a backup MX or a filtering service: names of hosts, and networks
    as 192.0.2.0/24."""
    all_mail: bool = False
    """Whether its mailboxes have a folder with all their messages (\\All, RFC 6154)."""
    sharing: bool = False
    """Whether its people may share folders (RFC 4314)."""
    search: bool = True
    """Whether the text of its mail is indexed."""


class PutDomainRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Creates or replaces a domain."""

    domain: Domain
    actor: str
    condition: Condition = Condition()


class ListDomainsRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Domains by name, after `after`, at most `limit`."""

    actor: str
    after: str = ""
    limit: int = 100
    text: str = ""
    """Only names with this in them, in either case; of users also display names."""
    descending: bool = False
    """From the last name to the first; `after` is the name that the page before ended with all the same."""


class ListDomainsReply(msgspec.Struct, frozen=True, kw_only=True):
    """One page; `next_after` empty: the last one."""

    domains: tuple[Domain, ...]
    next_after: str = ""


class FindSignatureRequest(msgspec.Struct, frozen=True, kw_only=True):
    """By the domain of a message's author."""

    domain: str


class SignatureReply(msgspec.Struct, frozen=True, kw_only=True):
    """What goes under the message; None: nothing."""

    signature: Signature | None = None
    revision: int = 0
    """The directory's."""


class SignatureFinder(Protocol):
    """The port of smtp-edge."""

    async def find_signature(self, request: FindSignatureRequest) -> SignatureReply:
        """The signature of a domain, ours or not. Raises MailError: UNAVAILABLE."""
        ...


class DomainAdmin(Protocol):
    """The administrator's domains. Every request names its actor; the owner's query checks the scope (architecture §6).

    In every admin port: writes are idempotent; errors are INVALID (naming the field), NOT_FOUND, ALREADY_EXISTS,
    CONFLICT, FORBIDDEN, UNAVAILABLE.
    """

    async def put_domain(self, request: PutDomainRequest) -> Domain:
        """Creates or replaces a domain; idempotent."""
        ...

    async def list_domains(self, request: ListDomainsRequest) -> ListDomainsReply:
        """One page of domains."""
        ...

    async def get_domain(self, request: ObjectRequest) -> Domain:
        """One domain."""
        ...

    async def delete_domain(self, request: DeleteRequest) -> DeleteReply:
        """Deletes a domain that nothing lives in."""
        ...
