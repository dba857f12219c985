"""The JetStream streams and consumers, made by the migrator; services only bind to them (architecture §3.4, §6)."""

import nats
from nats.aio.client import Client
from nats.js import JetStreamContext
from nats.js.api import (
    AckPolicy,
    ConsumerConfig,
    DiscardPolicy,
    PersistMode,
    RetentionPolicy,
    StorageType,
    StreamConfig,
)
from nats.js.errors import NotFoundError

from postbus.bus.subjects import (
    CONSUMER_ADMIN_API,
    CONSUMER_DELIVERY,
    CONSUMER_FILTER,
    DUPLICATE_WINDOW_SECONDS,
    MAX_RATE_WINDOW_SECONDS,
    STREAM_EVENT,
    STREAM_MAIL,
    STREAM_RATES,
    STREAM_TRAINED,
    SUBJECT_EVENT_ALL,
    SUBJECT_MAIL_ACCEPTED,
    SUBJECT_MAIL_TRAINED,
    SUBJECT_RATE_ALL,
)

MAX_ACK_PENDING = 512
ACK_WAIT_SECONDS = 30.0
"""After this what a killed process had in hand comes to another one; who works on it tells so three times as often."""
EVENT_RETENTION_SECONDS = 7 * 86400
"""The event log itself is admin-api's table; the stream only has to outlast its absence."""
TRAINED_RETENTION_SECONDS = 30 * 86400
MAX_EVENT_OCTETS = 1 << 30
MAX_RATE_OCTETS = 16 << 20
"""About 100,000 counters; beyond it the oldest begin anew."""


def stream_configs(replicas: int) -> list[StreamConfig]:
    """What the streams must be. MAIL refuses new messages rather than forget old ones."""

    def durable(name: str, subject: str, max_age: float, max_bytes: int) -> StreamConfig:
        return StreamConfig(
            name=name,
            subjects=[subject],
            storage=StorageType.FILE,
            retention=RetentionPolicy.LIMITS,
            discard=DiscardPolicy.NEW if name == STREAM_MAIL else DiscardPolicy.OLD,
            max_age=max_age,
            max_bytes=max_bytes,
            num_replicas=replicas,
            duplicate_window=DUPLICATE_WINDOW_SECONDS,
            deny_delete=True,
        )

    return [
        durable(STREAM_MAIL, SUBJECT_MAIL_ACCEPTED, 0, -1),
        durable(STREAM_TRAINED, SUBJECT_MAIL_TRAINED, TRAINED_RETENTION_SECONDS, MAX_EVENT_OCTETS),
        durable(STREAM_EVENT, SUBJECT_EVENT_ALL, EVENT_RETENTION_SECONDS, MAX_EVENT_OCTETS),
        _rates(replicas),
    ]


def _rates(replicas: int) -> StreamConfig:
    """Counters (NATS ADR-49): one message a subject, the running total.

    On files although nobody would miss them: a single server forgets a memory stream itself when it restarts. They are
    not synced at each count where the server lets us say so (a stream of one replica).
    """
    return StreamConfig(
        name=STREAM_RATES,
        subjects=[SUBJECT_RATE_ALL],
        storage=StorageType.FILE,
        persist_mode=PersistMode.ASYNC if replicas == 1 else None,
        retention=RetentionPolicy.LIMITS,
        discard=DiscardPolicy.OLD,
        max_age=MAX_RATE_WINDOW_SECONDS,
        max_bytes=MAX_RATE_OCTETS,
        max_msgs_per_subject=1,
        num_replicas=replicas,
        allow_msg_counter=True,
        deny_delete=True,
    )


def consumer_configs() -> list[tuple[str, ConsumerConfig]]:
    """Stream and durable pull consumer: nothing is ever given up by a delivery count."""
    return [
        (
            stream,
            ConsumerConfig(
                durable_name=name,
                ack_policy=AckPolicy.EXPLICIT,
                ack_wait=ACK_WAIT_SECONDS,
                max_deliver=-1,
                max_ack_pending=MAX_ACK_PENDING,
            ),
        )
        for stream, name in (
            (STREAM_MAIL, CONSUMER_DELIVERY),
            (STREAM_TRAINED, CONSUMER_FILTER),
            (STREAM_EVENT, CONSUMER_ADMIN_API),
        )
    ]


async def ensure_streams(url: str, user: str, password: str, replicas: int = 1) -> None:
    """Creates or updates streams and consumers; idempotent. `user` may administer JetStream."""
    client: Client = await nats.connect(url, user=user, password=password, allow_reconnect=False, connect_timeout=5)
    try:
        stream_api = client.jetstream()
        for config in stream_configs(replicas):
            await _ensure_stream(stream_api, config)
        for stream, consumer in consumer_configs():
            await stream_api.add_consumer(stream, consumer)
    finally:
        await client.close()


async def _ensure_stream(stream_api: JetStreamContext, config: StreamConfig) -> None:
    try:
        await stream_api.stream_info(str(config.name))
    except NotFoundError:
        await stream_api.add_stream(config)
    else:
        await stream_api.update_stream(config)
