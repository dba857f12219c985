"""Composition root of filter."""

from concurrent.futures import ThreadPoolExecutor

from postbus.runtime.dns import DnsResolver
from postbus.runtime.policy import PolicyWatch
from postbus.runtime.service import Context, ServiceSpec
from postbusd.filter.adapters.pyspf import PyspfEvaluator
from postbusd.filter.checks import MessageChecks
from postbusd.filter.connection import ConnectionChecker
from postbusd.filter.custom_rules import CustomRules
from postbusd.filter.dkim import DkimVerifier
from postbusd.filter.dnsbl import DnsblChecker
from postbusd.filter.hops import AlternateHosts
from postbusd.filter.metrics import FilterMetrics
from postbusd.filter.reader import MessageReader
from postbusd.filter.service import FilterService
from postbusd.filter.settings import FilterSettings


class RunningFilter:
    """What the process holds."""

    def __init__(
        self,
        context: Context,
        service: FilterService,
        *,
        watches: tuple[PolicyWatch, CustomRules],
        resolver: DnsResolver,
        executors: tuple[ThreadPoolExecutor, ...],
    ) -> None:
        self._context = context
        self._policy, self._rules = watches
        self._service = service
        self._resolver = resolver
        self._executors = executors

    @property
    def port(self) -> FilterService:
        """The implementation of the contract."""
        return self._service

    async def start(self) -> None:
        """Nothing listens here: the process serves the port."""
        await self._policy.listen(self._context.bus)
        self._context.spawn("policy", self._policy.run)
        self._context.spawn("rules", self._rules.run)

    async def drain(self) -> None:
        """Ends look-ups; threads end by their own deadlines."""
        await self._resolver.close()
        for executor in self._executors:
            executor.shutdown(wait=False, cancel_futures=True)


async def build(context: Context, settings: FilterSettings) -> RunningFilter:
    """Puts the service together: one resolver, two bounded pools."""
    metrics = FilterMetrics(context.registry)
    resolver = DnsResolver(
        context.runtime.resolver,
        timeout_seconds=settings.dns_seconds,
        clock=context.clock,
        observe=metrics.count_dns,
    )
    spf_pool = ThreadPoolExecutor(settings.spf_threads, thread_name_prefix="filter-spf")
    hash_pool = ThreadPoolExecutor(settings.hash_threads, thread_name_prefix="filter-hash")
    mail_host = context.runtime.mail_host
    rules = CustomRules(metrics)
    policy = PolicyWatch(context.rpc.directory, rules.set)
    dnsbls = DnsblChecker(resolver, metrics)
    alternates = AlternateHosts(resolver, settings.connection_seconds)
    checks = MessageChecks(
        resolver=resolver,
        dnsbls=dnsbls,
        spf=PyspfEvaluator(resolver, spf_pool, context.clock, mail_host),
        dkim=DkimVerifier(resolver, hash_pool, context.clock, settings.max_signatures),
        metrics=metrics,
        deadline_seconds=settings.check_seconds,
    )
    service = FilterService(
        settings=settings,
        mail_host=mail_host,
        reader=MessageReader(context.blobs, hash_pool, context.clock),
        checks=checks,
        connections=ConnectionChecker(
            resolver,
            metrics,
            settings.connection_seconds,
            policy=policy,
            dnsbls=dnsbls,
            alternates=alternates,
        ),
        alternates=alternates,
        metrics=metrics,
        policy=policy,
        rules=rules,
    )
    return RunningFilter(context, service, watches=(policy, rules), resolver=resolver, executors=(spf_pool, hash_pool))


SPEC = ServiceSpec(name="filter", settings=FilterSettings, build=build)
