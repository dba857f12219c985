"""Requests that are sent again (Idempotency-Key): what was carried out is answered once more, never carried out twice.

Answers tell secrets once; they are kept sealed, for a day. A refused request leaves nothing: it may be corrected and
sent with the same key.
"""

import hashlib
from collections.abc import Mapping
from typing import Protocol

import msgspec

from postbus.core.clock import Clock
from postbus.core.errors import ErrorKind, MailError, after
from postbus.runtime.sealing import Sealer

KEPT_MS = 86_400_000
UNDER_WAY_MS = 60_000
"""A first request that has no answer for so long may never get one."""
RETRY_SECONDS = 5
MAX_KEY_CHARACTERS = 200
MAX_BODY_OCTETS = 262_144


class StoredRepeat(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a key."""

    fingerprint: bytes
    begun_ms: int
    status: int | None = None
    """None: it has no answer."""
    headers: dict[str, str] = {}
    body_sealed: bytes | None = None
    """None: the answer was too large."""


class RepeatStore(Protocol):
    """The port. Every method raises MailError: UNAVAILABLE."""

    async def claim_repeat(self, actor: str, key: str, fingerprint: bytes, now_ms: int) -> StoredRepeat | None:
        """What there is; None: nothing was, and the key is taken now."""
        ...

    async def finish_repeat(self, actor: str, key: str, answer: StoredRepeat) -> None:
        """Its answer."""
        ...

    async def release_repeat(self, actor: str, key: str) -> None:
        """Forgets a key."""
        ...

    async def trim_repeats(self, before_ms: int, most: int) -> int:
        """Forgets up to `most` that are older; how many."""
        ...


class KeptAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """An answer that was given before."""

    status: int
    headers: dict[str, str]
    body: bytes


class Repeats:
    """Claims keys and keeps answers."""

    def __init__(self, store: RepeatStore, sealer: Sealer, clock: Clock) -> None:
        self._store = store
        self._sealer = sealer
        self._clock = clock

    async def claim(self, actor: str, key: str, fingerprint: bytes) -> KeptAnswer | None:
        """None: go on, and call `finish` or `release`. Raises MailError: INVALID, LIMIT, CONFLICT."""
        if not 0 < len(key) <= MAX_KEY_CHARACTERS or not key.isascii() or not key.isprintable():
            raise _refuse(ErrorKind.INVALID, f"1 to {MAX_KEY_CHARACTERS} printable ASCII characters")
        now_ms = self._clock.now_ms()
        found = await self._store.claim_repeat(actor, key, fingerprint, now_ms)
        if found is None:
            return None
        if found.fingerprint != fingerprint:
            raise _refuse(ErrorKind.LIMIT, "another request was sent with this key")
        if found.status is None:
            if found.begun_ms + UNDER_WAY_MS > now_ms:
                reason = "idempotency_key: the request is being carried out"
                raise MailError(ErrorKind.CONFLICT, reason, after(RETRY_SECONDS))
            raise _refuse(ErrorKind.CONFLICT, "what became of the request is not known: look, then use another key")
        if found.body_sealed is None:
            raise _refuse(ErrorKind.CONFLICT, "the request was carried out; its answer was too large to be kept")
        body = self._sealer.open(found.body_sealed, _owner(actor, key))
        return KeptAnswer(status=found.status, headers=found.headers, body=body)

    async def finish(self, actor: str, key: str, status: int, headers: Mapping[str, str], body: bytes | None) -> None:
        """Keeps an answer; `body` None: it is too large."""
        sealed = self._sealer.seal(body, _owner(actor, key)) if body is not None else None
        answer = StoredRepeat(fingerprint=b"", begun_ms=0, status=status, headers=dict(headers), body_sealed=sealed)
        await self._store.finish_repeat(actor, key, answer)

    async def release(self, actor: str, key: str) -> None:
        """Nothing has happened."""
        await self._store.release_repeat(actor, key)

    async def trim(self, most: int) -> int:
        """Forgets up to `most` of the day before."""
        return await self._store.trim_repeats(self._clock.now_ms() - KEPT_MS, most)


def fingerprint_of(method: str, path: str, query: str, body: bytes) -> bytes:
    """What a request is known by."""
    head = "\n".join([method, path, query]).encode("utf-8", "surrogatepass")
    return hashlib.sha256(hashlib.sha256(head).digest() + body).digest()


def _refuse(kind: ErrorKind, reason: str) -> MailError:
    return MailError(kind, f"idempotency_key: {reason}")


def _owner(actor: str, key: str) -> str:
    return f"repeat:{actor}:{key}"
