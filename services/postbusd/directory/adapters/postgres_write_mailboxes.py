"""Mailboxes in schema `directory`, as administrators see them."""

import uuid
from collections.abc import Sequence
from typing import TYPE_CHECKING

from postbus.contracts.directory import User
from postbus.contracts.mailboxes import Mailbox
from postbus.contracts.owners import Owner, OwnerKind
from postbus.core.address import Address
from postbus.core.ids import MailboxId
from postbusd.directory.adapters.postgres_standing import find_user, opened_domains
from postbusd.directory.adapters.postgres_write_base import (
    MAILBOXES,
    PostgresWrites,
    WriteSession,
    list_query,
    load_mailbox,
    page_of,
    read_mailbox,
)
from postbusd.directory.adapters.postgres_write_passwords import put_password
from postbusd.directory.administration.ports import Domains
from postbusd.directory.administration.refusals import conflict, ended, no_such
from postbusd.directory.administration.rules import decide_mailbox, own_user
from postbusd.directory.administration.scope import check_owner, check_user_change, domain_of
from postbusd.directory.administration.values import Act, Deleted, MailboxChange, Page, PageWanted, Place, Written

if TYPE_CHECKING:
    from postbus.runtime.database import Session

_PLACE = """
SELECT EXISTS (SELECT FROM directory.domain WHERE name = $1) AS ours,
    (SELECT alias_of FROM directory.domain WHERE name = $1) AS alias_of,
    (SELECT default_quota_octets FROM directory.domain WHERE name = $1) AS default_quota_octets,
    (SELECT kind FROM directory.address_claim WHERE domain = $1 AND local_part = $2) AS kind,
    EXISTS (SELECT FROM directory.user_account WHERE username = $3) AS has_user
"""
_INSERT_USER = """
INSERT INTO directory.user_account (user_id, username) VALUES (gen_random_uuid(), $1)
ON CONFLICT (username) DO NOTHING
"""
_OWNER_ID = {
    OwnerKind.USER: "SELECT user_id FROM directory.user_account WHERE username = $1",
    OwnerKind.GROUP: "SELECT group_id FROM directory.user_group WHERE name = $1",
    OwnerKind.APP: "SELECT app_id FROM directory.app WHERE name = $1",
}
_PUT_MAILBOX = """
INSERT INTO directory.mailbox
    (mailbox_id, local_part, domain, active, quota_octets, owner_user, owner_group, owner_app, pop3)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
ON CONFLICT (mailbox_id) DO UPDATE SET active = excluded.active, quota_octets = excluded.quota_octets,
    owner_user = excluded.owner_user, owner_group = excluded.owner_group, owner_app = excluded.owner_app,
    pop3 = excluded.pop3
"""
_IS_CLAIMED = "SELECT 1 FROM directory.address_claim WHERE domain = $1 AND local_part = $2"
_PUT_SEND_AS = "INSERT INTO directory.send_as (mailbox_id, domain, local_part) VALUES ($1, $2, $3)"
_LIST_MAILBOXES = f"""{MAILBOXES}
WHERE (m.local_part || '@' || m.domain) COLLATE "C" > $1 AND ($2::text[] IS NULL OR m.domain = ANY($2))
    AND ($4::text = '' OR strpos(m.local_part || '@' || m.domain, $4) > 0)
ORDER BY (m.local_part || '@' || m.domain) COLLATE "C" LIMIT $3
"""
_FIND_IDLE_OWNER = """
SELECT u.user_id FROM directory.user_account u
WHERE u.username = $1
    AND NOT EXISTS (SELECT FROM directory.mailbox m WHERE m.owner_user = u.user_id AND m.mailbox_id <> $2)
    AND NOT EXISTS (SELECT FROM directory.group_member g WHERE g.user_id = u.user_id)
    AND NOT u.superadmin AND NOT EXISTS (SELECT FROM directory.domain_admin a WHERE a.user_id = u.user_id)
"""
"""The user of a mailbox's own name, who has nothing else and no role."""


