"""What the writing adapters share: the writing transaction, addresses and their claims, owners, the end of a mailbox.

A writing transaction locks the row of the revision before it reads anything and increments it as its last statement:
writes follow one another, revision order is commit order, and no two of them can wait for each other.
"""

import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

import asyncpg
import msgspec

from postbus.contracts.condition import Condition
from postbus.contracts.events import Event
from postbus.contracts.mailboxes import Mailbox
from postbus.contracts.owners import Owner, OwnerKind
from postbus.contracts.standing import ADMINISTRATOR, Standing
from postbus.core.address import Address
from postbus.core.errors import ErrorKind, MailError
from postbus.core.ids import MailboxId
from postbus.core.lists import BOUNCES_SUFFIX
from postbus.mailstore.outbox import pack_event
from postbusd.directory.adapters.postgres_session import PostgresSessions
from postbusd.directory.adapters.postgres_standing import load_standing
from postbusd.directory.administration.locations import check_mail_hosts
from postbusd.directory.administration.ports import MAX_PAGE_MEMBERS, Domains
from postbusd.directory.administration.refusals import check_condition, no_such, of_alias_domain, taken
from postbusd.directory.administration.rules import check_granted
from postbusd.directory.administration.values import Act, Deleted, Page, PageWanted, Written, describe_deletion

if TYPE_CHECKING:
    from postbus.runtime.database import Session

T = TypeVar("T")

MAILBOXES = """
SELECT m.*, nullif(coalesce(m.quota_octets, o.default_quota_octets), 0) AS effective_quota_octets,
    ARRAY(
        SELECT s.local_part || '@' || s.domain FROM directory.send_as s WHERE s.mailbox_id = m.mailbox_id
        ORDER BY (s.local_part || '@' || s.domain) COLLATE "C") AS send_as,
    coalesce(u.username, g.name, a.name) AS owner_name,
    CASE WHEN m.owner_user IS NOT NULL THEN 'user' WHEN m.owner_group IS NOT NULL THEN 'group' ELSE 'app' END
    AS owner_kind
FROM directory.mailbox m
JOIN directory.domain o ON o.name = m.domain
LEFT JOIN directory.user_account u ON u.user_id = m.owner_user
LEFT JOIN directory.user_group g ON g.group_id = m.owner_group
LEFT JOIN directory.app a ON a.app_id = m.owner_app
"""
_ABOVE, _BELOW = 'COLLATE "C" > $1', """COLLATE "C" < coalesce(nullif($1, ''), chr(1114111))"""
_UPWARDS, _DOWNWARDS = 'COLLATE "C" LIMIT $3', 'COLLATE "C" DESC LIMIT $3'
_CLAIMED = """
SELECT local_part, kind FROM directory.address_claim WHERE domain = $1 AND local_part = ANY($2)
ORDER BY length(local_part) LIMIT 1
"""
GRANTED = """
SELECT d.quota_octets, count(*) FILTER (WHERE q.octets = 0) AS unlimited, coalesce(sum(q.octets), 0)::bigint AS granted
FROM directory.domain d LEFT JOIN LATERAL (
    SELECT coalesce(m.quota_octets, d.default_quota_octets, 0) AS octets
    FROM directory.mailbox m WHERE m.domain = d.name
) q ON true
WHERE d.name = $1 AND d.quota_octets IS NOT NULL GROUP BY d.quota_octets
"""
_TIES_OF_MAILBOX = """
SELECT line FROM (
    SELECT 'alias ' || local_part || '@' || domain AS line, 1 AS rank FROM directory.alias WHERE mailbox_id = $1
    UNION ALL
    SELECT 'catch-all entry of ' || domain, 2 FROM directory.catch_all WHERE mailbox_id = $1
) ties ORDER BY rank, line COLLATE "C"
"""
_END_MAILBOX = """
WITH gone AS (
    DELETE FROM directory.mailbox WHERE mailbox_id = $1 RETURNING mailbox_id, local_part, domain, quota_octets, pop3
)
INSERT INTO directory.deleted_mailbox (mailbox_id, address, owner_kind, owner_name, quota_octets, pop3, purging)
SELECT mailbox_id, local_part || '@' || domain, $2, $3, quota_octets, pop3, $4 FROM gone
"""


