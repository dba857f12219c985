"""From a next hop to the addresses to try, in order (RFC 5321 §5.1).

MXs by preference, those of equal preference shuffled; without MX the domain's own addresses; a null MX is a refusal
(RFC 7505). MXs that are not better than ourselves are dropped, so that mail never comes back. What a stranger's DNS
leads to obeys the egress rule; a smart host, named by an administrator, does not.
"""

import ipaddress
import itertools
from collections.abc import Collection, Sequence
from random import Random
from typing import Final

import msgspec

from postbus.core.egress import Network, is_allowed
from postbus.core.errors import ErrorKind, MailError
from postbus.runtime.dns import DnsStatus, MxRecord, RecordType, Resolver
from postbusd.delivery.outbound.transmit_answers import Answer, blame_relay, deferred, failed
from postbusd.delivery.outbound.values import NextHop

MAX_ADDRESSES: Final = 5
"""Tried in one attempt; RFC 5321 §5.1 asks for two at least."""
MAX_EXCHANGES: Final = 20
"""MX hosts looked at; a domain with hundreds is an attack on resolvers."""


class Endpoint(msgspec.Struct, frozen=True):
    """Where to connect."""

    host: str
    """The MX's or smart host's name; of an address literal the address."""
    address: str
    port: int


class Road(msgspec.Struct, frozen=True, kw_only=True):
    """The endpoints to try in order, or why there are none."""

    endpoints: tuple[Endpoint, ...] = ()
    answer: Answer | None = None


class _Found(msgspec.Struct, frozen=True):
    """Addresses of one host; `away`: the DNS could not say (all)."""

    addresses: tuple[str, ...]
    away: bool


class Router:
    """Asks the DNS for roads; keeps nothing, the resolver does."""

    def __init__(  # what the administrator said, and ports
        self,
        *,
        resolver: Resolver,
        mail_host: str,
        mx_port: int,
        egress_allow: Sequence[Network],
        random: Random,
        own_endpoints: Collection[tuple[str, int]] = (),
    ) -> None:
        """`own_endpoints`: addresses and ports on which this installation takes mail, where they are known."""
        self._resolver = resolver
        self._mail_host = mail_host.lower()
        self._mx_port = mx_port
        self._egress_allow = egress_allow
        self._random = random
        self._own = frozenset(own_endpoints)

    async def find(self, next_hop: NextHop) -> Road:
        """The road; never raises but for cancellation."""
        if next_hop.relay is not None:
            return await self._find_relay(next_hop.relay.host, next_hop.relay.port)
        if next_hop.domain.startswith("["):
            return self._judge([Endpoint(literal := _parse_literal(next_hop.domain), literal, self._mx_port)], False)
        try:
            answer = await self._resolver.resolve(next_hop.domain, RecordType.MX)
        except MailError as error:
            return Road(answer=_dns_answer(error, next_hop.domain))
        if answer.status is DnsStatus.NXDOMAIN:
            return Road(answer=failed("5.1.2", f"the domain {next_hop.domain} does not exist"))
        exchanges = answer.exchanges()
        if len(exchanges) == 1 and not exchanges[0].exchange:
            return Road(answer=failed("5.1.10", f"556 5.1.10 {next_hop.domain} takes no mail (null MX)"))
        usable = [record for record in exchanges if record.exchange]
        return await self._find_hosts(usable or [MxRecord(0, next_hop.domain)])

    async def _find_relay(self, host: str, port: int) -> Road:
        literal = _parse_literal(host)
        if literal:
            return Road(endpoints=(Endpoint(literal, literal, port),))
        try:
            found = await self._find_addresses(host)
        except MailError as error:
            return Road(answer=blame_relay(_dns_answer(error, host)))
        if found.addresses:
            return Road(endpoints=tuple(Endpoint(host, address, port) for address in found.addresses[:MAX_ADDRESSES]))
        status, reason = ("4.4.3", "can't be looked up now") if found.away else ("4.4.4", "has no address")
        return Road(answer=blame_relay(deferred(status, f"smart host {host} {reason}")))

    async def _find_hosts(self, exchanges: Sequence[MxRecord]) -> Road:
        """Up to MAX_ADDRESSES endpoints, best preference first, down to our own."""
        endpoints: list[Endpoint] = []
        away = False
        for _, equals in itertools.groupby(exchanges[:MAX_EXCHANGES], key=lambda record: record.preference):
            hosts = [record.exchange for record in equals]
            self._random.shuffle(hosts)
            group: list[Endpoint] = []
            is_own = self._mail_host in hosts
            for host in () if is_own else hosts:
                try:
                    found = await self._find_addresses(host)
                except MailError:
                    continue
                away = away or found.away
                group += [Endpoint(host, address, self._mx_port) for address in found.addresses]
            if is_own or any((endpoint.address, endpoint.port) in self._own for endpoint in group):
                if endpoints or away:
                    break
                return Road(answer=failed("5.4.6", f"mail for {exchanges[0].exchange} loops back to this host"))
            endpoints += group
            if len(endpoints) >= MAX_ADDRESSES:
                break
        return self._judge(endpoints, away)

    def _judge(self, endpoints: Sequence[Endpoint], away: bool) -> Road:
        """Leaves what the egress rule allows."""
        allowed = tuple(endpoint for endpoint in endpoints if is_allowed(endpoint.address, self._egress_allow))
        if allowed:
            return Road(endpoints=allowed[:MAX_ADDRESSES])
        if away:
            return Road(answer=deferred("4.4.3", "addresses of the MX hosts can't be looked up now"))
        if endpoints:
            text = f"{endpoints[0].host} has a private address that mail is not sent to (POSTBUS_DELIVERY_EGRESS_ALLOW)"
            return Road(answer=failed("5.4.4", text))
        return Road(answer=failed("5.4.4", "no MX host has an address"))

    async def _find_addresses(self, host: str) -> _Found:
        """IPv4 and IPv6 by turns, IPv4 first: receivers are stricter with IPv6. Raises MailError: INVALID."""
        lists: list[tuple[str, ...]] = []
        away = False
        for kind in (RecordType.A, RecordType.AAAA):
            try:
                lists.append((await self._resolver.resolve(host, kind)).hosts())
            except MailError as error:
                if error.kind is ErrorKind.INVALID:
                    raise
                away = True
        turns = itertools.chain.from_iterable(itertools.zip_longest(*lists))
        return _Found(tuple(address for address in turns if address is not None), away)


def _parse_literal(text: str) -> str:
    """The address of a literal (RFC 5321 §4.1.3) or of a bare address; empty: it is none."""
    inner = text.removeprefix("[").removesuffix("]")
    if inner.lower().startswith("ipv6:"):
        inner = inner[5:]
    try:
        return str(ipaddress.ip_address(inner))
    except ValueError:
        return ""


def _dns_answer(error: MailError, name: str) -> Answer:
    if error.kind is ErrorKind.INVALID:
        return failed("5.1.2", f"{name} is not a domain name")
    return deferred("4.4.3", f"the DNS gives no answer for {name}")
