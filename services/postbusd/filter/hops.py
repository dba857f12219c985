"""Who a message is judged by: the client, or, where that is an alternate MX, whoever gave it the message.

An alternate MX (a backup MX, a filtering service) is named by the administrator; its Received fields are believed, and
no others: the way down ends at the first host that is neither one of them nor of a private network.
"""

import asyncio
import ipaddress
import re
from collections.abc import Sequence
from typing import Final

import msgspec

from postbus.core.errors import MailError
from postbus.runtime.dns import RecordType, Resolver

MAX_HOPS: Final = 10

_INNER: Final = tuple(
    ipaddress.ip_network(each)
    for each in (
        "127.0.0.0/8",
        "10.0.0.0/8",
        "172.16.0.0/12",
        "192.168.0.0/16",
        "100.64.0.0/10",
        "169.254.0.0/16",
        "::1/128",
        "fc00::/7",
        "fe80::/10",
    )
)
_RECEIVED = re.compile(r"\s*from\s+(\S{1,255})(.*?)(?:\sby\s|\Z)", re.IGNORECASE | re.DOTALL)
_ADDRESS = re.compile(r"\[(?:IPv6:)?([0-9a-f.:]{2,45})\]", re.IGNORECASE)


class Hop(msgspec.Struct, frozen=True):
    """A host that handed a message on."""

    address: str
    """Empty: a field that can't be read hides it."""
    helo: str


class AlternateHosts:
    """The alternate MXs of all domains."""

    def __init__(self, resolver: Resolver, seconds: float) -> None:
        self._resolver = resolver
        self._seconds = seconds

    async def has(self, address: str, entries: Sequence[str]) -> bool:
        """Whether an entry, a network or a host's name, has the address; a name that the DNS can't tell has not."""
        try:
            given = ipaddress.ip_address(address)
        except ValueError:
            return False
        given = getattr(given, "ipv4_mapped", None) or given
        names = []
        for entry in entries:
            if "/" not in entry:
                names.append(entry)
            elif given in ipaddress.ip_network(entry):
                return True
        found = await asyncio.gather(*(self._addresses(name, given.version) for name in names))
        return any(ipaddress.ip_address(each) == given for addresses in found for each in addresses)

    async def _addresses(self, name: str, version: int) -> tuple[str, ...]:
        try:
            async with asyncio.timeout(self._seconds):
                answer = await self._resolver.resolve(name, RecordType.A if version == 4 else RecordType.AAAA)
        except (TimeoutError, MailError):
            return ()
        return answer.hosts()

    async def find_source(self, client: Hop, received: Sequence[str], entries: Sequence[str]) -> Hop:
        """The hop that is judged; `received` are the message's own Received fields, the newest first."""
        if not entries or not await self.has(client.address, entries):
            return client
        for field in received[:MAX_HOPS]:
            hop = read_received(field)
            if not hop.address or not (_is_inner(hop.address) or await self.has(hop.address, entries)):
                return hop
        return Hop("", "")


def read_received(field: str) -> Hop:
    """Who sent it, as the host that wrote the field says (RFC 5321 §4.4): HELO name, and the address in brackets."""
    found = _RECEIVED.match(field)
    if found is None:
        return Hop("", "")
    addresses = _ADDRESS.findall(found[2])
    if not addresses and found[1].startswith("["):
        addresses = _ADDRESS.findall(found[1])
    for text in addresses:
        try:
            return Hop(str(ipaddress.ip_address(text)), found[1])
        except ValueError:
            continue
    return Hop("", "")


def _is_inner(address: str) -> bool:
    given = ipaddress.ip_address(address)
    return any(given.version == each.version and given in each for each in _INNER)
