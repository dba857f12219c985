"""A filter with its surroundings, on a DNS and a blob store in memory."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

import msgspec
from prometheus_client import CollectorRegistry

from postbus.contracts import Empty
from postbus.contracts.filter import CheckMessageReply, CheckMessageRequest
from postbus.contracts.policy import Policy, PolicyReply
from postbus.core.clock import SystemClock
from postbus.core.ids import QueueId
from postbus.runtime.dns import DnsAnswer, RecordType, Resolver
from postbus.runtime.policy import PolicyWatch
from postbus.testing.blobs import MemoryBlobStore
from postbus.testing.dns import FakeResolver
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

DEFAULTS = FilterSettings()
NOW_MS = 1_795_348_800_000
MESSAGE = (
    b"From: Anna <anna@example.com>\r\nTo: ben@demo.example\r\nSubject: Lunch\r\n"
    b"Date: Sun, 22 Nov 2026 12:00:00 +0000\r\nMessage-ID: <1@example.com>\r\n\r\nAt noon?\r\n"
)


class NovemberClock(SystemClock):
    """Always the same time."""

    def now_ms(self) -> int:
        """Of the messages."""
        return NOW_MS


class SilentResolver:
    """A server that never answers."""

    async def resolve(self, name: str, record_type: RecordType) -> DnsAnswer:
        """Waits, for ever."""
        await asyncio.Event().wait()
        raise AssertionError

    def cached(self, name: str, record_type: RecordType) -> DnsAnswer | None:
        """Nothing."""
        return None


class FilterBench:
    """A filter with its surroundings."""

    def __init__(self, executor: ThreadPoolExecutor) -> None:
        self.executor = executor
        self.zone = FakeResolver()
        self.blobs = MemoryBlobStore()
        self.registry = CollectorRegistry()
        self.metrics = FilterMetrics(self.registry)
        self.reply = Policy()
        self.rules = CustomRules(self.metrics)
        self.policy = PolicyWatch(self, self.rules.set)
        self.zone.add_names("1.2.0.192.in-addr.arpa", RecordType.PTR, "out.example.com")
        self.zone.add_address("out.example.com", "192.0.2.1")
        self.zone.add_txt("example.com", "v=spf1 ip4:192.0.2.1 -all")

    def service(self, settings: FilterSettings = DEFAULTS, resolver: Resolver | None = None) -> FilterService:
        """The service itself."""
        resolver = resolver or self.zone
        clock = NovemberClock()
        metrics = self.metrics
        dnsbls = DnsblChecker(resolver, metrics)
        alternates = AlternateHosts(resolver, settings.connection_seconds)
        checks = MessageChecks(
            resolver=resolver,
            dnsbls=dnsbls,
            spf=PyspfEvaluator(resolver, self.executor, clock, "mail.demo.example"),
            dkim=DkimVerifier(resolver, self.executor, clock, settings.max_signatures),
            metrics=metrics,
            deadline_seconds=settings.check_seconds,
        )
        return FilterService(
            settings=settings,
            mail_host="mail.demo.example",
            reader=MessageReader(self.blobs, self.executor, clock),
            checks=checks,
            connections=ConnectionChecker(
                resolver,
                metrics,
                settings.connection_seconds,
                policy=self.policy,
                dnsbls=dnsbls,
                alternates=alternates,
            ),
            alternates=alternates,
            metrics=metrics,
            policy=self.policy,
            rules=self.rules,
        )

    async def find_policy(self, request: Empty) -> PolicyReply:
        """directory's word."""
        return PolicyReply(policy=self.reply, revision=1)

    async def check(
        self, content: bytes = MESSAGE, settings: FilterSettings = DEFAULTS, **changes: object
    ) -> CheckMessageReply:
        """The word on a message; `changes`: of the request."""
        return await self.service(settings).check_message(request(content, **changes))


def request(content: bytes = MESSAGE, **changes: object) -> CheckMessageRequest:
    """A message of Anna's, from her server."""
    asked = CheckMessageRequest(
        queue_id=QueueId("0" * 26),
        client_address="192.0.2.1",
        helo="out.example.com",
        reverse_path="anna@example.com",
        recipients=(),
        content=content,
        size_octets=len(content),
    )
    return msgspec.structs.replace(asked, **changes)


def names(reply: CheckMessageReply) -> set[str]:
    """The tests that matched."""
    return {hit.name for hit in reply.tests}
