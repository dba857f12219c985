"""Names and networks of hosts: the mail server's location, other takers of a domain's mail, blocked networks."""

import ipaddress
from collections.abc import Collection, Sequence
from typing import Final

from postbusd.directory.administration.refusals import conflict, invalid
from postbusd.directory.names import read_domain

MAX_MAIL_HOSTS: Final = 50
"""Names of all domains together, besides the installation's own: all stand in the server's certificate."""
MAX_ALTERNATE_MX: Final = 20
"""Of one domain."""


def check_mail_host(text: str) -> str:
    """The mail server's location; empty: none is named. Raises MailError: INVALID."""
    return _check_name("mail_host", text) if text else ""


def check_mail_hosts(names: Collection[str]) -> None:
    """All that domains name, each once. Raises MailError: CONFLICT."""
    if len(names) > MAX_MAIL_HOSTS:
        raise conflict("mail_host", f"at most {MAX_MAIL_HOSTS} names in all: one certificate holds them")


def check_alternate_mx(entries: Sequence[str]) -> tuple[str, ...]:
    """Networks in their order, then names of hosts. Raises MailError: INVALID."""
    if len(entries) > MAX_ALTERNATE_MX:
        raise invalid("alternate_mx", f"at most {MAX_ALTERNATE_MX}")
    networks = [each for each in entries if _is_network(each)]
    names = {_check_name("alternate_mx", each) for each in entries if not _is_network(each)}
    return (*check_networks("alternate_mx", networks, MAX_ALTERNATE_MX), *sorted(names))


def check_networks(field: str, networks: Sequence[str], most: int) -> tuple[str, ...]:
    """Networks in their order, each once. Raises MailError: INVALID."""
    if len(networks) > most:
        raise invalid(field, f"at most {most} networks")
    found = set()
    for text in networks:
        try:
            network = ipaddress.ip_network(text)
        except ValueError:
            raise invalid(field, f"a network as 192.0.2.0/24 or 2001:db8::/32; not {text[:60]!r}") from None
        if network.prefixlen < network.max_prefixlen // 16:
            raise invalid(field, f"{text} is too large")
        found.add(network)
    return tuple(map(str, sorted(found, key=lambda each: (each.version, each.network_address, each.prefixlen))))


def _is_network(text: str) -> bool:
    return "/" in text or ":" in text or text.rpartition(".")[2].isdigit()


def _check_name(field: str, text: str) -> str:
    name = read_domain(field, text)
    labels = name.split(".")
    if len(labels) < 2 or labels[-1].isdigit():
        raise invalid(field, "the name of a host: two labels or more, no IP address")
    return name
