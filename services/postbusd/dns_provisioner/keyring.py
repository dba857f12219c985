"""DKIM keys of domains: made at the first question, handed out to delivery; replicas agree through the store.

A domain is ours when directory says so. While directory is away, keys that exist are handed out all the same: only
mail of a domain that directory routes is ever signed.
"""

import asyncio
import logging

from postbus.contracts.dns_provisioner import DkimKey, GetDkimKeysReply, GetDkimKeysRequest
from postbus.contracts.objects import ObjectRequest
from postbus.core.address import parse_domain
from postbus.core.errors import ErrorKind, MailError
from postbus.runtime.sealing import Sealer
from postbusd.dns_provisioner.dkim_keys import FIRST_ALGORITHMS, make_private_key, name_selector
from postbusd.dns_provisioner.ports import DkimKeyStore, Domains
from postbusd.dns_provisioner.values import PublicDkimKey, SealedDkimKey

log = logging.getLogger(__name__)

ACTOR = "admin"
"""As whom this service asks directory for itself."""


class DkimKeyring:
    """Implements `postbus.contracts.dns_provisioner.DkimKeySource`."""

    def __init__(self, store: DkimKeyStore, sealer: Sealer, directory: Domains) -> None:
        self._store = store
        self._sealer = sealer
        self._directory = directory
        self._making = asyncio.Lock()
        """One at a time: a thread computes for a while, and those who ask for the same domain then find its keys."""

    async def get_dkim_keys(self, request: GetDkimKeysRequest) -> GetDkimKeysReply:
        """See `DkimKeySource.get_dkim_keys`."""
        domain = parse_domain(request.domain)
        try:
            await self._directory.get_domain(ObjectRequest(name=domain, actor=ACTOR))
        except MailError as error:
            present = () if error.kind is not ErrorKind.UNAVAILABLE else await self._store.load_keys(domain)
            if not present:
                raise
            return GetDkimKeysReply(keys=tuple(self._open(key) for key in present))
        return GetDkimKeysReply(keys=tuple(self._open(key) for key in await self._ensure(domain)))

    async def ensure_public_keys(self, domain: str) -> tuple[PublicDkimKey, ...]:
        """What DNS must say of the keys of a domain that is known to be ours. Raises MailError: UNAVAILABLE."""
        return tuple(
            PublicDkimKey(selector=key.selector, algorithm=key.algorithm, public_key=key.public_key)
            for key in await self._ensure(domain)
        )

    async def _ensure(self, domain: str) -> tuple[SealedDkimKey, ...]:
        present = await self._store.load_keys(domain)
        if present:
            return present
        async with self._making:
            present = await self._store.load_keys(domain)
            if present:
                return present
            installation_id = await self._store.load_installation_id()
            made = await asyncio.to_thread(self._make_pair, domain, installation_id)
            keys = await self._store.add_keys(domain, made)
        if keys[0].public_key == made[0].public_key:
            log.info("dkim.keys.made", extra={"domain": domain, "selectors": [key.selector for key in keys]})
        return keys

    def _make_pair(self, domain: str, installation_id: str) -> tuple[SealedDkimKey, ...]:
        keys = []
        for number, algorithm in enumerate(FIRST_ALGORITHMS, start=1):
            pem, public_key = make_private_key(algorithm)
            selector = name_selector(installation_id, number)
            sealed = self._sealer.seal(pem, f"dkim:{domain}:{selector}")
            keys.append(
                SealedDkimKey(
                    domain=domain, selector=selector, algorithm=algorithm, key_sealed=sealed, public_key=public_key
                )
            )
        return tuple(keys)

    def _open(self, key: SealedDkimKey) -> DkimKey:
        return DkimKey(
            domain=key.domain,
            selector=key.selector,
            algorithm=key.algorithm,
            private_key_pem=self._sealer.open(key.key_sealed, key.seal_owner),
        )
