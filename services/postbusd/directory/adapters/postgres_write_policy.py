"""The policy in schema `directory`."""

from typing import TYPE_CHECKING

import msgspec

from postbus.contracts.policy import Policy, PolicyReply
from postbusd.directory.adapters.postgres_write_base import PostgresWrites
from postbusd.directory.administration.values import Act, Written

if TYPE_CHECKING:
    from postbus.runtime.database import Session

_LOAD = """
SELECT revision, (SELECT policy::text FROM directory.policy) AS policy,
    ARRAY(SELECT DISTINCT mail_host FROM directory.domain WHERE mail_host <> '') AS mail_hosts,
    ARRAY(SELECT DISTINCT unnest(alternate_mx) COLLATE "C" AS entry FROM directory.domain
        WHERE alternate_mx <> '{}' ORDER BY entry) AS alternate_mx
FROM directory.revision
"""
_PUT = """
INSERT INTO directory.policy (policy) VALUES ($1) ON CONFLICT (single) DO UPDATE SET policy = excluded.policy
"""


class PostgresPolicy(PostgresWrites):
    """The PolicyStore."""

    async def load_policy(self) -> PolicyReply:
        """With the revision of the same snapshot, and what domains add."""
        async with self._connection() as session:
            row = await session.fetchrow(_LOAD)
        if row is None:
            return PolicyReply(policy=Policy(), revision=0)
        policy = _read(row["policy"])
        return PolicyReply(
            policy=policy,
            revision=row["revision"],
            mail_hosts=tuple(sorted({*row["mail_hosts"], policy.mail_host} - {""})),
            alternate_mx=tuple(row["alternate_mx"]),
        )

    async def put_policy(self, policy: Policy, act: Act) -> Written[Policy]:
        """Replaces it."""
        async with self._writing(act) as write:
            before = await _load(write.session)
            write.require_match(before)
            if policy != before:
                await write.session.execute(_PUT, msgspec.json.encode(policy).decode())
            return await write.close(policy, changed=policy != before)


async def _load(session: "Session") -> Policy:
    return _read(await session.fetchval("SELECT policy::text FROM directory.policy"))


def _read(text: str | None) -> Policy:
    return msgspec.json.decode(text, type=Policy) if text is not None else Policy()
