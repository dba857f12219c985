"""postbus_indexer_*."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram


class Metrics:
    """Label `outcome` of messages: indexed | removed | partial | failed."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.messages = Counter(
            "postbus_indexer_messages", "Queue rows worked on, by outcome.", ["outcome"], registry=registry
        )
        self.lag = Gauge("postbus_indexer_lag_rows", "Rows of the last look at the queue.", registry=registry)
        self.lag_seconds = Gauge(
            "postbus_indexer_lag_seconds", "Age of the oldest row at the last look at the queue.", registry=registry
        )
        self.incomplete = Gauge(
            "postbus_indexer_index_incomplete_state",
            "1 while the index lacks messages stored before it was made anew.",
            registry=registry,
        )
        self.rebuilt = Gauge(
            "postbus_indexer_rebuilt_messages",
            "Messages enqueued again so far by the rebuild under way; 0 when there is none.",
            registry=registry,
        )
        self.batch_seconds = Histogram(
            "postbus_indexer_batch_seconds",
            "Time to read, extract and commit a batch.",
            registry=registry,
            buckets=(0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10),
        )
        self.search_seconds = Histogram(
            "postbus_indexer_search_seconds",
            "Time of a search call, tail included.",
            registry=registry,
            buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 2.5),
        )
        self.tail = Histogram(
            "postbus_indexer_search_tail_messages",
            "Messages that a search read itself because they were not indexed yet.",
            registry=registry,
            buckets=(0, 1, 3, 10, 30, 100),
        )
