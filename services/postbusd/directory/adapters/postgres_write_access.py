"""Sign-ins, second factors and forgotten passwords in schema `directory`."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import asyncpg
import msgspec

from postbus.contracts.app_passwords import Access
from postbus.contracts.directory import User
from postbus.contracts.identity_provider import IdentityProvider, IdentityProviderReply
from postbus.contracts.standing import Standing
from postbusd.directory.adapters.postgres_session import PostgresSessions
from postbusd.directory.adapters.postgres_standing import find_keeper, find_user
from postbusd.directory.adapters.postgres_write_base import PostgresWrites
from postbusd.directory.adapters.postgres_write_passwords import put_password
from postbusd.directory.administration.refusals import conflict
from postbusd.directory.administration.rules import decide_provider
from postbusd.directory.administration.values import Act, Written
from postbusd.directory.oidc.ports import StoredProvider
from postbusd.directory.values import StoredPassword, StoredSecondFactor, StoredSignIn

if TYPE_CHECKING:
    from postbus.runtime.database import Session

_FACTOR = """s.secret_sealed, floor(extract(epoch FROM s.confirmed) * 1000)::bigint AS since_ms, s.last_step,
    cardinality(s.recovery_indexes) AS recovery_codes"""
_LOAD_SIGN_IN = f"""
SELECT u.username, u.active, coalesce(k.secret_hash, '') AS secret_hash, p.scopes,
    floor(extract(epoch FROM p.expires) * 1000)::bigint AS expires_ms, {_FACTOR}
FROM directory.user_account u
LEFT JOIN directory.credential k ON k.user_id = u.user_id AND k.kind = 'password'
LEFT JOIN directory.app_password p ON p.user_id = u.user_id AND p.secret_index = $2
LEFT JOIN directory.second_factor s ON s.user_id = u.user_id AND s.confirmed IS NOT NULL
WHERE u.username = $1
"""  # noqa: S608 (names from above)
_LOAD_DIGESTS = """
SELECT unnest(array_remove(ARRAY[encode(sha256(k.secret_hash::bytea), 'hex'), k.former_digest], NULL)) AS digest
FROM directory.user_account u JOIN directory.credential k ON k.user_id = u.user_id AND k.kind = 'password'
WHERE u.username = $1 AND u.active
UNION ALL
SELECT encode(sha256(p.secret_index::bytea), 'hex')
FROM directory.user_account u JOIN directory.app_password p USING (user_id)
WHERE u.username = $1 AND u.active AND 'api' = ANY (p.scopes) AND (p.expires IS NULL OR p.expires > now())
UNION ALL
SELECT encode(sha256(('identity provider ' || p.issuer)::bytea), 'hex')
FROM directory.user_account u CROSS JOIN directory.identity_provider p WHERE u.username = $1 AND u.active
"""
_OF = "FROM directory.user_account u WHERE u.username = $1 AND s.user_id = u.user_id AND s.confirmed IS NOT NULL"
_TAKE_STEP = f"UPDATE directory.second_factor s SET last_step = $2 {_OF} AND s.last_step < $2 RETURNING 1"  # noqa: S608
_TAKE_RECOVERY_CODE = f"""
UPDATE directory.second_factor s SET recovery_indexes = array_remove(s.recovery_indexes, $2)
{_OF} AND $2 = ANY (s.recovery_indexes) RETURNING 1
"""  # noqa: S608 (the same)
_LOAD_FACTOR = f"""
SELECT {_FACTOR} FROM directory.second_factor s JOIN directory.user_account u USING (user_id) WHERE u.username = $1
"""  # noqa: S608 (the same)
_BEGIN_FACTOR = """
INSERT INTO directory.second_factor AS s (user_id, secret_sealed)
SELECT user_id, $2 FROM directory.user_account WHERE username = $1
ON CONFLICT (user_id) DO UPDATE SET secret_sealed = excluded.secret_sealed WHERE s.confirmed IS NULL RETURNING 1
"""
_CONFIRM_FACTOR = """
UPDATE directory.second_factor s SET confirmed = now(), last_step = $3, recovery_indexes = $4
FROM directory.user_account u
WHERE u.username = $1 AND s.user_id = u.user_id AND s.confirmed IS NULL AND s.secret_sealed = $2 RETURNING 1
"""
_END_FACTOR = """
DELETE FROM directory.second_factor s USING directory.user_account u WHERE u.username = $1 AND s.user_id = u.user_id
"""
_BEGIN_RESET = """
INSERT INTO directory.password_reset AS r (user_id, code_index, expires)
SELECT user_id, $2, now() + make_interval(secs => $3) FROM directory.user_account
WHERE username = $1 AND active AND recovery_address <> ''
ON CONFLICT (user_id) DO UPDATE SET code_index = excluded.code_index, begun = now(), expires = excluded.expires
WHERE r.begun <= now() - make_interval(secs => $4)
RETURNING (SELECT recovery_address FROM directory.user_account WHERE username = $1)
"""
_FIND_RESET = """
SELECT u.username FROM directory.password_reset r JOIN directory.user_account u USING (user_id)
WHERE r.code_index = $1 AND r.expires > now() AND u.active
"""
_END_RESET = """
DELETE FROM directory.password_reset r USING directory.user_account u
WHERE u.user_id = r.user_id AND r.code_index = $1 AND r.expires > now() RETURNING u.username
"""
_PUT_PROVIDER = """
INSERT INTO directory.identity_provider (issuer, provider, secret_sealed) VALUES ($1, $2, $3)
"""


class PostgresSignIns(PostgresSessions):
    """The SignInStore."""

    async def load_sign_in(self, username: str, index: str) -> StoredSignIn | None:
        """With the app password of this index."""
        async with self._connection() as session:
            row = await session.fetchrow(_LOAD_SIGN_IN, username, index)
        if row is None:
            return None
        scopes = row["scopes"]
        return StoredSignIn(
            username=row["username"],
            active=row["active"],
            secret_hash=row["secret_hash"],
            app_scopes=tuple(each for each in Access if each.value in scopes) if scopes is not None else None,
            app_expires_ms=row["expires_ms"],
            second_factor=_factor(row) if row["secret_sealed"] is not None else None,
        )

    async def load_sign_in_digests(self, username: str) -> tuple[str, ...]:
        """Of each secret that signs this user in now."""
        async with self._connection() as session:
            return tuple(row["digest"] for row in await session.fetch(_LOAD_DIGESTS, username))

    async def take_code_step(self, username: str, step: int) -> bool:
        """Notes that the code of this step was shown."""
        async with self._connection() as session:
            return await session.fetchval(_TAKE_STEP, username, step) is not None

    async def take_recovery_code(self, username: str, index: str) -> bool:
        """Ends a code."""
        async with self._connection() as session:
            return await session.fetchval(_TAKE_RECOVERY_CODE, username, index) is not None


class PostgresSecondFactors(PostgresWrites):
    """The SecondFactorStore."""

    async def load_second_factor(self, username: str, standing: Standing) -> StoredSecondFactor | None:
        """Also one that is not in force."""
        async with self._connection() as session:
            await find_keeper(session, username, standing)
            return await _load_factor(session, username)

    async def begin_second_factor(self, username: str, secret_sealed: bytes) -> bool:
        """In place of one that is not in force."""
        async with self._connection() as session:
            return await session.fetchval(_BEGIN_FACTOR, username, secret_sealed) is not None

    async def confirm_second_factor(
        self, username: str, secret_sealed: bytes, step: int, recovery_indexes: Sequence[str], act: Act
    ) -> Written[StoredSecondFactor]:
        """Puts it in force."""
        async with self._writing(act) as write:
            values = (username, secret_sealed, step, list(recovery_indexes))
            found = await write.session.fetchval(_CONFIRM_FACTOR, *values)
            now = await _load_factor(write.session, username)
            if found is None or now is None:
                raise conflict("code", "the second factor was begun anew meanwhile")
            return await write.close(now, changed=True)

    async def end_second_factor(self, username: str, act: Act) -> Written[StoredSecondFactor] | None:
        """The one that was in force."""
        async with self._writing(act) as write:
            await find_keeper(write.session, username, act.standing)
            found = await _load_factor(write.session, username)
            if found is None or found.since_ms is None:
                return None
            await write.session.execute(_END_FACTOR, username)
            return await write.close(found, changed=True)


class PostgresResets(PostgresWrites):
    """The ResetStore."""

    async def begin_reset(self, username: str, index: str, seconds: int, pause_seconds: int) -> str:
        """A code in place of the one before; the recovery address."""
        async with self._connection() as session:
            return await session.fetchval(_BEGIN_RESET, username, index, seconds, pause_seconds) or ""

    async def find_reset(self, index: str) -> str | None:
        """The active user whose code it is."""
        async with self._connection() as session:
            found: str | None = await session.fetchval(_FIND_RESET, index)
        return found

    async def finish_reset(self, index: str, password: StoredPassword, act: Act) -> Written[User] | None:
        """Ends the code and sets its user's password."""
        async with self._writing(act) as write:
            username = await write.session.fetchval(_END_RESET, index)
            user = await find_user(write.session, username) if username is not None else None
            if user is None:
                return None
            await put_password(write.session, user.username, password)
            return await write.close(user, changed=True)


