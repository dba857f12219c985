"""Signs outgoing mail by DKIM (RFC 6376): implements `Signer` with the keys that dns-provisioner keeps.

Keys are asked for once and kept: FRESH_SECONDS as they are, STALE_SECONDS while dns-provisioner is away. A domain that
is not ours any more leaves its mail unsigned, with a WARNING; keys that can't be had make it wait.
"""

import asyncio
import logging
from collections import OrderedDict
from typing import Final

import msgspec

from postbus.contracts.dns_provisioner import DkimKeySource, GetDkimKeysRequest
from postbus.core.clock import Clock
from postbus.core.errors import ErrorKind, MailError
from postbus.dkim.sign import SigningKey, load_signing_key, sign_message

log = logging.getLogger(__name__)

FRESH_SECONDS: Final = 600.0
STALE_SECONDS: Final = 86_400.0
RETRY_SECONDS: Final = 30.0
"""How long dns-provisioner is left alone after it failed while keys are at hand."""
MAX_DOMAINS: Final = 10_000
LARGE_OCTETS: Final = 64 * 1024
"""A larger message is signed in a thread."""


class _Known(msgspec.Struct, frozen=True, kw_only=True):
    keys: tuple[SigningKey, ...]
    loaded: float
    ask_after: float


class DkimSigner:
    """One per process; those who sign for a domain at the same time ask once."""

    def __init__(self, keys: DkimKeySource, clock: Clock) -> None:
        self._source = keys
        self._clock = clock
        self._known: OrderedDict[str, _Known] = OrderedDict()
        self._asking: dict[str, asyncio.Lock] = {}

    async def sign(self, domain: str, content: bytes) -> bytes:
        """See `Signer.sign`."""
        if not domain:
            return b""
        keys = await self._find_keys(domain)
        now_seconds = self._clock.now_ms() // 1000
        if len(content) > LARGE_OCTETS:
            return await asyncio.to_thread(sign_message, content, keys, now_seconds)
        return sign_message(content, keys, now_seconds)

    async def _find_keys(self, domain: str) -> tuple[SigningKey, ...]:
        """None for a domain that is not ours."""
        known = self._known.get(domain)
        if known is not None and self._clock.monotonic() < known.ask_after:
            return known.keys
        lock = self._asking.setdefault(domain, asyncio.Lock())
        try:
            async with lock:
                known = self._known.get(domain)
                if known is not None and self._clock.monotonic() < known.ask_after:
                    return known.keys
                return await self._ask(domain, known)
        finally:
            if not lock.locked():
                self._asking.pop(domain, None)

    async def _ask(self, domain: str, known: _Known | None) -> tuple[SigningKey, ...]:
        now = self._clock.monotonic()
        try:
            keys = await self._load(domain)
        except MailError as error:
            if error.kind is ErrorKind.NOT_FOUND:
                self._known.pop(domain, None)
                log.warning("delivery.signing.unsigned", extra={"domain": domain, "reason": str(error)})
                return ()
            if known is None or now >= known.loaded + STALE_SECONDS:
                raise MailError(ErrorKind.UNAVAILABLE, f"no DKIM keys of {domain} ({error.detail})") from error
            log.warning("delivery.signing.stale", extra={"domain": domain, "reason": str(error)})
            self._keep(domain, msgspec.structs.replace(known, ask_after=now + RETRY_SECONDS))
            return known.keys
        self._keep(domain, _Known(keys=keys, loaded=now, ask_after=now + FRESH_SECONDS))
        return keys

    async def _load(self, domain: str) -> tuple[SigningKey, ...]:
        reply = await self._source.get_dkim_keys(GetDkimKeysRequest(domain=domain))
        if not reply.keys:
            raise MailError(ErrorKind.UNAVAILABLE, "dns-provisioner has none")
        return tuple(
            load_signing_key(key.domain, key.selector, key.algorithm, key.private_key_pem) for key in reply.keys
        )

    def _keep(self, domain: str, known: _Known) -> None:
        self._known[domain] = known
        self._known.move_to_end(domain)
        while len(self._known) > MAX_DOMAINS:
            self._known.popitem(last=False)
