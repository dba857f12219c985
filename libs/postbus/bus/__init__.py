"""The message bus: streams, subjects and consumers on NATS JetStream (architecture §2, §3.4-3.6)."""