class PostgresIdentityProvider(PostgresWrites):
    """The IdentityProviderStore."""

    async def load_identity_provider(self) -> StoredProvider | None:
        """With its secret."""
        async with self._connection() as session:
            return await _load_provider(session)

    async def put_identity_provider(
        self, provider: IdentityProvider | None, secret_sealed: bytes | None, act: Act
    ) -> Written[IdentityProviderReply]:
        """Replaces or removes it."""
        async with self._writing(act) as write:
            before = await _load_provider(write.session)
            now = decide_provider(before, provider, secret_sealed)
            write.require_match(before.provider if before is not None else None)
            await write.session.execute("DELETE FROM directory.identity_provider")
            if now is not None:
                values = (now.provider.issuer, msgspec.json.encode(now.provider).decode(), now.secret_sealed)
                await write.session.execute(_PUT_PROVIDER, *values)
            reply = IdentityProviderReply(provider=now.provider if now is not None else None)
            return await write.close(reply, changed=now != before)


async def _load_provider(session: "Session") -> StoredProvider | None:
    row = await session.fetchrow("SELECT provider::text AS provider, secret_sealed FROM directory.identity_provider")
    if row is None:
        return None
    provider = msgspec.json.decode(row["provider"], type=IdentityProvider)
    return StoredProvider(provider=provider, secret_sealed=row["secret_sealed"])


async def _load_factor(session: "Session", username: str) -> StoredSecondFactor | None:
    row = await session.fetchrow(_LOAD_FACTOR, username)
    return _factor(row) if row is not None else None


def _factor(row: asyncpg.Record) -> StoredSecondFactor:
    return StoredSecondFactor(
        secret_sealed=row["secret_sealed"],
        since_ms=row["since_ms"],
        last_step=row["last_step"],
        recovery_codes=row["recovery_codes"],
    )
