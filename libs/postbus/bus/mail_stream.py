"""Stream MAIL as the ledger reads it: its state, and single messages beside the consumer (NATS ADR-1).

Times are nanoseconds as the server keeps them: within a stream they only grow, and the same message has the same one
whichever way it is read. That is how a message is told from another that got its sequence in a later stream.
"""

import base64
import json
import re
from datetime import datetime
from typing import Any

import nats.errors
from nats.aio.client import Client

from postbus.bus.codec import decode_value
from postbus.bus.ports import MailState
from postbus.bus.subjects import CONSUMER_DELIVERY, STREAM_MAIL
from postbus.contracts.events import MailAccepted
from postbus.core.errors import ErrorKind, MailError

API_SECONDS = 5.0
NS_PER_MS = 1_000_000
MAX_DELETED = 10_000
"""Sequences that the stream lost between its first and its last, told one by one."""
_NO_MESSAGE = 10037
"""JetStream's error code for a sequence that the stream does not hold."""
_V1_TOKENS = 9
_TIME = re.compile(r"([-0-9]{10}T[:0-9]{8})(?:\.([0-9]{1,9}))?(Z|[-+][0-9]{2}:[0-9]{2})")


class ReadMail:
    """A `MailDelivery` that nobody waits for: read beside the consumer."""

    def __init__(self, payload: bytes, stream_sequence: int, stored_ns: int) -> None:
        self.payload = payload
        self.stream_sequence = stream_sequence
        self.stored_ns = stored_ns
        self.attempt = 1
        self.accepted = decode_mail(payload)

    async def ack(self) -> None:
        """Nothing: the consumer has done with it."""

    async def retry(self, seconds: float) -> None:
        """Nothing: who read it comes again by itself."""

    async def heartbeat(self) -> None:
        """Nothing: there is no deadline."""


def decode_mail(payload: bytes) -> MailAccepted | None:
    """None: it is no `mail.accepted`."""
    try:
        return decode_value(payload, MailAccepted)
    except MailError:
        return None


async def read_state(client: Client) -> MailState:
    """The consumer first: what it has done with is in a stream that is read later. Raises MailError: UNAVAILABLE."""
    consumer = await _ask(client, f"CONSUMER.INFO.{STREAM_MAIL}.{CONSUMER_DELIVERY}", {})
    stream = await _ask(client, f"STREAM.INFO.{STREAM_MAIL}", {"deleted_details": True})
    state = stream["state"]
    return MailState(
        created_ms=parse_time(stream["created"]) // NS_PER_MS,
        first_sequence=state["first_seq"],
        last_sequence=state["last_seq"],
        ack_floor=consumer.get("ack_floor", {}).get("stream_seq", 0),
        # Of a stream that never had a message the server says that one is missing: 0 to 0.
        deleted=state.get("num_deleted", 0) if state["last_seq"] else 0,
        deleted_sequences=tuple((state.get("deleted") or [])[:MAX_DELETED]),
        last_stored_ns=parse_time(state["last_ts"]) if state["messages"] else 0,
    )


async def read_message(client: Client, stream_sequence: int) -> ReadMail | None:
    """None: the stream does not hold it. Raises MailError: UNAVAILABLE."""
    reply = await _ask(client, f"STREAM.MSG.GET.{STREAM_MAIL}", {"seq": stream_sequence}, absent=_NO_MESSAGE)
    if not reply:
        return None
    message = reply["message"]
    return ReadMail(base64.b64decode(message.get("data", "")), message["seq"], parse_time(message["time"]))


def stored_ns(reply: str) -> int:
    """When the stream took a pulled message, by its reply subject ($JS.ACK, with or without domain)."""
    tokens = reply.split(".")
    return int(tokens[7 if len(tokens) == _V1_TOKENS else 9])


def parse_time(text: str) -> int:
    """Unix nanoseconds of a time as JetStream writes it, with up to nine decimals. Raises ValueError."""
    match = _TIME.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is no time")
    seconds = int(datetime.fromisoformat(match[1] + match[3]).timestamp())
    return seconds * 1_000_000_000 + int((match[2] or "").ljust(9, "0"))


async def _ask(client: Client, method: str, request: dict[str, Any], absent: int = 0) -> dict[str, Any]:
    """A call of the JetStream API; empty for the error code `absent`."""
    try:
        message = await client.request(f"$JS.API.{method}", json.dumps(request).encode(), timeout=API_SECONDS)
        reply: dict[str, Any] = json.loads(message.data)
    except (nats.errors.Error, TimeoutError, OSError, ValueError) as error:
        raise MailError(ErrorKind.UNAVAILABLE, f"bus: {type(error).__name__}") from error
    fault = reply.get("error")
    if fault is None:
        return reply
    if absent and fault.get("err_code") == absent:
        return {}
    raise MailError(ErrorKind.UNAVAILABLE, f"bus: {fault.get('description', method)}")
