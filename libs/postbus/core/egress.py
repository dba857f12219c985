"""The egress rule (architecture §6): what a stranger's DNS, or URL, may make us connect to."""

import ipaddress
from collections.abc import Sequence
from typing import Final

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")


def is_allowed(address: str, allowed: Sequence[Network]) -> bool:
    """Whether we may connect to an address: a global unicast one, or one within `allowed`.

    An IPv6 address that carries an IPv4 one (mapped, 6to4, Teredo, NAT64) is judged as that too.
    """
    try:
        given = ipaddress.ip_address(address)
    except ValueError:
        return False
    if any(given in network for network in allowed):
        return True
    carried = _carried(given)
    if carried is not None:
        return is_allowed(str(carried), allowed)
    site_local = isinstance(given, ipaddress.IPv6Address) and given.is_site_local
    return given.is_global and not given.is_multicast and not given.is_reserved and not site_local


def _carried(given: ipaddress.IPv4Address | ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    if not isinstance(given, ipaddress.IPv6Address):
        return None
    if given in _NAT64:
        return ipaddress.IPv4Address(int(given) & 0xFFFFFFFF)
    teredo = given.teredo
    return given.ipv4_mapped or given.sixtofour or (teredo[1] if teredo else None)