class WriteSession:
    """A writing transaction."""

    def __init__(self, session: "Session", revision: int, act: Act) -> None:
        self.session = session
        self.standing = act.standing
        self._revision = revision
        self._act = act

    def require_match(self, before: msgspec.Struct | None) -> None:
        """Raises MailError: CHANGED when the object is not what the act's condition says."""
        check_condition(self._act.condition, before)

    async def close(self, value: T, *, changed: bool, created: bool = False, detail: str = "") -> Written[T]:
        """The last statements of a write: the event, then the revision. `detail`: of the event, where it says none."""
        event = self._act.event
        event = msgspec.structs.replace(event, detail=detail) if detail else event
        revision = await self._close(event) if changed else self._revision
        planned = self._act.condition.plan
        return Written(object=value, changed=changed, created=created, revision=revision, planned=planned)

    async def close_deletion(self, lines: Sequence[str], *, dry_run: bool) -> Deleted:
        """The same of a deletion."""
        told = tuple(lines)
        revision = self._revision if dry_run else await self._close(describe_deletion(self._act.event, told))
        return Deleted(lines=told, revision=revision)

    async def require_domain(self, field: str, domain: str) -> None:
        """Raises MailError: NOT_FOUND."""
        if await self.session.fetchval("SELECT 1 FROM directory.domain WHERE name = $1", domain) is None:
            raise no_such(field, "domain", domain)

    async def require_free(self, address: Address, *, of_list: bool = False) -> None:
        """Raises MailError: NOT_FOUND (no such domain), CONFLICT (another object's address)."""
        await self.require_domain("address", address.domain)
        target = await self.session.fetchval("SELECT alias_of FROM directory.domain WHERE name = $1", address.domain)
        if target is not None:
            raise of_alias_domain("address", address.domain, target)
        names = [address.local_part] + ([address.local_part + BOUNCES_SUFFIX] if of_list else [])
        row = await self.session.fetchrow(_CLAIMED, address.domain, names)
        if row is not None:
            raise taken(address, Address(local_part=row["local_part"], domain=address.domain), row["kind"])

    async def require_quota(self, domain: str) -> None:
        """After the quotas of a domain or its mailboxes were written. Raises MailError: CONFLICT."""
        row = await self.session.fetchrow(GRANTED, domain)
        if row is not None:
            check_granted(domain, row["quota_octets"], row["granted"], row["unlimited"])

    async def require_mail_hosts(self) -> None:
        """After the location of a domain was written. Raises MailError: CONFLICT."""
        rows = await self.session.fetch("SELECT DISTINCT mail_host FROM directory.domain WHERE mail_host <> ''")
        check_mail_hosts([row["mail_host"] for row in rows])

    async def load_mailbox(self, address: Address) -> Mailbox | None:
        """By its folded address."""
        return await load_mailbox(self.session, address)

    async def end_mailbox(self, mailbox: Mailbox, *, purge: bool = False) -> None:
        """Its aliases and catch-all entries go with it; the mail store keeps its mail, unless `purge` says so."""
        owner = mailbox.owner
        kind, name = (owner.kind.value, owner.name) if owner is not None else (None, None)
        await self.session.execute(_END_MAILBOX, mailbox.mailbox_id, kind, name, purge)

    async def ties_of(self, mailbox: Mailbox) -> list[str]:
        """What goes with a mailbox, in words."""
        return [row["line"] for row in await self.session.fetch(_TIES_OF_MAILBOX, mailbox.mailbox_id)]

    async def _close(self, event: Event) -> int:
        await self.session.execute("INSERT INTO directory.outbox (event) VALUES ($1)", pack_event(event))
        revision: int = await self.session.fetchval(
            "UPDATE directory.revision SET revision = revision + 1 RETURNING revision"
        )
        return revision


class PostgresWrites(PostgresSessions):
    """The base of the writing adapters."""

    @contextlib.asynccontextmanager
    async def _writing(self, act: Act) -> AsyncIterator[WriteSession]:
        """A writing transaction, taken back at its end when it is a plan.

        Raises MailError: CONFLICT when the actor's standing is another now, or another version's writer came between.
        """
        async with self._connection() as session:
            try:
                async with _transaction(session, act.condition):
                    revision = await session.fetchval("SELECT revision FROM directory.revision FOR UPDATE")
                    await _confirm_standing(session, act.standing)
                    yield WriteSession(session, revision, act)
            except (asyncpg.UniqueViolationError, asyncpg.ForeignKeyViolationError) as error:
                raise MailError(ErrorKind.CONFLICT, "name: another change came in between") from error


@contextlib.asynccontextmanager
async def _transaction(session: "Session", condition: Condition) -> AsyncIterator[None]:
    transaction = session.transaction()
    await transaction.start()
    try:
        yield
    except BaseException:
        await transaction.rollback()
        raise
    await (transaction.rollback() if condition.plan else transaction.commit())


async def _confirm_standing(session: "Session", standing: Standing) -> None:
    if standing.actor == ADMINISTRATOR:
        return
    now = await load_standing(session, standing.actor)
    if (now.superadmin, now.domains) != (standing.superadmin, standing.domains):
        raise MailError(ErrorKind.CONFLICT, f"actor: what {standing.actor} administers was changed meanwhile")


async def load_mailbox(session: "Session", address: Address) -> Mailbox | None:
    """By its folded address."""
    row = await session.fetchrow(
        f"{MAILBOXES} WHERE m.domain = $1 AND m.local_part = $2", address.domain, address.local_part
    )
    return read_mailbox(row) if row is not None else None


def read_mailbox(row: asyncpg.Record) -> Mailbox:
    """A row of MAILBOXES."""
    return Mailbox(
        mailbox_id=MailboxId(str(row["mailbox_id"])),
        address=f"{row['local_part']}@{row['domain']}",
        active=row["active"],
        quota_octets=row["quota_octets"],
        owner=Owner(kind=OwnerKind(row["owner_kind"]), name=row["owner_name"]),
        pop3=row["pop3"],
        send_as=tuple(row["send_as"]),
        effective_quota_octets=row["effective_quota_octets"],
    )


def list_query(statement: str, domains: Domains, wanted: PageWanted) -> tuple[str, str, Domains, int, str]:
    """A statement that lists names above $1 of domains $2 with text $4, up to $3, and its parameters.

    The other way round it lists those below $1, from the last one where $1 is empty.
    """
    if wanted.descending:
        statement = statement.replace(_ABOVE, _BELOW).replace(_UPWARDS, _DOWNWARDS)
    return statement, wanted.after, domains, wanted.limit + 1, wanted.text


def page_of(objects: Sequence[T], limit: int, members: Callable[[T], int] | None = None) -> Page[T]:
    """A page of `limit` of objects that were asked for one more; it ends before there are too many members."""
    kept = list(objects[:limit])
    if members is not None:
        total = 0
        for index, each in enumerate(kept):
            total += members(each)
            if index and total > MAX_PAGE_MEMBERS:
                kept = kept[:index]
                break
    return Page(objects=tuple(kept), more=len(kept) < len(objects))
