"""Domains in schema `directory`, as administrators see them."""

from typing import TYPE_CHECKING

import asyncpg

from postbus.contracts.domains import Domain, Signature, SignatureReply
from postbus.contracts.relays import Relay, RelaySecurity
from postbusd.directory.adapters.postgres_write_base import PostgresWrites, WriteSession, list_query, page_of
from postbusd.directory.administration.ports import Domains
from postbusd.directory.administration.refusals import conflict, lived_in, no_such
from postbusd.directory.administration.rules import check_domain_change, decide_relay_password
from postbusd.directory.administration.values import Act, Deleted, DomainChange, Page, PageWanted, Written

if TYPE_CHECKING:
    from postbus.runtime.database import Session

_DOMAINS = """
SELECT d.*, ARRAY(
    SELECT m.local_part || '@' || m.domain FROM directory.catch_all c JOIN directory.mailbox m USING (mailbox_id)
    WHERE c.domain = d.name ORDER BY (m.local_part || '@' || m.domain) COLLATE "C") AS catch_all
FROM directory.domain d
"""
_LIST_DOMAINS = f"""{_DOMAINS}
WHERE d.name COLLATE "C" > $1 AND ($2::text[] IS NULL OR d.name = ANY($2))
    AND ($4::text = '' OR strpos(d.name, $4) > 0)
ORDER BY d.name COLLATE "C" LIMIT $3
"""
_PUT_DOMAIN = """
INSERT INTO directory.domain
    (name, incoming, relay_host, relay_port, relay_security, relay_username, relay_password_sealed, masquerading,
     alias_of, suspended, quota_octets, default_quota_octets, max_message_octets, mail_host, signature_text,
     signature_html, alternate_mx, all_mail, sharing, search)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20)
ON CONFLICT (name) DO UPDATE SET incoming = excluded.incoming, masquerading = excluded.masquerading,
    relay_host = excluded.relay_host,
    relay_port = excluded.relay_port, relay_security = excluded.relay_security,
    relay_username = excluded.relay_username, relay_password_sealed = excluded.relay_password_sealed,
    alias_of = excluded.alias_of, suspended = excluded.suspended, quota_octets = excluded.quota_octets,
    default_quota_octets = excluded.default_quota_octets, max_message_octets = excluded.max_message_octets,
    mail_host = excluded.mail_host, signature_text = excluded.signature_text,
    signature_html = excluded.signature_html, alternate_mx = excluded.alternate_mx, all_mail = excluded.all_mail,
    sharing = excluded.sharing, search = excluded.search
"""
_SIGNATURE = """
SELECT r.revision, d.signature_text, d.signature_html
FROM directory.revision r LEFT JOIN directory.domain d ON d.name = $1
"""
_FOLD_MEMBERS = """
WITH given AS (
    DELETE FROM directory.list_member WHERE domain = $1 AND local_part ~ '[A-Z]' COLLATE "C"
    RETURNING list_id, local_part)
INSERT INTO directory.list_member (list_id, local_part, domain)
SELECT list_id, translate(local_part, 'ABCDEFGHIJKLMNOPQRSTUVWXYZ', 'abcdefghijklmnopqrstuvwxyz'), $1 FROM given
ON CONFLICT DO NOTHING
"""
"""Members of lists are folded where the domain is ours; so are those of a domain that becomes ours."""
_RESIDENTS = """
SELECT (SELECT count(*) FROM directory.mailbox WHERE domain = $1) AS mailbox,
    (SELECT count(*) FROM directory.alias WHERE domain = $1) AS alias,
    (SELECT count(*) FROM directory.mailing_list WHERE domain = $1) AS list,
    (SELECT count(*) FROM directory.user_group WHERE domain = $1) AS "group address",
    (SELECT count(*) FROM directory.domain WHERE alias_of = $1) AS "alias domain"
"""


