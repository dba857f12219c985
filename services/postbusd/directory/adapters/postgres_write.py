"""Writes to schema `directory`: the administrator's commands, the outbox, one class a noun in postgres_write_*.py."""

from postbus.mailstore.outbox import publish_rows
from postbus.mailstore.ports import Publish
from postbusd.directory.adapters.postgres_standing import PostgresStandings
from postbusd.directory.adapters.postgres_write_access import (
    PostgresIdentityProvider,
    PostgresResets,
    PostgresSecondFactors,
    PostgresSignIns,
)
from postbusd.directory.adapters.postgres_write_addresses import PostgresAliases, PostgresLists
from postbusd.directory.adapters.postgres_write_app_passwords import PostgresAppPasswords
from postbusd.directory.adapters.postgres_write_apps import PostgresApps
from postbusd.directory.adapters.postgres_write_archive import PostgresArchive
from postbusd.directory.adapters.postgres_write_domains import PostgresDomains
from postbusd.directory.adapters.postgres_write_imports import PostgresImports
from postbusd.directory.adapters.postgres_write_mailboxes import PostgresMailboxes
from postbusd.directory.adapters.postgres_write_passwords import PostgresPasswords
from postbusd.directory.adapters.postgres_write_people import PostgresGroups, PostgresUsers
from postbusd.directory.adapters.postgres_write_policy import PostgresPolicy

_CLAIM_OUTBOX = "SELECT outbox_id, event FROM directory.outbox ORDER BY outbox_id LIMIT $1 FOR UPDATE SKIP LOCKED"


class PostgresWriter(
    PostgresDomains,
    PostgresMailboxes,
    PostgresArchive,
    PostgresImports,
    PostgresUsers,
    PostgresAppPasswords,
    PostgresSignIns,
    PostgresSecondFactors,
    PostgresResets,
    PostgresIdentityProvider,
    PostgresGroups,
    PostgresApps,
    PostgresAliases,
    PostgresLists,
    PostgresPolicy,
    PostgresStandings,
    PostgresPasswords,
):
    """The DirectoryWriter of directory."""

    async def relay_outbox(self, limit: int, publish: Publish) -> int:
        """Claims up to `limit` events, hands them to `publish`, deletes them."""
        async with self._connection() as session, session.transaction():
            rows = await session.fetch(_CLAIM_OUTBOX, limit)
            done = await publish_rows([(row["outbox_id"], row["event"]) for row in rows], publish)
            if done:
                await session.execute("DELETE FROM directory.outbox WHERE outbox_id = ANY($1)", done)
        return len(done)
