"""Epochs of the mail store: no connection serves anybody before its server's epoch is ensured (architecture §4).

A server may come back without the last things that it told: the standby of a failover, a copy put back, a dump loaded
elsewhere. `ensure_epoch_v1` sees that by the server's timeline, by what the database lies in, and by a restore id that
people set; then it lifts every uid_next and mod_seq above all that could have been announced. `EpochGuard.ensure` calls
it on every new connection of a pool, which is the one moment at which a server can be another one than before. Whoever
keeps something that the new epoch makes untrue (folder views, sessions) hears of it before the connection is used.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg
import msgspec

from postbus.core.clock import Clock
from postbus.core.errors import ErrorKind, MailError

log = logging.getLogger(__name__)

PIECE_MAILBOXES = 500
"""Lifted in one transaction: a few tenths of a second, whatever the deadline of a statement."""
_ENSURE = "SELECT * FROM mailstore.ensure_epoch_v1($1, $2, $3)"


class Epoch(msgspec.Struct, frozen=True, kw_only=True):
    """The time in which nothing that was told is untrue."""

    number: int
    restored: int = 0
    """The last epoch that began with a restore (not a mere failover); 0: none."""
    restored_ms: int = 0
    """When that was."""
    reason: str = "first"
    """first | failover | moved | restore."""


Listener = Callable[[Epoch, Epoch | None, asyncpg.Connection], Awaitable[None]]
"""Gets the new epoch, the one before (None: this process knew none) and the connection that learnt of it."""


class EpochGuard:
    """What a process knows of its server's epoch."""

    def __init__(self, restore_id: str, clock: Clock) -> None:
        """`restore_id`: POSTBUS_RUNTIME_RESTORE_ID."""
        self._restore_id = restore_id
        self._clock = clock
        self._known: Epoch | None = None
        self._listeners: list[Listener] = []
        self._lifting = asyncio.Lock()
        self._telling = asyncio.Lock()

    @property
    def known(self) -> Epoch | None:
        """The epoch of the last new connection; None before the first."""
        return self._known

    def listen(self, listener: Listener) -> None:
        """`listener` is awaited for each new epoch before the connection that learnt of it is used.

        When it raises, that connection is not used, and the next one tells it again.
        """
        self._listeners.append(listener)

    async def ensure(self, connection: asyncpg.Connection) -> None:
        """A pool's `init`. Raises what asyncpg raises, and MailError: UNAVAILABLE for a server of an older epoch."""
        row = await self._step(connection)
        if row["r_lifting"]:
            async with self._lifting:  # one connection of a process is enough
                while row["r_lifting"]:
                    row = await self._step(connection)
        epoch = Epoch(
            number=row["r_epoch"],
            restored=row["r_restored"],
            restored_ms=row["r_restored_ms"],
            reason=row["r_reason"],
        )
        if epoch != self._known:
            await self._tell(epoch, connection)

    async def _step(self, connection: asyncpg.Connection) -> Any:  # asyncpg.Record
        row = await connection.fetchrow(_ENSURE, self._restore_id, self._clock.now_ms(), PIECE_MAILBOXES)
        assert row is not None  # the function always answers
        facts = {"epoch": row["r_epoch"], "reason": row["r_reason"], "span": row["r_span"]}
        if row["r_began"]:
            log.warning("mailstore.epoch.began", extra=facts)
        if row["r_ended"]:
            counts = {name: row[f"r_{name}"] for name in ("mailboxes", "folders", "renewed")}
            log.warning("mailstore.epoch.lifted", extra={**facts, **counts})
        return row

    async def _tell(self, epoch: Epoch, connection: asyncpg.Connection) -> None:
        async with self._telling:
            before = self._known
            if epoch == before:
                return
            if before is not None and epoch.number < before.number:
                # The primary of before a failover, or a copy that was put back without a new restore id.
                log.error("mailstore.epoch.went_back", extra={"epoch": epoch.number, "known": before.number})
                raise MailError(ErrorKind.UNAVAILABLE, f"epoch {epoch.number} of the mail store is over")
            for listener in self._listeners:
                await listener(epoch, before, connection)
            self._known = epoch
