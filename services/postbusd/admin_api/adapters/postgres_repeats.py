"""Table `admin.repeat`: the RepeatStore."""

import msgspec

from postbusd.admin_api.adapters.postgres_base import PostgresBase, to_moment, to_ms
from postbusd.admin_api.repeats import StoredRepeat

_CLAIM = """
INSERT INTO admin.repeat (actor, key, fingerprint, begun) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING RETURNING 1
"""
_FIND = "SELECT fingerprint, begun, status, headers, body_sealed FROM admin.repeat WHERE actor = $1 AND key = $2"
_FINISH = "UPDATE admin.repeat SET status = $3, headers = $4, body_sealed = $5 WHERE actor = $1 AND key = $2"
_TRIM = """
DELETE FROM admin.repeat WHERE (actor, key) IN (SELECT actor, key FROM admin.repeat WHERE begun < $1 LIMIT $2)
"""


class PostgresRepeats(PostgresBase):
    """The port of repeats."""

    async def claim_repeat(self, actor: str, key: str, fingerprint: bytes, now_ms: int) -> StoredRepeat | None:
        """What there is."""
        async with self._connection() as session:
            if await session.fetchval(_CLAIM, actor, key, fingerprint, to_moment(now_ms)) is not None:
                return None
            row = await session.fetchrow(_FIND, actor, key)
        if row is None:  # released between the two: whoever asks again gets it
            return StoredRepeat(fingerprint=fingerprint, begun_ms=now_ms)
        return StoredRepeat(
            fingerprint=row["fingerprint"],
            begun_ms=to_ms(row["begun"]) or 0,
            status=row["status"],
            headers=msgspec.json.decode(row["headers"], type=dict[str, str]) if row["headers"] else {},
            body_sealed=row["body_sealed"],
        )

    async def finish_repeat(self, actor: str, key: str, answer: StoredRepeat) -> None:
        """Its answer."""
        headers = msgspec.json.encode(answer.headers).decode()
        async with self._connection() as session:
            await session.execute(_FINISH, actor, key, answer.status, headers, answer.body_sealed)

    async def release_repeat(self, actor: str, key: str) -> None:
        """Forgets a key."""
        async with self._connection() as session:
            await session.execute("DELETE FROM admin.repeat WHERE actor = $1 AND key = $2", actor, key)

    async def trim_repeats(self, before_ms: int, most: int) -> int:
        """Forgets the old ones."""
        async with self._connection() as session:
            done: str = await session.execute(_TRIM, to_moment(before_ms), most)
        return int(done.rpartition(" ")[2])
