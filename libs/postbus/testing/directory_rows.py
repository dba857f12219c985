"""A directory in memory written into schema `directory`, so that both are asked the same (integration tests only)."""

import datetime
import uuid
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import asyncpg

from postbus.contracts.mailboxes import Mailbox
from postbus.contracts.owners import OwnerKind
from postbus.core.address import parse_local_part
from postbus.testing.directory_tables import DirectoryTables

if TYPE_CHECKING:
    from asyncpg.pool import PoolConnectionProxy

    Connection = asyncpg.Connection[asyncpg.Record] | PoolConnectionProxy[asyncpg.Record]

_TABLES = (
    "policy",
    "identity_provider",
    "deleted_mailbox",
    "outbox",
    "catch_all",
    "alias",
    "mailing_list",
    "mailbox",
    "user_group",
    "credential",
    "app",
    "user_account",
    "domain",
)
_EPOCH = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)


async def empty_tables(connection: "Connection | asyncpg.Pool") -> None:
    """Deletes all rows but the revision."""
    for table in _TABLES:
        await connection.execute(f"DELETE FROM directory.{table}")  # noqa: S608  our own names


async def load_rows(connection: "Connection", tables: DirectoryTables) -> None:
    """Makes schema `directory` hold what `tables` hold, the revision too."""
    async with connection.transaction():
        await empty_tables(connection)
        await _load_domains(connection, tables)
        await _load_owners(connection, tables)
        await _load_mailboxes(connection, tables)
        await _load_lists(connection, tables)
        await connection.execute("UPDATE directory.revision SET revision = $1", tables.number)


async def _load_domains(connection: "Connection", tables: DirectoryTables) -> None:
    rows = []
    for number, domain in enumerate(tables.domains.values()):
        relay = domain.relay
        rows.append(
            (
                domain.name,
                domain.incoming,
                _at(number),
                relay.host if relay else None,
                relay.port if relay else None,
                relay.security.value if relay else None,
                relay.username if relay else "",
                tables.relay_passwords.get(domain.name, b""),
                domain.masquerading,
                domain.alias_of or None,
                domain.suspended,
                domain.quota_octets,
                domain.default_quota_octets,
                domain.max_message_octets,
                domain.mail_host,
                domain.signature.text if domain.signature else None,
                domain.signature.html if domain.signature else "",
                domain.alternate_mx,
                domain.search,
            )
        )
    rows.sort(key=lambda row: row[9] is not None)
    await _insert(
        connection,
        "domain (name, incoming, created, relay_host, relay_port, relay_security, relay_username, "
        "relay_password_sealed, masquerading, alias_of, suspended, quota_octets, "
        "default_quota_octets, max_message_octets, mail_host, signature_text, signature_html, alternate_mx, search)",
        rows,
    )


async def _load_owners(connection: "Connection", tables: DirectoryTables) -> None:
    users = [
        (_uuid("user", user.username), user.username, user.active, user.superadmin, _at(number))
        for number, user in enumerate(tables.users.values())
    ]
    await _insert(connection, "user_account (user_id, username, active, superadmin, created)", users)
    apps = [(_uuid("app", app.name), app.name, app.active) for app in tables.apps.values()]
    await _insert(connection, "app (app_id, name, active)", apps)
    groups = [
        (_uuid("group", group.name), group.name, *(_split(group.address) if group.address else (None, None)))
        for group in tables.groups.values()
    ]
    await _insert(connection, "user_group (group_id, name, local_part, domain)", groups)
    members = [
        (_uuid("group", group.name), _uuid("user", name)) for group in tables.groups.values() for name in group.members
    ]
    await _insert(connection, "group_member (group_id, user_id)", members)
    passwords = [
        (_uuid("user", name), "password", stored.secret_hash, stored.tag) for name, stored in tables.passwords.items()
    ]
    await _insert(connection, "credential (user_id, kind, secret_hash, tag)", passwords)
    generated = [(_uuid("app", name), "generated", index) for name, index in tables.credentials.items()]
    await _insert(connection, "credential (app_id, kind, secret_hash)", generated)


async def _load_mailboxes(connection: "Connection", tables: DirectoryTables) -> None:
    rows = [
        (
            mailbox.mailbox_id,
            *_split(mailbox.address),
            mailbox.active,
            mailbox.quota_octets,
            *(_owner_id(mailbox, kind) for kind in (OwnerKind.USER, OwnerKind.GROUP, OwnerKind.APP)),
            _at(number),
            mailbox.pop3,
        )
        for number, mailbox in enumerate(tables.mailboxes.values())
    ]
    await _insert(
        connection,
        "mailbox (mailbox_id, local_part, domain, active, quota_octets, owner_user, owner_group, owner_app, created, "
        "pop3)",
        rows,
    )
    aliases = [(*_split(each.address), tables.mailboxes[each.mailbox].mailbox_id) for each in tables.aliases.values()]
    await _insert(connection, "alias (local_part, domain, mailbox_id)", aliases)
    catch_all = [
        (domain.name, tables.mailboxes[address].mailbox_id)
        for domain in tables.domains.values()
        for address in domain.catch_all
    ]
    await _insert(connection, "catch_all (domain, mailbox_id)", catch_all)


async def _load_lists(connection: "Connection", tables: DirectoryTables) -> None:
    rows = [
        (_uuid("list", each.address), *_split(each.address), each.active, each.members_only)
        for each in tables.lists.values()
    ]
    await _insert(connection, "mailing_list (list_id, local_part, domain, active, members_only)", rows)
    members = []
    for each in tables.lists.values():
        for member in each.members:
            local_part, domain = _split(member)
            members.append((_uuid("list", each.address), parse_local_part(local_part), domain))
    await _insert(connection, "list_member (list_id, local_part, domain)", members)
    groups = [
        (_uuid("list", each.address), _uuid("group", name)) for each in tables.lists.values() for name in each.groups
    ]
    await _insert(connection, "list_group (list_id, group_id)", groups)
    grants = [
        (mailbox.mailbox_id, *_split(address))
        for mailbox in tables.mailboxes.values()
        for address in mailbox.send_as
        if tables.kind_at(address)
    ]
    await _insert(connection, "send_as (mailbox_id, local_part, domain)", grants)


async def _insert(connection: "Connection", into: str, rows: Iterable[tuple[Any, ...]]) -> None:
    """`into` is `table (columns)`."""
    marks = ", ".join(f"${number + 1}" for number in range(into.count(",") + 1))
    await connection.executemany(f"INSERT INTO directory.{into} VALUES ({marks})", list(rows))  # noqa: S608  own names


def _split(address: str) -> tuple[str, str]:
    local_part, _, domain = address.rpartition("@")
    return local_part, domain


def _uuid(kind: str, name: str) -> uuid.UUID:
    return uuid.uuid5(uuid.NAMESPACE_URL, f"{kind}:{name}")


def _owner_id(mailbox: Mailbox, kind: OwnerKind) -> uuid.UUID | None:
    owner = mailbox.owner
    return _uuid(kind.value, owner.name) if owner is not None and owner.kind is kind else None


def _at(number: int) -> datetime.datetime:
    return _EPOCH + datetime.timedelta(seconds=number)
