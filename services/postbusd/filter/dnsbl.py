"""DNSBLs (RFC 5782): whether lists of spammers' addresses have a client.

Never asked about addresses that are not public. An answer outside 127.0.0.0/8 is a parked domain's, one in
127.255.255.0/24 says that the list does not answer us (a public resolver, too many questions): neither is a listing. A
list that is silent or says so is skipped and counted.
"""

import asyncio
import ipaddress
import logging
import re
from collections.abc import Sequence
from typing import Final

from postbus.contracts.policy import Dnsbl
from postbus.core.egress import is_allowed
from postbus.core.errors import MailError
from postbus.runtime.dns import RecordType, Resolver, reverse_name
from postbusd.filter.client_name import plain_address
from postbusd.filter.metrics import FilterMetrics

log = logging.getLogger(__name__)

MAX_REPLY_CHARACTERS: Final = 400
_LISTED: Final = ipaddress.IPv4Network("127.0.0.0/8")
_ERROR: Final = ipaddress.IPv4Network("127.255.255.0/24")


class DnsblChecker:
    """Asks the lists side by side."""

    def __init__(self, resolver: Resolver, metrics: FilterMetrics) -> None:
        self._resolver = resolver
        self._metrics = metrics
        self._broken: set[str] = set()
        """Told in the log once, until they answer again."""

    async def find(self, address: str, dnsbls: Sequence[Dnsbl], seconds: float) -> tuple[Dnsbl, ...]:
        """The lists that have the address, in the given order; never raises MailError."""
        if not dnsbls or not is_allowed(address, ()):
            return ()
        reverse = reverse_name(plain_address(address)).removesuffix(".in-addr.arpa").removesuffix(".ip6.arpa")
        found = await asyncio.gather(*(self._ask(reverse, each.zone, seconds) for each in dnsbls))
        return tuple(each for each, listed in zip(dnsbls, found, strict=True) if listed)

    async def _ask(self, reverse: str, zone: str, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                answer = await self._resolver.resolve(f"{reverse}.{zone}", RecordType.A)
        except (TimeoutError, MailError) as error:
            self._note(zone, "silent", str(error) or "no answer in time")
            return False
        codes = [ipaddress.IPv4Address(host) for host in answer.hosts()]
        refusals = [code for code in codes if code in _ERROR]
        strangers = [code for code in codes if code not in _LISTED]
        if refusals or strangers:
            self._note(zone, "error", f"it answers {', '.join(map(str, [*refusals, *strangers][:5]))}")
            return False
        self._note(zone, "listed" if codes else "clear", "")
        return bool(codes)

    def _note(self, zone: str, result: str, reason: str) -> None:
        self._metrics.dnsbl.labels(result).inc()
        if reason and zone not in self._broken:
            self._broken.add(zone)
            log.warning("filter.dnsbl.broken", extra={"zone": zone, "reason": reason})
        elif not reason and zone in self._broken:
            self._broken.discard(zone)
            log.info("filter.dnsbl.back", extra={"zone": zone})


def refusal_of(address: str, dnsbl: Dnsbl) -> str:
    """What a refused client is told: which list, and where to ask it."""
    told = f"{address} is listed at {dnsbl.zone}"
    if dnsbl.lookup_url:
        told += f", see {dnsbl.lookup_url.replace('{address}', address)}"
    return told[:MAX_REPLY_CHARACTERS]


def name_test(dnsbl: Dnsbl) -> str:
    """As X-Spam-Status shows a hit."""
    return f"DNSBL_{re.sub('[^A-Z0-9]', '_', dnsbl.zone.upper())}"
