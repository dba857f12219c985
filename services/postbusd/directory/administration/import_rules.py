"""What becomes of the rows of an import, decided over what is there: a pure function, the same for every store.

The rows are gone through in order, each on the ground that the ones before it left.
"""

from collections.abc import Mapping, Sequence

import msgspec

from postbus.contracts.bulk import MailboxRow, RowAction, RowResult
from postbus.contracts.mailboxes import Mailbox
from postbus.contracts.owners import Owner, OwnerKind
from postbus.contracts.standing import Standing
from postbus.core.address import Address
from postbus.core.errors import MailError
from postbus.core.ids import MailboxId
from postbusd.directory.administration.refusals import conflict, ended, invalid, no_such, of_alias_domain, taken
from postbusd.directory.administration.rules import MAX_ALIASES, check_granted, decide_mailbox, own_user
from postbusd.directory.administration.scope import check_owner, domain_of, require_domain
from postbusd.directory.administration.values import MailboxChange, Place
from postbusd.directory.names import (
    check_alias_address,
    check_app_name,
    check_group_name,
    check_mailbox_address,
    check_username,
)

_CHECKS = {OwnerKind.USER: check_username, OwnerKind.GROUP: check_group_name, OwnerKind.APP: check_app_name}


class RowChange(msgspec.Struct, frozen=True, kw_only=True):
    """A row, its names checked and folded."""

    address: Address
    owner: Owner
    aliases: tuple[Address, ...]
    """Each once."""
    active: bool
    new_id: MailboxId
    """For a new mailbox."""


class ImportDomain(msgspec.Struct, frozen=True, kw_only=True):
    """A domain of ours."""

    alias_of: str = ""
    default_quota_octets: int | None = None
    quota_octets: int | None = None
    granted: int = 0
    """To its mailboxes together, of a domain with a quota."""
    unlimited: int = 0
    """Its mailboxes without a quota, of a domain with one."""


class Ground(msgspec.Struct, kw_only=True):
    """What is there, as far as the rows of an import name it; deciding changes it."""

    domains: dict[str, ImportDomain]
    claims: dict[str, str]
    """What has an address: mailbox, alias, group or list."""
    mailboxes: dict[str, Mailbox]
    """By address."""
    aliases: dict[str, str]
    """Alias to its mailbox: all aliases of these mailboxes, and those that the rows name."""
    owners: Mapping[Owner, frozenset[str]]
    """Those of the rows that are there, with the domains of the mailboxes that they own themselves (of a group: of its
    address), by which who is no superadmin may give them a mailbox."""