class PostgresMailboxes(PostgresWrites):
    """The MailboxStore."""

    async def find_place(self, address: Address) -> Place:
        """What stands at an address."""
        async with self._connection() as session:
            return await _find_place(session, address)

    async def put_mailbox(self, change: MailboxChange, act: Act) -> Written[Mailbox]:
        """Creates or changes a mailbox."""
        async with self._writing(act) as write:
            place = await _find_place(write.session, change.address)
            write.require_match(place.mailbox)
            now = decide_mailbox(change, place)
            await _check_scope(write, change, place, now)
            created = place.mailbox is None
            if created and change.new_id is None:
                raise ended("address", "mailbox")
            changed = now != place.mailbox
            if now.owner == own_user(change.address) and not place.has_user:
                await write.session.execute(_INSERT_USER, str(change.address))
            if changed:
                await write_mailbox(write, now, change.address)
            if change.send_as is not None and (place.mailbox is None or now.send_as != place.mailbox.send_as):
                await _write_send_as(write, now.mailbox_id, change.send_as)
            if place.mailbox is None or now.quota_octets != place.mailbox.quota_octets:
                await write.require_quota(change.address.domain)
            if change.password is not None:
                changed |= await put_password(write.session, str(change.address), change.password)
            return await write.close(now, changed=changed, created=created)

    async def get_mailbox(self, address: Address) -> Mailbox:
        """One mailbox."""
        async with self._connection() as session:
            return await _get_mailbox(session, address)

    async def list_mailboxes(self, domains: Domains, wanted: PageWanted) -> Page[Mailbox]:
        """Mailboxes by address, as wanted, in octet order."""
        async with self._connection() as session:
            rows = await session.fetch(*list_query(_LIST_MAILBOXES, domains, wanted))
        return page_of([read_mailbox(row) for row in rows], wanted.limit)

    async def delete_mailbox(self, address: Address, act: Act, *, dry_run: bool, purge: bool = False) -> Deleted:
        """Ends a mailbox, and its own user who has nothing else."""
        async with self._writing(act) as write:
            mailbox = await _get_mailbox(write.session, address)
            write.require_match(mailbox)
            if mailbox.owner is not None and mailbox.owner.kind is OwnerKind.APP:
                raise conflict("name", f"it is the mailbox of app {mailbox.owner.name} and goes with it")
            lines = [f"mailbox {address}", *await write.ties_of(mailbox)]
            user_id = None
            if mailbox.owner == own_user(address):
                user_id = await write.session.fetchval(_FIND_IDLE_OWNER, str(address), mailbox.mailbox_id)
            lines += [f"user {address}"] if user_id is not None else []
            if not dry_run:
                await write.end_mailbox(mailbox, purge=purge)
                await write.session.execute("DELETE FROM directory.user_account WHERE user_id = $1", user_id)
            return await write.close_deletion(lines, dry_run=dry_run)


async def check_new_owner(write: WriteSession, owner: Owner) -> None:
    """Whether the actor may give a mailbox to this owner. Raises MailError: FORBIDDEN."""
    if write.standing.superadmin:
        return
    if owner.kind is OwnerKind.GROUP:
        row = await write.session.fetchrow("SELECT domain FROM directory.user_group WHERE name = $1", owner.name)
        domains = frozenset([row["domain"] or ""]) if row is not None else frozenset()
    else:
        domains = await opened_domains(write.session, owner.name, by_groups=False)
    check_owner(write.standing, owner, domains | {domain_of(owner.name)})


async def _check_scope(write: WriteSession, change: MailboxChange, place: Place, now: Mailbox) -> None:
    """Whose password it sets, and whom it gives the mailbox to. Raises MailError: FORBIDDEN."""
    if write.standing.superadmin or now.owner is None:
        return
    if change.password is not None:
        user = await find_user(write.session, str(change.address))
        opened = await opened_domains(write.session, str(change.address))
        check_user_change(write.standing, user, user or User(username=str(change.address)), opened)
    if now.owner == own_user(change.address) or (place.mailbox is not None and now.owner == place.mailbox.owner):
        return
    await check_new_owner(write, now.owner)


async def write_mailbox(write: WriteSession, mailbox: Mailbox, address: Address) -> None:
    """Inserts or updates the row. Raises MailError: NOT_FOUND (no such owner)."""
    owner_ids: dict[OwnerKind, uuid.UUID | None] = dict.fromkeys(OwnerKind, None)
    if mailbox.owner is not None:
        owner_ids[mailbox.owner.kind] = await _owner_id(write, mailbox.owner)
    await write.session.execute(
        _PUT_MAILBOX,
        mailbox.mailbox_id,
        address.local_part,
        address.domain,
        mailbox.active,
        mailbox.quota_octets,
        owner_ids[OwnerKind.USER],
        owner_ids[OwnerKind.GROUP],
        owner_ids[OwnerKind.APP],
        mailbox.pop3,
    )


async def _write_send_as(write: WriteSession, mailbox_id: MailboxId, addresses: Sequence[Address]) -> None:
    """Raises MailError: NOT_FOUND."""
    await write.session.execute("DELETE FROM directory.send_as WHERE mailbox_id = $1", mailbox_id)
    for address in addresses:
        if await write.session.fetchval(_IS_CLAIMED, address.domain, address.local_part) is None:
            raise no_such("send_as", "address", address)
        await write.session.execute(_PUT_SEND_AS, mailbox_id, address.domain, address.local_part)


async def _owner_id(write: WriteSession, owner: Owner) -> uuid.UUID:
    found: uuid.UUID | None = await write.session.fetchval(_OWNER_ID[owner.kind], owner.name)
    if found is None:
        raise no_such("owner", owner.kind.value, owner.name)
    return found


async def _find_place(session: "Session", address: Address) -> Place:
    row = await session.fetchrow(_PLACE, address.domain, address.local_part, str(address))
    if row is None:
        return Place(ours=False)
    return Place(
        ours=row["ours"],
        kind=row["kind"] or "",
        mailbox=await load_mailbox(session, address),
        has_user=row["has_user"],
        alias_of=row["alias_of"] or "",
        default_quota_octets=row["default_quota_octets"],
    )


async def _get_mailbox(session: "Session", address: Address) -> Mailbox:
    mailbox = await load_mailbox(session, address)
    if mailbox is None:
        raise no_such("name", "mailbox", address)
    return mailbox
