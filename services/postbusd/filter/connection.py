"""Judges a connection by the client's address alone: the DNSBLs that refuse, and its forward-confirmed name."""

import asyncio

import msgspec

from postbus.contracts.filter import CheckConnectionReply, CheckConnectionRequest, TestHit, Verdict
from postbus.contracts.policy import DnsblMode
from postbus.core.errors import MailError
from postbus.runtime.dns import Resolver
from postbus.runtime.policy import PolicyWatch
from postbus.spam.scores import SCORES
from postbusd.filter.client_name import find_client_name, is_checkable
from postbusd.filter.dnsbl import DnsblChecker, refusal_of
from postbusd.filter.hops import AlternateHosts
from postbusd.filter.metrics import FilterMetrics


class ConnectionChecker:
    """Implements `postbus.contracts.filter.ConnectionFilter`."""

    def __init__(
        self,
        resolver: Resolver,
        metrics: FilterMetrics,
        deadline_seconds: float,
        *,
        policy: PolicyWatch,
        dnsbls: DnsblChecker,
        alternates: AlternateHosts,
    ) -> None:
        self._resolver = resolver
        self._metrics = metrics
        self._deadline_seconds = deadline_seconds
        self._policy = policy
        self._dnsbls = dnsbls
        self._alternates = alternates

    async def check_connection(self, request: CheckConnectionRequest) -> CheckConnectionReply:
        """REJECT where a list says so; else the client's name and what its absence weighs; never raises MailError."""
        named, refusal = await asyncio.gather(self._name(request), self._refuse(request.client_address))
        reply = msgspec.structs.replace(named, verdict=Verdict.REJECT, reply_text=refusal) if refusal else named
        self._metrics.connections.labels(reply.verdict.value).inc()
        return reply

    async def _refuse(self, address: str) -> str:
        """Empty: no list that refuses has the client, or it is an alternate MX."""
        lists = [each for each in self._policy.policy.dnsbls if each.mode is DnsblMode.REFUSE]
        hits = await self._dnsbls.find(address, lists, self._deadline_seconds)
        if not hits or await self._alternates.has(address, self._policy.alternate_mx):
            return ""
        return refusal_of(address, hits[0])

    async def _name(self, request: CheckConnectionRequest) -> CheckConnectionReply:
        name, test = "", ""
        if is_checkable(request.client_address):
            try:
                async with asyncio.timeout(self._deadline_seconds):
                    name = await find_client_name(request.client_address, self._resolver)
                test = "" if name else "RDNS_NONE"
            except (TimeoutError, MailError):
                test = "RDNS_UNAVAILABLE"
        tests = (TestHit(name=test, score=SCORES[test]),) if test else ()
        return CheckConnectionReply(verdict=Verdict.ACCEPT, tests=tests, client_name=name)