class Decided(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be written."""

    results: tuple[RowResult, ...]
    """In the order of the rows."""
    mailboxes: tuple[Mailbox, ...]
    """New and changed ones, each as it shall be."""
    created: tuple[MailboxId, ...]
    """Of the new ones."""
    aliases: Mapping[str, str]
    """To be made or moved: alias to its mailbox."""
    ended_aliases: tuple[str, ...]

    @property
    def refused(self) -> bool:
        """Whether any row was."""
        return any(each.action is RowAction.REFUSED for each in self.results)

    @property
    def changes(self) -> bool:
        """Whether there is anything to write."""
        return bool(self.mailboxes or self.aliases or self.ended_aliases)

    def describe(self) -> str:
        """For the event."""
        counts = {action: sum(each.action is action for each in self.results) for action in RowAction}
        return ", ".join(f"{action.value}={number}" for action, number in counts.items() if number)


def refuse(error: MailError) -> RowResult:
    """The result of a row that can't be written."""
    return RowResult(action=RowAction.REFUSED, kind=error.kind, detail=error.detail)


def read_row(row: MailboxRow, new_id: MailboxId) -> RowChange:
    """Raises MailError: INVALID (address, owner, aliases)."""
    address = check_mailbox_address(row.address, of_app=True)
    owner = Owner(kind=row.owner.kind, name=_CHECKS[row.owner.kind](row.owner.name, "owner"))
    aliases = {str(alias): alias for alias in (_read_alias(each) for each in row.aliases)}
    if len(aliases) > MAX_ALIASES:
        raise invalid("aliases", f"at most {MAX_ALIASES} of one mailbox")
    return RowChange(address=address, owner=owner, aliases=tuple(aliases.values()), active=row.active, new_id=new_id)


def decide_import(
    rows: Sequence[RowChange | RowResult], ground: Ground, standing: Standing, made: frozenset[MailboxId] | None
) -> Decided:
    """`rows` that are results are refused already. `made`: ids whose mailboxes the mail store has; None: a plan."""
    before = Ground(
        domains=ground.domains,
        claims=ground.claims,
        mailboxes=dict(ground.mailboxes),
        aliases=dict(ground.aliases),
        owners=ground.owners,
    )
    held: dict[str, set[str]] = {}
    for alias, target in ground.aliases.items():
        held.setdefault(target, set()).add(alias)
    results = []
    for row in rows:
        try:
            if isinstance(row, RowResult):
                results.append(row)
            else:
                results.append(_decide_row(row, ground, held, standing, made))
        except MailError as error:
            results.append(refuse(error))
    known = {mailbox.mailbox_id for mailbox in before.mailboxes.values()}
    written = [mailbox for address, mailbox in ground.mailboxes.items() if before.mailboxes.get(address) != mailbox]
    return Decided(
        results=tuple(results),
        mailboxes=tuple(written),
        created=tuple(mailbox.mailbox_id for mailbox in written if mailbox.mailbox_id not in known),
        aliases={alias: target for alias, target in ground.aliases.items() if before.aliases.get(alias) != target},
        ended_aliases=tuple(alias for alias in before.aliases if alias not in ground.aliases),
    )


def _decide_row(
    row: RowChange,
    ground: Ground,
    held: dict[str, set[str]],
    standing: Standing,
    made: frozenset[MailboxId] | None,
) -> RowResult:
    """Changes the ground and `held`, the aliases by mailbox, or nothing. Raises MailError."""
    address = str(row.address)
    require_domain(standing, "address", row.address.domain)
    before = ground.mailboxes.get(address)
    stays = before is not None and before.owner == row.owner
    if row.owner not in ground.owners:
        raise no_such("owner", row.owner.kind.value, row.owner.name)
    now = decide_mailbox(
        MailboxChange(address=row.address, new_id=row.new_id, owner=row.owner, active=row.active), _place(row, ground)
    )
    if not stays and row.owner != own_user(row.address):
        check_owner(standing, row.owner, ground.owners[row.owner] | {domain_of(row.owner.name)})
    domain = _with_mailbox(row.address.domain, now, ground) if before is None else None
    _check_aliases(row, ground, standing)
    if before is None and made is not None and row.new_id not in made:
        raise ended("address", "mailbox")

    wanted = {str(alias) for alias in row.aliases}
    had = held.get(address, set())
    held[address] = wanted
    ground.mailboxes[address] = now
    ground.claims[address] = "mailbox"
    if domain is not None:
        ground.domains[row.address.domain] = domain
    for alias in had - wanted:
        del ground.aliases[alias], ground.claims[alias]
    for alias in wanted - had:
        ground.aliases[alias], ground.claims[alias] = address, "alias"
    if before is None:
        return RowResult(action=RowAction.CREATED)
    return RowResult(action=RowAction.UNCHANGED if now == before and wanted == had else RowAction.CHANGED)


def _place(row: RowChange, ground: Ground) -> Place:
    domain = ground.domains.get(row.address.domain)
    return Place(
        ours=domain is not None,
        kind=ground.claims.get(str(row.address), ""),
        mailbox=ground.mailboxes.get(str(row.address)),
        has_user=own_user(row.address) in ground.owners,
        alias_of=domain.alias_of if domain is not None else "",
        default_quota_octets=domain.default_quota_octets if domain is not None else None,
    )


def _with_mailbox(name: str, mailbox: Mailbox, ground: Ground) -> ImportDomain:
    """The domain with one more mailbox. Raises MailError: CONFLICT (its quota)."""
    domain = ground.domains[name]
    if domain.quota_octets is None:
        return domain
    quota = mailbox.effective_quota_octets
    domain = msgspec.structs.replace(
        domain, granted=domain.granted + (quota or 0), unlimited=domain.unlimited + (quota is None)
    )
    check_granted(name, domain.quota_octets, domain.granted, domain.unlimited)
    return domain


def _check_aliases(row: RowChange, ground: Ground, standing: Standing) -> None:
    """Raises MailError: FORBIDDEN, NOT_FOUND (no such domain), CONFLICT (an alias domain's, another object's)."""
    for alias in row.aliases:
        require_domain(standing, "aliases", alias.domain)
        domain = ground.domains.get(alias.domain)
        if domain is None:
            raise no_such("aliases", "domain", alias.domain)
        if domain.alias_of:
            raise of_alias_domain("aliases", alias.domain, domain.alias_of)
        name = str(alias)
        owner = ground.aliases.get(name)
        if owner is not None and owner != str(row.address):
            raise conflict("aliases", f"{name} is an alias of {owner}")
        kind = "mailbox" if alias == row.address else ground.claims.get(name, "")
        if kind and owner is None:
            raise conflict("aliases", f"{name}: {taken(alias, alias, kind).detail.partition(': ')[2]}")


def _read_alias(text: str) -> Address:
    try:
        return check_alias_address(text)
    except MailError as error:
        raise invalid("aliases", f"{text}: {error.detail.partition(': ')[2]}") from error


def addresses_of(rows: Sequence[RowChange | RowResult]) -> tuple[Address, ...]:
    """Each address that the rows name, mailboxes and aliases, once."""
    changes = [row for row in rows if isinstance(row, RowChange)]
    return tuple({address: None for row in changes for address in (row.address, *row.aliases)})


def owners_of(rows: Sequence[RowChange | RowResult]) -> tuple[Owner, ...]:
    """Each owner that the rows name, and the users who are called like their mailboxes, once."""
    changes = [row for row in rows if isinstance(row, RowChange)]
    return tuple({owner: None for row in changes for owner in (row.owner, own_user(row.address))})
