"""What imap-gateway counts. Labels are closed sets: command names of the engine, ok|no|bad, imaps|imap|pop3s|pop3."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram


class GatewayMetrics:
    """One set a process."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.sessions = Gauge("postbus_imap_gateway_sessions", "Open sessions.", registry=registry)
        self.connections = Counter(
            "postbus_imap_gateway_connections_total", "Connections by listener.", ["listener"], registry=registry
        )
        self.logins = Counter(
            "postbus_imap_gateway_logins_total", "Logins by outcome: ok, failed, away.", ["outcome"], registry=registry
        )
        self.commands = Counter(
            "postbus_imap_gateway_commands_total",
            "Commands by name and outcome: ok, no, bad.",
            ["command", "outcome"],
            registry=registry,
        )
        self.pop3_commands = Counter(
            "postbus_imap_gateway_maildrop_commands_total", "POP3 commands by name.", ["command"], registry=registry
        )
        self.command_seconds = Histogram(
            "postbus_imap_gateway_command_seconds",
            "Time from a complete command to its reply, IDLE left out.",
            ["command"],
            buckets=(0.001, 0.005, 0.02, 0.1, 0.5, 2, 10, 60),
            registry=registry,
        )
        self.incidents = Counter(
            "postbus_imap_gateway_incidents_total", "Exceptions that nobody expected.", registry=registry
        )
        self.view_messages = Gauge(
            "postbus_imap_gateway_view_messages", "Messages of folder views in memory.", registry=registry
        )
        self.views = Gauge("postbus_imap_gateway_views", "Folder views in use.", registry=registry)
        self.events_dropped = Counter(
            "postbus_imap_gateway_events_dropped_total", "Events lost while the bus was away.", registry=registry
        )