class PostgresDomains(PostgresWrites):
    """The DomainStore."""

    async def put_domain(self, change: DomainChange, act: Act) -> Written[Domain]:
        """Creates or replaces a domain."""
        name = change.domain.name
        async with self._writing(act) as write:
            row = await write.session.fetchrow(f"{_DOMAINS} WHERE d.name = $1", name)
            before = _domain(row) if row is not None else None
            write.require_match(before)
            check_domain_change(write.standing, before, change.domain)
            await _check_alias_of(write, change.domain)
            sealed_before = row["relay_password_sealed"] if row is not None else b""
            mailbox_ids = [await _find_catch_all(write, change, position) for position in range(len(change.catch_all))]
            sealed = decide_relay_password(change, before, sealed_before)
            changed = change.domain != before or sealed != sealed_before
            if changed:
                await _write_domain(write.session, change.domain, sealed)
                await write.session.execute("DELETE FROM directory.catch_all WHERE domain = $1", name)
                await write.session.execute(
                    "INSERT INTO directory.catch_all (domain, mailbox_id) SELECT $1, unnest($2::uuid[])",
                    name,
                    mailbox_ids,
                )
                await write.require_quota(name)
                await write.require_mail_hosts()
            if before is None:
                await write.session.execute(_FOLD_MEMBERS, name)
            return await write.close(change.domain, changed=changed, created=before is None)

    async def find_signature(self, name: str) -> SignatureReply:
        """Of a domain, ours or not."""
        async with self._connection() as session:
            row = await session.fetchrow(_SIGNATURE, name)
        if row is None:
            return SignatureReply()
        return SignatureReply(signature=_signature(row), revision=row["revision"])

    async def get_domain(self, name: str) -> Domain:
        """One domain, its relay without the password."""
        async with self._connection() as session:
            return await _load_domain(session, name)

    async def list_domains(self, domains: Domains, wanted: PageWanted) -> Page[Domain]:
        """Domains by name, as wanted, in octet order."""
        async with self._connection() as session:
            rows = await session.fetch(*list_query(_LIST_DOMAINS, domains, wanted))
        return page_of([_domain(row) for row in rows], wanted.limit)

    async def delete_domain(self, name: str, act: Act, *, dry_run: bool) -> Deleted:
        """Deletes a domain that nothing lives in."""
        async with self._writing(act) as write:
            write.require_match(await _load_domain(write.session, name))
            residents = await write.session.fetchrow(_RESIDENTS, name)
            if residents is not None and any(residents.values()):
                raise lived_in(name, dict(residents.items()))
            if not dry_run:
                await write.session.execute("DELETE FROM directory.domain WHERE name = $1", name)
            return await write.close_deletion([f"domain {name}"], dry_run=dry_run)


async def _check_alias_of(write: WriteSession, domain: Domain) -> None:
    """Raises MailError: NOT_FOUND, CONFLICT (what lives in it; chains)."""
    if not domain.alias_of:
        return
    row = await write.session.fetchrow("SELECT alias_of FROM directory.domain WHERE name = $1", domain.alias_of)
    if row is None:
        raise no_such("alias_of", "domain", domain.alias_of)
    if row["alias_of"] is not None:
        raise conflict("alias_of", f"{domain.alias_of} is an alias of {row['alias_of']} itself")
    residents = await write.session.fetchrow(_RESIDENTS, domain.name)
    if residents is not None and any(residents.values()):
        raise lived_in(domain.name, dict(residents.items()))


async def _find_catch_all(write: WriteSession, change: DomainChange, position: int) -> str:
    mailbox = await write.load_mailbox(change.catch_all[position])
    if mailbox is None:
        raise no_such("catch_all", "mailbox", change.catch_all[position])
    return mailbox.mailbox_id


async def _load_domain(session: "Session", name: str) -> Domain:
    row = await session.fetchrow(f"{_DOMAINS} WHERE d.name = $1", name)
    if row is None:
        raise no_such("name", "domain", name)
    return _domain(row)


async def _write_domain(session: "Session", domain: Domain, sealed: bytes) -> None:
    relay = domain.relay
    await session.execute(
        _PUT_DOMAIN,
        domain.name,
        domain.incoming,
        relay.host if relay is not None else None,
        relay.port if relay is not None else None,
        relay.security.value if relay is not None else None,
        relay.username if relay is not None else "",
        sealed,
        domain.masquerading,
        domain.alias_of or None,
        domain.suspended,
        domain.quota_octets,
        domain.default_quota_octets,
        domain.max_message_octets,
        domain.mail_host,
        domain.signature.text if domain.signature is not None else None,
        domain.signature.html if domain.signature is not None else "",
        list(domain.alternate_mx),
        domain.all_mail,
        domain.sharing,
        domain.search,
    )


def _domain(row: asyncpg.Record) -> Domain:
    relay = None
    if row["relay_host"] is not None:
        relay = Relay(
            host=row["relay_host"],
            port=row["relay_port"],
            security=RelaySecurity(row["relay_security"]),
            username=row["relay_username"],
        )
    return Domain(
        name=row["name"],
        incoming=row["incoming"],
        catch_all=tuple(row["catch_all"]),
        relay=relay,
        masquerading=row["masquerading"],
        alias_of=row["alias_of"] or "",
        suspended=row["suspended"],
        quota_octets=row["quota_octets"],
        default_quota_octets=row["default_quota_octets"],
        max_message_octets=row["max_message_octets"],
        mail_host=row["mail_host"],
        signature=_signature(row),
        alternate_mx=tuple(row["alternate_mx"]),
        all_mail=row["all_mail"],
        sharing=row["sharing"],
        search=row["search"],
    )


def _signature(row: asyncpg.Record) -> Signature | None:
    if row["signature_text"] is None:
        return None
    return Signature(text=row["signature_text"], html=row["signature_html"])
