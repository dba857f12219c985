"""filter's metrics. Label values: check = spf | dkim | dmarc | rdns; result as in RFC 8601, for
rdns pass | none | temperror; verdict as in the contract; outcome = cached | answer | nodata | nxdomain | failed;
of DNSBLs result = listed | clear | silent | error.
"""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

CHECK_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0)


class FilterMetrics:
    """Counters and times of one process."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.messages = Counter("postbus_filter_messages", "Messages judged.", ["verdict"], registry=registry)
        self.message_seconds = Histogram(
            "postbus_filter_message_seconds", "Time to judge a message.", buckets=CHECK_BUCKETS, registry=registry
        )
        self.connections = Counter("postbus_filter_connections", "Connections judged.", ["verdict"], registry=registry)
        self.checks = Counter(
            "postbus_filter_checks", "Checks made, by result.", ["check", "result"], registry=registry
        )
        self.check_seconds = Histogram(
            "postbus_filter_check_seconds", "Time of a check.", ["check"], buckets=CHECK_BUCKETS, registry=registry
        )
        self.dns_queries = Counter(
            "postbus_filter_dns_queries", "DNS questions, by outcome.", ["outcome"], registry=registry
        )

        self.dnsbl = Counter("postbus_filter_dnsbl", "Questions to DNSBLs, by answer.", ["result"], registry=registry)

        self.rules = Gauge("postbus_filter_rules", "Rules of the administrator.", registry=registry)
        self.rules_disabled = Gauge(
            "postbus_filter_rules_disabled", "Rules that took too long and are off.", registry=registry
        )

    def count_dns(self, outcome: str) -> None:
        """One question of the resolver."""
        self.dns_queries.labels(outcome).inc()
