"""A queue with everything around it in memory: a transmitter that answers as told, a signer, routes."""

import asyncio
import random
from collections import defaultdict
from collections.abc import Callable, Sequence

from prometheus_client import CollectorRegistry

from postbus.contracts.directory import FindRouteRequest, Route
from postbus.contracts.relays import Relay
from postbus.core.errors import MailError
from postbus.testing.blobs import MemoryBlobStore
from postbus.testing.directory import ManualClock
from postbus.testing.queue import NOW_MS, MemoryQueue
from postbusd.delivery.outbound.control import Control
from postbusd.delivery.outbound.handing import Handover, Parts, QueueMetrics
from postbusd.delivery.outbound.own_mail import OwnMail
from postbusd.delivery.outbound.ports import Load, Report
from postbusd.delivery.outbound.reporting import Reporter
from postbusd.delivery.outbound.scheduler import Scheduler
from postbusd.delivery.outbound.values import NextHop, Outcome, OutgoingMessage, RecipientResult
from postbusd.delivery.settings import DeliverySettings

Answer = Callable[[str], RecipientResult]


def answer(address: str, outcome: Outcome, reply: str, *, relay_failed: bool = False) -> RecipientResult:
    """What a remote said about a recipient."""
    return RecipientResult(
        address=address,
        outcome=outcome,
        reply=reply,
        status=reply.split(" ")[1],
        remote_host="mx.b.example",
        is_reply=True,
        relay_failed=relay_failed,
    )


def _unreachable(address: str) -> RecipientResult:
    return RecipientResult(address=address, outcome=Outcome.DEFERRED, reply="no connection", status="4.4.1")


class FakeTransmitter:
    """Remembers what it handed over; `answers` by address, else everything is taken."""

    def __init__(self) -> None:
        self.answers: dict[str, tuple[Outcome, str]] = {}
        self.taken: dict[str, list[bytes]] = defaultdict(list)
        self.hops: list[NextHop] = []
        self.before_report: Callable[[], None] = lambda: None
        self.relay_failed = False
        self.gates: dict[str, asyncio.Event] = {}
        """By recipient domain: a remote that keeps us waiting."""
        self.silent: set[str] = set()
        """Recipient domains none of whose hosts can be reached."""

    async def transmit(
        self, next_hop: NextHop, messages: Sequence[OutgoingMessage], load: Load, report: Report
    ) -> None:
        """See `Transmitter`."""
        self.hops.append(next_hop)
        gate = self.gates.get(next_hop.domain)
        if gate is not None:
            await gate.wait()
        for message in messages:
            if next_hop.domain in self.silent:
                if not await report(message, [_unreachable(each.address) for each in message.recipients]):
                    return
                continue
            try:
                content = await load(message)
            except MailError as error:
                reply = f"451 4.3.0 the message can't be read now ({error.kind})"
                answers = [answer(each.address, Outcome.DEFERRED, reply) for each in message.recipients]
                if not await report(message, answers):
                    return
                continue
            results = []
            for recipient in message.recipients:
                outcome, reply = self.answers.get(recipient.address, (Outcome.SENT, "250 2.0.0 ok"))
                if outcome is Outcome.SENT:
                    self.taken[recipient.address].append(content)
                results.append(answer(recipient.address, outcome, reply, relay_failed=self.relay_failed))
            self.before_report()
            if not await report(message, results):
                return


class FakeSigner:
    """Signs in words."""

    async def sign(self, domain: str, content: bytes) -> bytes:
        """See `Signer`."""
        return f"DKIM-Signature: d={domain}\r\n".encode() if domain else b""


class FakeRoutes:
    """Directory's routes."""

    def __init__(self) -> None:
        self.relay: Relay | None = None
        self.fail_with: MailError | None = None
        self.asked: list[str] = []

    async def find_route(self, request: FindRouteRequest) -> Route:
        """See `RouteFinder`."""
        self.asked.append(request.domain)
        if self.fail_with is not None:
            raise self.fail_with
        return Route(relay=self.relay, signing_domain=request.domain)


class Outbound:
    """Scheduler, handover and control over a MemoryQueue."""

    def __init__(self, settings: DeliverySettings | None = None) -> None:
        self.clock = ManualClock(NOW_MS)
        self.queue = MemoryQueue()
        self.blobs = MemoryBlobStore()
        self.transmitter = FakeTransmitter()
        self.routes = FakeRoutes()
        self.settings = settings or DeliverySettings()
        self.reporter = Reporter(self.blobs, self.clock, OwnMail(self.blobs, self.clock, "mail.ours.example"))
        self.handover = Handover(
            Parts(
                queue=self.queue,
                directory=self.routes,
                transmitter=self.transmitter,
                signer=FakeSigner(),
                reporter=self.reporter,
                blobs=self.blobs,
                clock=self.clock,
                settings=self.settings,
                metrics=QueueMetrics(CollectorRegistry()),
                chance=random.Random(1),  # noqa: S311  # the same at every run
                sleep=self._sleep,
            )
        )
        self.while_waiting: Callable[[], None] = lambda: None
        """Called whenever a commit waits for the database."""
        self.scheduler = self.new_scheduler("me")
        self.control = Control(
            owner="me", queue=self.queue, reporter=self.reporter, scheduler=self.scheduler, clock=self.clock
        )

    def new_scheduler(self, owner: str) -> Scheduler:
        """Of another process."""
        return Scheduler(
            owner=owner, queue=self.queue, handover=self.handover, clock=self.clock, settings=self.settings
        )

    async def _sleep(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.while_waiting()

    async def work(self, scheduler: Scheduler | None = None) -> None:
        """Hands over what is due now, all of it."""
        await (scheduler or self.scheduler).work_once()
