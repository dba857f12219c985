"""All look-ups for one message, side by side under one deadline: a missing one is a result, no error (promise 4)."""

import asyncio
import time
import zlib
from collections.abc import Coroutine
from typing import Any, TypeVar

import msgspec

from postbus.contracts.policy import Dnsbl
from postbus.core.errors import MailError
from postbus.dmarc.evaluate import Evaluation, Message
from postbus.runtime.dns import Resolver
from postbusd.filter.client_name import find_client_name, is_checkable
from postbusd.filter.dkim import DkimOutcome, DkimVerifier, SignedMessage, summarize
from postbusd.filter.dmarc import DmarcChecker, list_identifiers
from postbusd.filter.dnsbl import DnsblChecker
from postbusd.filter.metrics import FilterMetrics
from postbusd.filter.spf import SpfEvaluator, SpfOutcome, SpfRequest, SpfResult, make_request

Value = TypeVar("Value")


class CheckInput(msgspec.Struct, frozen=True, kw_only=True):
    """A message from outside with its envelope."""

    queue_id: str
    client_address: str
    """Empty: nobody knows it; SPF can't be told then."""
    client_name: str
    """As confirmed at connect; empty: not known."""
    helo: str
    reverse_path: str
    message: SignedMessage
    author_domain: str
    dnsbls: tuple[Dnsbl, ...] = ()
    """That a hit counts of."""


class CheckResults(msgspec.Struct, frozen=True, kw_only=True):
    """What the look-ups said."""

    spf: SpfOutcome
    dkim: tuple[DkimOutcome, ...]
    dmarc: Evaluation
    client_confirmed: bool | None
    """None: could not be finished."""
    dnsbls: tuple[Dnsbl, ...] = ()
    """That have the client's address."""

    @property
    def dkim_summary(self) -> str:
        """One word for all signatures."""
        return summarize(self.dkim)


class MessageChecks:
    """SPF, DKIM, DMARC and the client's name."""

    def __init__(
        self,
        *,
        resolver: Resolver,
        dnsbls: DnsblChecker,
        spf: SpfEvaluator,
        dkim: DkimVerifier,
        metrics: FilterMetrics,
        deadline_seconds: float,
    ) -> None:
        self._resolver = resolver
        self._dnsbls = dnsbls
        self._spf = spf
        self._dkim = dkim
        self._dmarc = DmarcChecker(resolver)
        self._metrics = metrics
        self._deadline_seconds = deadline_seconds

    async def run(self, asked: CheckInput) -> CheckResults:
        """All results within the deadline."""
        deadline = asyncio.get_running_loop().time() + self._deadline_seconds
        async with asyncio.TaskGroup() as group:
            spf = group.create_task(self._timed("spf", self._check_spf(asked, deadline)))
            dkim = group.create_task(self._timed("dkim", self._dkim.verify(asked.message, deadline)))
            rdns = group.create_task(self._timed("rdns", self._check_client(asked, deadline)))
            listed = group.create_task(self._dnsbls.find(asked.client_address, asked.dnsbls, self._deadline_seconds))
            policy = group.create_task(self._dmarc.prefetch(asked.author_domain, deadline))
        message = Message(
            author_domain=asked.author_domain,
            identifiers=list_identifiers(spf.result(), dkim.result()),
            sample=zlib.crc32(asked.queue_id.encode()) % 100,
        )
        evaluation = await self._timed("dmarc", self._dmarc.evaluate(message, policy.result(), deadline))
        results = CheckResults(
            spf=spf.result(),
            dkim=dkim.result(),
            dmarc=evaluation,
            client_confirmed=rdns.result(),
            dnsbls=listed.result(),
        )
        self._count(results)
        return results

    async def _timed(self, check: str, work: Coroutine[Any, Any, Value]) -> Value:
        started = time.perf_counter()
        try:
            return await work
        finally:
            self._metrics.check_seconds.labels(check).observe(time.perf_counter() - started)

    async def _check_spf(self, asked: CheckInput, deadline: float) -> SpfOutcome:
        request = make_request(asked.client_address, asked.helo, asked.reverse_path)
        if isinstance(request, SpfOutcome):
            unknown = request.domain and not asked.client_address
            return msgspec.structs.replace(request, result=SpfResult.TEMPERROR) if unknown else request
        return SpfOutcome(
            result=await self._evaluate_spf(request, deadline), identity=request.identity, domain=request.domain
        )

    async def _evaluate_spf(self, request: SpfRequest, deadline: float) -> SpfResult:
        try:
            async with asyncio.timeout_at(deadline):
                return await self._spf.evaluate(request, self._deadline_seconds)
        except TimeoutError:
            return SpfResult.TEMPERROR

    async def _check_client(self, asked: CheckInput, deadline: float) -> bool | None:
        if asked.client_name or not is_checkable(asked.client_address):
            return True
        try:
            async with asyncio.timeout_at(deadline):
                return bool(await find_client_name(asked.client_address, self._resolver))
        except (TimeoutError, MailError):
            return None

    def _count(self, results: CheckResults) -> None:
        rdns = {True: "pass", False: "none", None: "temperror"}[results.client_confirmed]
        self._metrics.checks.labels("spf", results.spf.result.value).inc()
        self._metrics.checks.labels("dkim", results.dkim_summary).inc()
        self._metrics.checks.labels("dmarc", results.dmarc.result.value).inc()
        self._metrics.checks.labels("rdns", rdns).inc()
