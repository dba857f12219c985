"""What this process has done: the ledger's counters (promise 1) and the metrics."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from postbus.contracts import Empty
from postbus.contracts.smtp_edge import Counters
from postbus.smtp.replies import Reply

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class EdgeCounters:
    """Implements the contract `postbus.contracts.smtp_edge.SmtpEdge`."""

    def __init__(self, instance_id: str, started_ms: int, registry: CollectorRegistry) -> None:
        self._instance_id = instance_id
        self._started_ms = started_ms
        self._counts = {"accepted": 0, "refused": 0, "deferred": 0}
        self._first_stream_sequence = 0
        self._last_stream_sequence = 0
        self._open_sessions = 0
        # outcome: accepted, refused, deferred
        self._messages = Counter(
            "postbus_smtp_edge_messages", "Messages at end of DATA.", ["outcome"], registry=registry
        )
        for outcome in self._counts:
            self._messages.labels(outcome)
        # outcome: accepted, refused, deferred
        self._recipients = Counter("postbus_smtp_edge_recipients", "Answers to RCPT.", ["outcome"], registry=registry)
        # outcome: accepted, refused, deferred
        self._logins = Counter("postbus_smtp_edge_logins", "Answers to AUTH.", ["outcome"], registry=registry)
        # limit: messages, recipients
        self._rate_limited = Counter(
            "postbus_smtp_edge_rate_limited", "Refusals for too much mail of a mailbox.", ["limit"], registry=registry
        )
        # reason: total, address, early_talker, errors, idle, draining
        self._ended = Counter(
            "postbus_smtp_edge_sessions_ended_by_us", "Sessions that we ended.", ["reason"], registry=registry
        )
        self._octets = Counter("postbus_smtp_edge_accepted_octets", "Octets of accepted messages.", registry=registry)
        self.events_dropped = Counter(
            "postbus_smtp_edge_events_dropped", "Events lost because the bus was away.", registry=registry
        )
        self._sessions = Gauge("postbus_smtp_edge_open_sessions", "Sessions open now.", registry=registry)
        self._free = Gauge(
            "postbus_smtp_edge_disk_free_octets", "Free space for messages at the last look.", registry=registry
        )
        self._reserve = Gauge(
            "postbus_smtp_edge_disk_reserve_octets", "Free space below which mail is refused.", registry=registry
        )
        self._seconds = Histogram(
            "postbus_smtp_edge_end_of_data_seconds",
            "From the final dot to the reply.",
            buckets=_SECONDS,
            registry=registry,
        )

    async def get_counters(self, request: Empty) -> Counters:
        """The counters of this process."""
        return Counters(
            instance_id=self._instance_id,
            started_ms=self._started_ms,
            last_stream_sequence=self._last_stream_sequence,
            open_sessions=self._open_sessions,
            first_stream_sequence=self._first_stream_sequence,
            **self._counts,
        )

    def session_opened(self) -> None:
        """A session has begun."""
        self._open_sessions += 1
        self._sessions.inc()

    def session_closed(self) -> None:
        """A session has ended."""
        self._open_sessions -= 1
        self._sessions.dec()

    def ended(self, reason: str) -> None:
        """We end a session."""
        self._ended.labels(reason).inc()

    def owned(self, stream_sequence: int, octets: int) -> None:
        """The bus has acknowledged a message: it is ours, whether or not the client hears our 250."""
        self._counts["accepted"] += 1
        self._first_stream_sequence = min(self._first_stream_sequence or stream_sequence, stream_sequence)
        self._last_stream_sequence = max(self._last_stream_sequence, stream_sequence)
        self._messages.labels("accepted").inc()
        self._octets.inc(octets)

    def not_owned(self, reply: Reply) -> None:
        """A message was answered with 4xx or 5xx at end of DATA."""
        outcome = _outcome(reply)
        self._counts[outcome] += 1
        self._messages.labels(outcome).inc()

    def end_of_data_took(self, seconds: float) -> None:
        """How long the client waited."""
        self._seconds.observe(seconds)

    def disk(self, free_octets: int, reserve_octets: int) -> None:
        """What is left of the disk, and what has to be."""
        self._free.set(free_octets)
        self._reserve.set(reserve_octets)

    def recipient(self, reply: Reply) -> None:
        """RCPT was answered."""
        self._recipients.labels(_outcome(reply)).inc()

    def rate_limited(self, limit: str) -> None:
        """A mailbox submits too much."""
        self._rate_limited.labels(limit).inc()

    def login(self, reply: Reply) -> None:
        """AUTH was answered."""
        self._logins.labels(_outcome(reply)).inc()


def _outcome(reply: Reply) -> str:
    if reply.is_positive:
        return "accepted"
    return "refused" if reply.is_permanent else "deferred"
