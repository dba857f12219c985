"""The books as gauges: what the last look saw. Before the first look there are none, rather than wrong ones."""

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from postbus.contracts.delivery import Accounted, GetLedgerReply


class LedgerMetrics(Collector):
    """postbus_delivery_ledger_*; label `outcome`: folder | queued | held | dsn | written_off."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.reply: GetLedgerReply | None = None
        """Of the last look that succeeded."""
        self.failing = False
        """Whether the last one did not: bus or database is away."""
        self.replayed = Counter(
            "postbus_delivery_ledger_replayed_messages",
            "Missing messages that were taken from the stream once more and delivered.",
            registry=registry,
        )
        registry.register(self)

    def describe(self) -> Iterable[Metric]:
        """Nothing is collected to be registered."""
        return ()

    def collect(self) -> Iterable[Metric]:
        """Of the last look."""
        yield _gauge(
            "check_failing", "1: the last look at the books failed, all others show the one before.", self.failing
        )
        reply = self.reply
        if reply is None:
            return
        yield _gauge("checked_seconds", "When the books were last read, Unix time.", reply.at_ms / 1000)
        yield _gauge("accepted_messages", "Messages that were ever accepted.", reply.accepted)
        accounted = GaugeMetricFamily(
            "postbus_delivery_ledger_accounted_messages", "Of these, by where they are.", labels=["outcome"]
        )
        for outcome in Accounted:
            accounted.add_metric([outcome.value], getattr(reply, outcome.value))
        yield accounted
        yield _gauge("unconsumed_messages", "Of these, still on the bus.", reply.unconsumed)
        yield _gauge("missing_messages", "Of these, nowhere: must be 0.", reply.missing_count)
        yield _gauge(
            "open_clashes", "Stream sequences seen with two queue ids, not settled: must be 0.", reply.clash_count
        )
        yield _gauge("alarms", "What must not be, not settled: must be 0.", len(reply.alarms))
        yield _gauge("last_sequence", "The last sequence that stream MAIL gave out.", reply.last_sequence)
        yield _gauge("balanced", "1: nothing is missing, no alarm.", not reply.missing_count and not reply.alarms)


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(f"postbus_delivery_ledger_{name}", text, value=value)
