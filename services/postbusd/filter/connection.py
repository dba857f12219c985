"""Judges a connection by the client's address alone: its forward-confirmed name."""

import asyncio

from postbus.contracts.filter import CheckConnectionReply, CheckConnectionRequest, TestHit, Verdict
from postbus.core.errors import MailError
from postbus.runtime.dns import Resolver
from postbus.spam.scores import SCORES
from postbusd.filter.client_name import find_client_name, is_checkable
from postbusd.filter.metrics import FilterMetrics


class ConnectionChecker:
    """Implements `postbus.contracts.filter.ConnectionFilter`; every client is accepted so far."""

    def __init__(self, resolver: Resolver, metrics: FilterMetrics, deadline_seconds: float) -> None:
        self._resolver = resolver
        self._metrics = metrics
        self._deadline_seconds = deadline_seconds

    async def check_connection(self, request: CheckConnectionRequest) -> CheckConnectionReply:
        """The client's name and what its absence weighs; never raises MailError."""
        name, test = "", ""
        if is_checkable(request.client_address):
            try:
                async with asyncio.timeout(self._deadline_seconds):
                    name = await find_client_name(request.client_address, self._resolver)
                test = "" if name else "RDNS_NONE"
            except (TimeoutError, MailError):
                test = "RDNS_UNAVAILABLE"
        self._metrics.connections.labels(Verdict.ACCEPT.value).inc()
        tests = (TestHit(name=test, score=SCORES[test]),) if test else ()
        return CheckConnectionReply(verdict=Verdict.ACCEPT, tests=tests, client_name=name)
