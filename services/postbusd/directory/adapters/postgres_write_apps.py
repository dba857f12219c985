"""Apps in schema `directory`, as administrators see them."""

from typing import TYPE_CHECKING

import asyncpg

from postbus.contracts.directory import App
from postbus.contracts.mailboxes import Mailbox
from postbus.contracts.owners import Owner, OwnerKind
from postbus.core.address import Address
from postbusd.directory.adapters.postgres_write_base import PostgresWrites, list_query, page_of
from postbusd.directory.adapters.postgres_write_mailboxes import write_mailbox
from postbusd.directory.adapters.postgres_write_passwords import put_generated
from postbusd.directory.administration.ports import Domains
from postbusd.directory.administration.refusals import ended, no_such
from postbusd.directory.administration.rules import decide_app
from postbusd.directory.administration.values import Act, AppChange, Deleted, Page, PageWanted, Written

if TYPE_CHECKING:
    from postbus.runtime.database import Session

_APPS = """
SELECT a.name, a.active, m.local_part, m.domain
FROM directory.app a JOIN directory.mailbox m ON m.owner_app = a.app_id
"""
_PUT_APP = """
INSERT INTO directory.app (app_id, name, active) VALUES (gen_random_uuid(), $1, $2)
ON CONFLICT (name) DO UPDATE SET active = excluded.active
"""
_MOVE_MAILBOX = """
UPDATE directory.mailbox m SET local_part = $2, domain = $3
FROM directory.app a WHERE a.name = $1 AND m.owner_app = a.app_id
"""
_LIST_APPS = f"""{_APPS}
WHERE a.name COLLATE "C" > $1 AND ($2::text[] IS NULL OR m.domain = ANY($2))
    AND ($4::text = '' OR strpos(a.name, $4) > 0)
ORDER BY a.name COLLATE "C" LIMIT $3
"""


class PostgresApps(PostgresWrites):
    """The AppStore."""

    async def find_app(self, name: str) -> App | None:
        """None: there is none."""
        async with self._connection() as session:
            return await _load_app(session, name)

    async def put_app(self, change: AppChange, act: Act) -> Written[App]:
        """Creates or changes an app with its mailbox."""
        async with self._writing(act) as write:
            before = await _load_app(write.session, change.name)
            write.require_match(before)
            now, address = decide_app(change, before)
            if before is None and change.new_id is None:
                raise ended("name", "app")
            if before is None or before.address != now.address:
                await write.require_free(address)
            if before != now:
                await write.session.execute(_PUT_APP, now.name, now.active)
            if before is None and change.new_id is not None:
                owner = Owner(kind=OwnerKind.APP, name=now.name)
                await write_mailbox(write, Mailbox(mailbox_id=change.new_id, address=now.address, owner=owner), address)
                await write.require_quota(address.domain)
            elif before is not None and before.address != now.address:
                await write.session.execute(_MOVE_MAILBOX, now.name, address.local_part, address.domain)
                await write.require_quota(address.domain)
            if before is None or change.rotate:
                await put_generated(write.session, now.name, change.credential)
            return await write.close(now, changed=before != now or change.rotate, created=before is None)

    async def list_apps(self, domains: Domains, wanted: PageWanted) -> Page[App]:
        """Apps by name, as wanted, in octet order."""
        async with self._connection() as session:
            rows = await session.fetch(*list_query(_LIST_APPS, domains, wanted))
        return page_of([_app(row) for row in rows], wanted.limit)

    async def delete_app(self, name: str, act: Act, *, dry_run: bool) -> Deleted:
        """Deletes an app and ends its mailbox."""
        async with self._writing(act) as write:
            app = await _load_app(write.session, name)
            if app is None:
                raise no_such("name", "app", name)
            write.require_match(app)
            local_part, _, domain = app.address.rpartition("@")
            mailbox = await write.load_mailbox(Address(local_part=local_part, domain=domain))
            lines = [f"app {name}", f"mailbox {app.address}"]
            if mailbox is not None:
                lines += await write.ties_of(mailbox)
                if not dry_run:
                    await write.end_mailbox(mailbox)
            if not dry_run:
                await write.session.execute("DELETE FROM directory.app WHERE name = $1", name)
            return await write.close_deletion(lines, dry_run=dry_run)


async def _load_app(session: "Session", name: str) -> App | None:
    row = await session.fetchrow(f"{_APPS} WHERE a.name = $1", name)
    return _app(row) if row is not None else None


def _app(row: asyncpg.Record) -> App:
    return App(name=row["name"], address=f"{row['local_part']}@{row['domain']}", active=row["active"])
