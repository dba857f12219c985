"""FCrDNS: a client's name is one of its PTR names that leads back to its address (RFC 8601 §3, `iprev`)."""

import asyncio
import ipaddress
from typing import Final

from postbus.core.errors import ErrorKind, MailError
from postbus.runtime.dns import RecordType, Resolver, reverse_name

MAX_NAMES: Final = 5
"""PTR names looked at; honest clients have one or two."""


def is_checkable(address: str) -> bool:
    """Whether the DNS can know the address: loopback and unparsable ones (a Unix socket) are not asked for."""
    try:
        return not ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


async def find_client_name(address: str, resolver: Resolver) -> str:
    """The confirmed name; empty: none. Raises MailError: UNAVAILABLE when a look-up that might have told failed."""
    plain = plain_address(address)
    names = (await resolver.resolve(reverse_name(plain), RecordType.PTR)).hosts()[:MAX_NAMES]
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(_leads_back(name, plain, resolver)) for name in names]
    results = [task.result() for task in tasks]
    confirmed = [name for name, result in zip(names, results, strict=True) if result]
    if not confirmed and None in results:
        raise MailError(ErrorKind.UNAVAILABLE, "dns: no answer for a client's name")
    return confirmed[0] if confirmed else ""


def plain_address(address: str) -> str:
    """An IPv4 address in IPv6 clothes is an IPv4 address."""
    parsed = ipaddress.ip_address(address)
    mapped = parsed.ipv4_mapped if isinstance(parsed, ipaddress.IPv6Address) else None
    return str(mapped or parsed)


async def _leads_back(name: str, address: str, resolver: Resolver) -> bool | None:
    """None: no answer."""
    try:
        answer = await resolver.resolve(name, RecordType.AAAA if ":" in address else RecordType.A)
    except MailError as error:
        return False if error.kind is ErrorKind.INVALID else None
    wanted = ipaddress.ip_address(address)
    return any(ipaddress.ip_address(host) == wanted for host in answer.hosts())
