"""Mailboxes under another address, what they hold, and the archive: deleted mailboxes whose mail is still there."""

import uuid
from collections.abc import Sequence

import msgspec

from postbus.contracts.condition import Condition
from postbus.contracts.mailbox_life import (
    ArchivedMailbox,
    ArchivedPage,
    FolderUsage,
    ListArchivedRequest,
    MailboxUsage,
    PurgeMailboxReply,
    PurgeMailboxRequest,
    RenameMailboxReply,
    RenameMailboxRequest,
    RestoreMailboxReply,
    RestoreMailboxRequest,
    UsageRequest,
)
from postbus.contracts.standing import Standing
from postbus.core.errors import ErrorKind, MailError
from postbus.core.ids import MailboxId
from postbusd.directory.administration.desk import Desk, check_page
from postbusd.directory.administration.mailboxes import check_owner_name
from postbusd.directory.administration.refusals import invalid
from postbusd.directory.administration.scope import domain_of, forbidden, require_domain, seen_domains
from postbusd.directory.names import check_mailbox_address, read_address

DAY_MS = 86_400_000


class Archive(Desk):
    """The MailboxLife."""

    async def rename_mailbox(self, request: RenameMailboxRequest) -> RenameMailboxReply:
        """Gives a mailbox another address."""
        standing = await self._standing(request.actor)
        address = read_address("address", request.address)
        new = check_mailbox_address(request.new_address)
        require_domain(standing, "address", address.domain)
        require_domain(standing, "new_address", new.domain)
        act = self._act(
            standing,
            request.condition,
            f"mailbox {address} renamed to {new}",
            [f"old address={'alias' if request.keep_alias else 'free'}"],
            domain=new.domain,
            mailbox=str(new),
        )
        written = await self._repository.rename_mailbox(address, new, act, keep_alias=request.keep_alias)
        await self._announce(written, addresses=[str(address), str(new)])
        used = await self._tools.accounts.usage([written.object.mailbox_id])
        mailbox = msgspec.structs.replace(written.object, used_octets=used.get(written.object.mailbox_id, 0))
        return RenameMailboxReply(mailbox=mailbox)

    async def get_usage(self, request: UsageRequest) -> MailboxUsage:
        """What a mailbox holds, by folder."""
        standing = await self._standing(request.actor)
        address = read_address("address", request.address)
        require_domain(standing, "address", address.domain)
        mailbox = await self._repository.get_mailbox(address)
        totals = await self._tools.accounts.totals([mailbox.mailbox_id])
        found = totals.get(mailbox.mailbox_id)
        folders = await self._tools.accounts.list_folders(mailbox.mailbox_id) if found is not None else []
        return MailboxUsage(
            address=mailbox.address,
            messages=found.messages if found is not None else 0,
            octets=found.octets if found is not None else 0,
            folders=tuple(
                FolderUsage(name=each.name, messages=each.messages, unseen=each.unseen, octets=each.octets)
                for each in folders
            ),
            quota_octets=mailbox.effective_quota_octets,
        )

    async def list_archived(self, request: ListArchivedRequest) -> ArchivedPage:
        """Deleted mailboxes whose mail is still there."""
        standing = await self._standing(request.actor)
        wanted = check_page(request.after, request.limit, request.domain)
        address = str(read_address("address", request.address)) if request.address else ""
        after = _read_id("after", wanted.after) if wanted.after else ""
        page = await self._repository.list_archived(seen_domains(standing, wanted.domain), address, after, wanted.limit)
        mailboxes = await self._with_totals(page.objects)
        return ArchivedPage(mailboxes=mailboxes, next_after=mailboxes[-1].mailbox_id if page.more else "")

    async def restore_mailbox(self, request: RestoreMailboxRequest) -> RestoreMailboxReply:
        """Brings a deleted mailbox back with its mail."""
        standing = await self._standing(request.actor)
        mailbox_id = _read_id("mailbox_id", request.mailbox_id)
        archived = await self._get_archived(standing, mailbox_id)
        address = check_mailbox_address(request.address or archived.address)
        require_domain(standing, "address", address.domain)
        owner = check_owner_name(request.owner) if request.owner is not None else None
        act = self._act(
            standing,
            request.condition,
            f"mailbox {address} restored",
            [f"deleted as {archived.address}"] if str(address) != archived.address else [],
            domain=address.domain,
            mailbox=str(address),
        )
        written = await self._repository.restore_mailbox(mailbox_id, address, owner, act)
        await self._announce(written, addresses=[str(address)])
        used = await self._tools.accounts.usage([mailbox_id])
        return RestoreMailboxReply(mailbox=msgspec.structs.replace(written.object, used_octets=used.get(mailbox_id, 0)))

    async def purge_mailbox(self, request: PurgeMailboxRequest) -> PurgeMailboxReply:
        """Begins the end of an archived mailbox's mail."""
        standing = await self._standing(request.actor)
        mailbox_id = _read_id("mailbox_id", request.mailbox_id)
        archived = await self._get_archived(standing, mailbox_id)
        act = self._act(
            standing,
            Condition(plan=request.dry_run),
            f"mail of deleted mailbox {archived.address} given up",
            domain=domain_of(archived.address),
        )
        written = await self._repository.mark_purge(mailbox_id, act)
        await self._announce(written)
        if not request.dry_run:
            self._tools.wake_purging()
        return PurgeMailboxReply(mailbox=(await self._with_totals([written.object]))[0])

    async def _get_archived(self, standing: Standing, mailbox_id: MailboxId) -> ArchivedMailbox:
        """Raises MailError: NOT_FOUND, FORBIDDEN: to who is no superadmin also where there is none."""
        seen_domains(standing)
        try:
            archived = await self._repository.get_archived(mailbox_id)
        except MailError as error:
            if error.kind is ErrorKind.NOT_FOUND and not standing.superadmin:
                raise forbidden(f"mailbox_id: {standing.actor} does not administer it") from error
            raise
        if not standing.superadmin and domain_of(archived.address) not in standing.domains:
            raise forbidden(f"mailbox_id: {standing.actor} does not administer it")
        return archived

    async def _with_totals(self, archived: Sequence[ArchivedMailbox]) -> tuple[ArchivedMailbox, ...]:
        if not archived:
            return ()
        policy = (await self._repository.load_policy()).policy
        kept_ms = policy.archive_days * DAY_MS
        totals = await self._tools.accounts.totals([each.mailbox_id for each in archived])
        return tuple(
            msgspec.structs.replace(
                each,
                purge_ms=each.deleted_ms + kept_ms if kept_ms else None,
                messages=totals[each.mailbox_id].messages if each.mailbox_id in totals else 0,
                octets=totals[each.mailbox_id].octets if each.mailbox_id in totals else 0,
            )
            for each in archived
        )


def _read_id(field: str, text: str) -> MailboxId:
    """Raises MailError: INVALID."""
    try:
        return MailboxId(str(uuid.UUID(text)))
    except ValueError:
        raise invalid(field, "no id of a mailbox") from None
