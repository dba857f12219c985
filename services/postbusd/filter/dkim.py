"""DKIM verification (RFC 6376): keys of all signatures are asked for side by side, each canonical body is hashed once.

Nothing here blocks the loop: look-ups are asynchronous, bodies over LARGE_BODY_OCTETS are hashed in a bounded pool.
"""

import asyncio
import enum
import hashlib
from collections.abc import Sequence
from concurrent.futures import Executor
from typing import Final

import msgspec

from postbus.core.clock import Clock
from postbus.core.errors import ErrorKind, MailError
from postbus.runtime.dns import RecordType, Resolver
from postbusd.filter.dkim_key import DkimKey, DkimKeyError, select_key
from postbusd.filter.dkim_signature import (
    SIGNATURE_FIELD,
    BodyHash,
    BodyHashKey,
    RawField,
    Signature,
    SignatureSyntaxError,
    hash_body,
    list_signed_octets,
    parse_signature,
)

LARGE_BODY_OCTETS: Final = 128 * 1024


class DkimResult(enum.StrEnum):
    """RFC 8601 §2.7.1."""

    PASS = "pass"  # noqa: S105
    FAIL = "fail"
    POLICY = "policy"
    """It verifies, but does not cover the whole body (l=)."""
    NEUTRAL = "neutral"
    """The signature field can't be read, or its key is on test and it does not verify."""
    TEMPERROR = "temperror"
    PERMERROR = "permerror"


class DkimOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one signature; names are empty where its field can't be read."""

    result: DkimResult
    domain: str = ""
    selector: str = ""
    algorithm: str = ""
    value_start: str = ""
    detail: str = ""


class SignedMessage(msgspec.Struct, frozen=True, kw_only=True):
    """A message with its header section taken apart."""

    content: bytes
    fields: tuple[RawField, ...]
    body_start: int


class DkimVerifier:
    """Verifies the signatures of a message, the topmost first."""

    def __init__(self, resolver: Resolver, executor: Executor, clock: Clock, max_signatures: int) -> None:
        self._resolver = resolver
        self._clock = clock
        self._executor = executor
        self._max_signatures = max_signatures

    async def verify(self, message: SignedMessage, deadline: float) -> tuple[DkimOutcome, ...]:
        """One outcome a signature, at most `max_signatures`; empty: the message has none.

        What is not finished at `deadline` (of the loop's clock) is TEMPERROR. Never raises MailError.
        """
        fields = [field for field in message.fields if field[0].rstrip(b" \t").lower() == SIGNATURE_FIELD]
        if not fields:
            return ()
        now_seconds = self._clock.now_ms() // 1000
        parsed = [_parse(field, now_seconds) for field in fields[: self._max_signatures]]
        signatures = [item for item in parsed if isinstance(item, Signature)]
        async with asyncio.TaskGroup() as group:
            keys = [group.create_task(self._find_key(signature, deadline)) for signature in signatures]
            hashing = group.create_task(self._hash_bodies(message, signatures, deadline))
        hashes = hashing.result()
        found = iter([key.result() for key in keys])
        return tuple(
            item if isinstance(item, DkimOutcome) else _conclude(item, next(found), message, hashes) for item in parsed
        )

    async def _hash_bodies(
        self, message: SignedMessage, signatures: Sequence[Signature], deadline: float
    ) -> dict[BodyHashKey, BodyHash | None] | None:
        keys = tuple({signature.body_hash_key: None for signature in signatures})
        if len(message.content) - message.body_start <= LARGE_BODY_OCTETS:
            return _hash_all(message, keys)
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout_at(deadline):
                return await loop.run_in_executor(self._executor, _hash_all, message, keys)
        except TimeoutError:
            return None

    async def _find_key(self, signature: Signature, deadline: float) -> DkimKey | DkimOutcome:
        try:
            async with asyncio.timeout_at(deadline):
                return select_key((await self._resolver.resolve(signature.key_name, RecordType.TXT)).texts())
        except TimeoutError:
            return _outcome(signature, DkimResult.TEMPERROR, "no answer for the key in time")
        except MailError as error:
            if error.kind is ErrorKind.INVALID:
                return _outcome(signature, DkimResult.PERMERROR, "bad key name")
            return _outcome(signature, DkimResult.TEMPERROR, "no answer for the key")
        except DkimKeyError as error:
            return _outcome(signature, DkimResult.PERMERROR, str(error))


def summarize(outcomes: Sequence[DkimOutcome]) -> str:
    """One word for the message: the best of its signatures; `none` without any."""
    found = {outcome.result for outcome in outcomes}
    return next((result.value for result in _BEST_FIRST if result in found), "none")


_BEST_FIRST: Final = (
    DkimResult.PASS,
    DkimResult.TEMPERROR,
    DkimResult.FAIL,
    DkimResult.POLICY,
    DkimResult.PERMERROR,
    DkimResult.NEUTRAL,
)


def _parse(field: RawField, now_seconds: int) -> Signature | DkimOutcome:
    try:
        return parse_signature(field, now_seconds)
    except SignatureSyntaxError as error:
        return DkimOutcome(result=DkimResult.NEUTRAL, detail=str(error))


def _hash_all(message: SignedMessage, keys: Sequence[BodyHashKey]) -> dict[BodyHashKey, BodyHash | None]:
    hashes: dict[BodyHashKey, BodyHash | None] = {}
    for key in keys:
        try:
            hashes[key] = hash_body(message.content, message.body_start, key)
        except SignatureSyntaxError:
            hashes[key] = None
    return hashes


def _conclude(
    signature: Signature,
    key: DkimKey | DkimOutcome,
    message: SignedMessage,
    hashes: dict[BodyHashKey, BodyHash | None] | None,
) -> DkimOutcome:
    if isinstance(key, DkimOutcome):
        return key
    if hashes is None:
        return _outcome(signature, DkimResult.TEMPERROR, "body not hashed in time")
    return _check(signature, key, message, hashes[signature.body_hash_key])


def _check(signature: Signature, key: DkimKey, message: SignedMessage, body: BodyHash | None) -> DkimOutcome:
    if key.algorithm != signature.algorithm:
        return _outcome(signature, DkimResult.PERMERROR, "key of another algorithm")
    if key.strict_identity and signature.identity_domain != signature.domain:
        return _outcome(signature, DkimResult.PERMERROR, "i= below d=")
    signed = list_signed_octets(signature, message.fields)
    digest = hashlib.sha256(signed).digest()
    if body is None or body.digest != signature.body_hash:
        detail = "body hash did not verify"
    elif not key.is_signature_of(signature.value, signed, digest):
        detail = "signature did not verify"
    elif not body.complete:
        return _outcome(signature, DkimResult.POLICY, "l= leaves part of the body unsigned")
    else:
        return _outcome(signature, DkimResult.PASS, "")
    return _outcome(signature, DkimResult.NEUTRAL if key.testing else DkimResult.FAIL, detail)


def _outcome(signature: Signature, result: DkimResult, detail: str) -> DkimOutcome:
    return DkimOutcome(
        result=result,
        domain=signature.domain,
        selector=signature.selector,
        algorithm=signature.algorithm,
        value_start=signature.value_start,
        detail=detail,
    )
