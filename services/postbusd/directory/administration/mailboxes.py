"""Mailboxes: who owns them, what they may hold.

A new mailbox is made in the mail store first and entered into the directory after that. A crash between the two leaves
an empty mailbox in the store that no address leads to; the same request, repeated, then makes it whole. An entry in
the directory always has its mailbox.
"""

from collections.abc import Sequence

import msgspec

from postbus.contracts.condition import Condition
from postbus.contracts.directory import (
    DOMAINS_QUOTA,
    Addresses,
    ListMailboxesReply,
    ListMailboxesRequest,
    PutMailboxReply,
    PutMailboxRequest,
)
from postbus.contracts.mailboxes import Mailbox
from postbus.contracts.objects import DeleteReply, DeleteRequest, ObjectRequest
from postbus.contracts.owners import Owner, OwnerKind
from postbus.contracts.standing import Standing
from postbus.core.address import Address
from postbus.core.ids import new_mailbox_id
from postbus.mailstore.values import Totals
from postbusd.directory.administration.desk import Desk, check_list, word
from postbusd.directory.administration.refusals import invalid
from postbusd.directory.administration.rules import MAX_QUOTA_OCTETS, decide_mailbox
from postbusd.directory.administration.scope import require_domain, seen_domains
from postbusd.directory.administration.values import Act, MailboxChange
from postbusd.directory.names import (
    check_app_name,
    check_group_name,
    check_mailbox_address,
    check_username,
    read_address,
)

MAX_SEND_AS = 100


class Mailboxes(Desk):
    """The MailboxAdmin."""

    async def put_mailbox(self, request: PutMailboxRequest) -> PutMailboxReply:
        """Creates or changes a mailbox."""
        standing = await self._standing(request.actor)
        address = check_mailbox_address(request.address, of_app=True)
        require_domain(standing, "address", address.domain)
        _check_quota(request.quota_octets)
        password, told = await self._hash_if_new(str(address), request.password, request.password_hash)
        change = MailboxChange(
            address=address,
            new_id=None,
            password=password,
            active=request.active,
            quota_octets=request.quota_octets,
            owner=check_owner_name(request.owner) if request.owner is not None else None,
            create_only=request.create_only,
            pop3=request.pop3,
            send_as=_check_send_as(standing, request.send_as),
        )
        place = await self._repository.find_place(address)
        decided = decide_mailbox(change, place)
        if place.mailbox is None:
            change = msgspec.structs.replace(change, new_id=new_mailbox_id(self._tools.clock.now_ms()))
        if not request.condition.plan:
            await self._tools.accounts.ensure_mailboxes([change.new_id or decided.mailbox_id])
        act = self._mailbox_act(change, standing, request.condition, told)
        written = await self._repository.put_mailbox(change, act)
        await self._announce(written, addresses=[str(address)])
        mailbox = (await self._with_usage([written.object]))[0]
        return PutMailboxReply(mailbox=mailbox, created=written.created)

    async def get_mailbox(self, request: ObjectRequest) -> Mailbox:
        """One mailbox."""
        standing = await self._standing(request.actor)
        address = read_address("name", request.name)
        require_domain(standing, "name", address.domain)
        mailbox = await self._repository.get_mailbox(address)
        return (await self._with_usage([mailbox]))[0]

    async def list_mailboxes(self, request: ListMailboxesRequest) -> ListMailboxesReply:
        """One page of mailboxes."""
        standing = await self._standing(request.actor)
        wanted = check_list(request, request.domain)
        domains = seen_domains(standing, wanted.domain)
        page = await self._repository.list_mailboxes(domains, wanted)
        mailboxes = await self._with_usage(page.objects)
        return ListMailboxesReply(mailboxes=mailboxes, next_after=mailboxes[-1].address if page.more else "")

    async def delete_mailbox(self, request: DeleteRequest) -> DeleteReply:
        """Ends a mailbox and its aliases; its mail stays in the store."""
        standing = await self._standing(request.actor)
        address = read_address("name", request.name)
        require_domain(standing, "name", address.domain)
        act = self._act(
            standing, request.condition, f"mailbox {address} deleted", domain=address.domain, mailbox=str(address)
        )
        mail: tuple[str, ...] = ()
        if request.purge:
            mailbox_id = (await self._repository.get_mailbox(address)).mailbox_id
            mail = describe_mail((await self._tools.accounts.totals([mailbox_id])).get(mailbox_id))
        deleted = await self._repository.delete_mailbox(address, act, dry_run=request.dry_run, purge=request.purge)
        ended = await self._ended(request, deleted, addresses=[str(address)])
        if request.purge and not request.dry_run:
            self._tools.wake_purging()
        return DeleteReply(deleted=(*ended.deleted, *mail))

    async def _with_usage(self, mailboxes: Sequence[Mailbox]) -> tuple[Mailbox, ...]:
        if not mailboxes:
            return ()
        used = await self._tools.accounts.usage([each.mailbox_id for each in mailboxes])
        return tuple(msgspec.structs.replace(each, used_octets=used.get(each.mailbox_id, 0)) for each in mailboxes)

    def _mailbox_act(self, change: MailboxChange, standing: Standing, condition: Condition, told: Sequence[str]) -> Act:
        address = str(change.address)
        facts = [f"owner={change.owner.kind.value} {change.owner.name}"] if change.owner is not None else []
        facts += [f"active={word(change.active)}"] if change.active is not None else []
        facts += [f"pop3={word(change.pop3)}"] if change.pop3 is not None else []
        facts += [f"send_as={' '.join(map(str, change.send_as)) or 'none'}"] if change.send_as is not None else []
        facts += [f"quota_octets={_quota_word(change.quota_octets)}"] if change.quota_octets is not None else []
        return self._act(
            standing,
            condition,
            f"mailbox {address} set",
            [*facts, *told],
            domain=change.address.domain,
            mailbox=address,
        )


def describe_mail(totals: Totals | None) -> tuple[str, ...]:
    """What goes for good with a purge."""
    return (f"its mail: {totals.messages} messages of {totals.octets} octets",) if totals is not None else ()


def _check_quota(quota_octets: int | None) -> None:
    if quota_octets is not None and not DOMAINS_QUOTA <= quota_octets <= MAX_QUOTA_OCTETS:
        raise invalid("quota_octets", f"0 (unlimited) to {MAX_QUOTA_OCTETS}, or {DOMAINS_QUOTA}: the domain's default")


def _quota_word(quota_octets: int) -> str:
    return {0: "unlimited", DOMAINS_QUOTA: "of the domain"}.get(quota_octets, str(quota_octets))


def _check_send_as(standing: Standing, wanted: Addresses | None) -> tuple[Address, ...] | None:
    if wanted is None:
        return None
    if len(wanted.addresses) > MAX_SEND_AS:
        raise invalid("send_as", f"at most {MAX_SEND_AS} addresses")
    found = {str(address): address for address in (read_address("send_as", each) for each in wanted.addresses)}
    for address in found.values():
        require_domain(standing, "send_as", address.domain)
    return tuple(found[name] for name in sorted(found))


def check_owner_name(owner: Owner) -> Owner:
    """Folded. Raises MailError: INVALID (owner)."""
    checks = {OwnerKind.USER: check_username, OwnerKind.GROUP: check_group_name, OwnerKind.APP: check_app_name}
    return Owner(kind=owner.kind, name=checks[owner.kind](owner.name, "owner"))
