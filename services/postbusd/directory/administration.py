"""The administrator's commands: names and limits are checked here, scope by the actor (architecture §6).

A new mailbox is made in the mail store first and entered into the directory after that. A crash between the two leaves
an empty mailbox in the store that no address leads to; the same request, repeated, then makes it whole. An entry in
the directory always has its mailbox.
"""

from postbus.contracts.directory import (
    Domain,
    ListDomainsReply,
    ListDomainsRequest,
    ListMailboxesReply,
    ListMailboxesRequest,
    OwnerKind,
    PutDomainRequest,
    PutMailboxRequest,
)
from postbus.contracts.events import Event, EventType
from postbus.core.address import Address, parse_domain
from postbus.core.clock import Clock
from postbus.core.errors import ErrorKind, MailError
from postbus.core.ids import MailboxId, new_mailbox_id, new_uuid7
from postbus.core.trace import current_trace
from postbus.mailstore.ports import Accounts
from postbusd.directory.administration_ports import DirectoryRepository
from postbusd.directory.administration_values import DomainWritten, MailboxChange, MailboxWritten
from postbusd.directory.names import check_domain_name, check_mailbox_address
from postbusd.directory.passwords import check_new_password
from postbusd.directory.ports import PasswordHasher
from postbusd.directory.values import Key

SUPERADMIN = "admin"
MAX_PAGE = 1000
MAX_QUOTA_OCTETS = 1 << 50


class Administration:
    """The DirectoryAdmin of directory; the writes also tell what they did."""

    def __init__(
        self, repository: DirectoryRepository, accounts: Accounts, hasher: PasswordHasher, clock: Clock
    ) -> None:
        self._repository = repository
        self._accounts = accounts
        self._hasher = hasher
        self._clock = clock

    async def put_domain(self, request: PutDomainRequest) -> DomainWritten:
        """Creates or replaces a domain."""
        _require_superadmin(request.actor)
        domain = Domain(name=check_domain_name(request.domain.name), incoming=request.domain.incoming)
        event = self._event(
            f"domain {domain.name} set by {request.actor}",
            detail=f"incoming={_word(domain.incoming)}",
            domain=domain.name,
        )
        return await self._repository.put_domain(domain, event)

    async def list_domains(self, request: ListDomainsRequest) -> ListDomainsReply:
        """One page of domains."""
        _require_superadmin(request.actor)
        page = await self._repository.list_domains(request.after, _page_size(request.limit))
        return ListDomainsReply(domains=page.domains, next_after=page.domains[-1].name if page.more else "")

    async def put_mailbox(self, request: PutMailboxRequest) -> MailboxWritten:
        """Creates or changes a mailbox."""
        _require_superadmin(request.actor)
        address = check_mailbox_address(request.address)
        _check_quota(request.quota_octets)
        password = check_new_password(request.password) if request.password is not None else None
        existing = await self._find(address)
        if existing is None and password is None:
            raise MailError(ErrorKind.INVALID, "password: a new mailbox needs one")
        if existing is not None and request.create_only:
            raise MailError(ErrorKind.ALREADY_EXISTS, "address: there is a mailbox of this name")
        password_hash = await self._hash_if_new(address, password)
        mailbox_id = existing or new_mailbox_id(self._clock.now_ms())
        await self._accounts.ensure_mailbox(mailbox_id)
        change = MailboxChange(
            mailbox_id=mailbox_id,
            local_part=address.local_part,
            domain=address.domain,
            actor=request.actor,
            password_hash=password_hash,
            active=request.active,
            quota_octets=request.quota_octets,
            create_only=request.create_only,
        )
        return await self._repository.put_mailbox(change, self._mailbox_event(change))

    async def list_mailboxes(self, request: ListMailboxesRequest) -> ListMailboxesReply:
        """One page of mailboxes."""
        _require_superadmin(request.actor)
        domain = _domain_filter(request.domain)
        page = await self._repository.list_mailboxes(domain, request.after, _page_size(request.limit))
        return ListMailboxesReply(mailboxes=page.mailboxes, next_after=page.mailboxes[-1].address if page.more else "")

    async def _find(self, address: Address) -> MailboxId | None:
        key = Key(local_part=address.local_part, domain=address.domain)
        found = (await self._repository.find([key]))[1][key]
        if found.domain is None:
            raise MailError(ErrorKind.NOT_FOUND, f"address: there is no domain {address.domain} here")
        return found.mailbox.mailbox_id if found.mailbox is not None else None

    async def _hash_if_new(self, address: Address, password: str | None) -> str | None:
        """A hash to store; None when the mailbox has this password already, so that a repeated PUT changes nothing."""
        if password is None:
            return None
        login = await self._repository.load_login(address.local_part, address.domain, tag=0)
        for credential in login.credentials if login is not None and login.owner_kind is OwnerKind.USER else ():
            if await self._hasher.verify(credential.secret_hash, password):
                return None
        return await self._hasher.hash(password)

    def _mailbox_event(self, change: MailboxChange) -> Event:
        address = f"{change.local_part}@{change.domain}"
        facts = [f"active={_word(change.active)}"] if change.active is not None else []
        facts += [f"quota_octets={change.quota_octets or 'unlimited'}"] if change.quota_octets is not None else []
        facts += ["new password"] if change.password_hash is not None else []
        return self._event(
            f"mailbox {address} set by {change.actor}", detail=", ".join(facts), domain=change.domain, mailbox=address
        )

    def _event(self, summary: str, *, detail: str, domain: str, mailbox: str = "") -> Event:
        trace = current_trace()
        now_ms = self._clock.now_ms()
        return Event(
            event_id=new_uuid7(now_ms),
            type=EventType.CONFIGURATION,
            at_ms=now_ms,
            service="directory",
            summary=summary,
            detail=detail,
            domain=domain,
            mailbox=mailbox,
            traceparent=trace.format() if trace is not None else "",
        )


def _require_superadmin(actor: str) -> None:
    """Until users with roles exist, the administrator's token is the only actor."""
    if actor != SUPERADMIN:
        raise MailError(ErrorKind.FORBIDDEN, "only a superadmin may do this")


def _domain_filter(text: str) -> str:
    try:
        return parse_domain(text) if text else ""
    except MailError as error:
        raise MailError(ErrorKind.INVALID, f"domain: {error.detail}") from error


def _page_size(limit: int) -> int:
    if not 1 <= limit <= MAX_PAGE:
        raise MailError(ErrorKind.INVALID, f"limit: 1 to {MAX_PAGE}")
    return limit


def _check_quota(quota_octets: int | None) -> None:
    if quota_octets is not None and not 0 <= quota_octets <= MAX_QUOTA_OCTETS:
        raise MailError(ErrorKind.INVALID, f"quota_octets: 0 (unlimited) to {MAX_QUOTA_OCTETS}")


def _word(value: bool | None) -> str:
    return "on" if value else "off"
