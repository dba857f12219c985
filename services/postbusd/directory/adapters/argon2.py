"""Argon2id, and the check of other systems' hashes, on a few threads with a bounded queue.

A hash takes 19 MiB, two passes, one lane (docs/adr: OWASP's minimum).
"""

import asyncio
import base64
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import argon2
from prometheus_client import CollectorRegistry, Gauge, Histogram

from postbus.core.errors import ErrorKind, MailError
from postbusd.directory.foreign_hashes import is_foreign, verify_foreign

MEMORY_KIB = 19_456
PASSES = 2
LANES = 1
_SALT_OCTETS = 16
_HASH_OCTETS = 32

Result = TypeVar("Result")


class Argon2Hasher:
    """The PasswordHasher of directory."""

    def __init__(self, *, threads: int, queue_logins: int, registry: CollectorRegistry) -> None:
        self._hasher = argon2.PasswordHasher(
            time_cost=PASSES,
            memory_cost=MEMORY_KIB,
            parallelism=LANES,
            hash_len=_HASH_OCTETS,
            salt_len=_SALT_OCTETS,
        )
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="argon2")
        self._limit = threads + queue_logins
        self._waiting = Gauge(
            "postbus_directory_hashes_waiting", "Password checks under way or waiting.", registry=registry
        )
        self._seconds = Histogram(
            "postbus_directory_hash_seconds",
            "Time of one password check without its waiting.",
            buckets=(0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0),
            registry=registry,
        )
        self._count = 0
        self._closed = False

    async def hash(self, password: str) -> str:
        """A new hash. Raises MailError: UNAVAILABLE when too many wait."""
        return await self._run(lambda: self._hasher.hash(password))

    async def verify(self, password_hash: str, password: str) -> bool:
        """Whether the password belongs to the hash. Raises MailError: UNAVAILABLE, INTERNAL for a damaged hash."""
        return await self._run(lambda: self._verify(password_hash, password))

    def is_outdated(self, password_hash: str) -> bool:
        """Whether a new hash would be made otherwise."""
        return is_foreign(password_hash) or self._hasher.check_needs_rehash(password_hash)

    async def verify_nothing(self, password: str) -> None:
        """Costs what `verify` costs."""
        await self.verify(_NOBODYS_HASH, password)

    def close(self) -> None:
        """Takes no more; what waits is still answered, then the threads go."""
        self._closed = True
        self._executor.shutdown(wait=False)

    def _verify(self, password_hash: str, password: str) -> bool:
        try:
            if is_foreign(password_hash):
                return verify_foreign(password_hash, password)
            return self._hasher.verify(password_hash, password)
        except argon2.exceptions.VerificationError:
            return False
        except argon2.exceptions.InvalidHashError as error:
            raise MailError(ErrorKind.INTERNAL, "a stored password hash is damaged") from error

    async def _run(self, work: Callable[[], Result]) -> Result:
        if self._closed:
            raise MailError(ErrorKind.UNAVAILABLE, "directory is shutting down")
        if self._count >= self._limit:
            raise MailError(ErrorKind.UNAVAILABLE, "too many logins at once, try again")
        self._count += 1
        self._waiting.set(self._count)
        try:
            return await asyncio.get_running_loop().run_in_executor(self._executor, self._timed(work))
        finally:
            self._count -= 1
            self._waiting.set(self._count)

    def _timed(self, work: Callable[[], Result]) -> Callable[[], Result]:
        def run() -> Result:
            with self._seconds.time():
                return work()

        return run


def _encode(octets: bytes) -> str:
    return base64.b64encode(octets).decode("ascii").rstrip("=")


_NOBODYS_HASH = (
    f"$argon2id$v=19$m={MEMORY_KIB},t={PASSES},p={LANES}${_encode(bytes(_SALT_OCTETS))}${_encode(bytes(_HASH_OCTETS))}"
)
"""Of the right form and price; no password leads to a digest of zeros."""
