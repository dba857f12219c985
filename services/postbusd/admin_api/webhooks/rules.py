"""Names, limits, signatures and patience of webhooks; no input or output.

Requests are those of Standard Webhooks 1.0: `webhook-id`, `webhook-timestamp`, `webhook-signature`, and a body with
`type`, `timestamp` and `data`.
"""

import base64
import datetime
import hashlib
import hmac
import re
import secrets
from typing import Final
from urllib.parse import urlsplit

import msgspec

from postbus.contracts.events import Event
from postbus.core.address import parse_domain
from postbus.core.errors import ErrorKind, MailError
from postbusd.admin_api.webhooks.values import Answer, Claimed, Message, Secrets, Verdict, Webhook

MAX_WEBHOOKS: Final = 100
MAX_URL_CHARACTERS: Final = 2_000
MAX_OUTCOME_CHARACTERS: Final = 300
SECRET_OCTETS: Final = 32
SECRET_PREFIX: Final = "whsec_"  # noqa: S105 (what secrets begin with)
FORMER_SECRET_MS: Final = 24 * 3_600_000
"""How long the secret before a rotation signs too."""
MAX_ATTEMPTS: Final = 12
MAX_AGE_MS: Final = 24 * 3_600_000
"""An event that could not be told for so long is given up."""
MAX_RETRY_AFTER_SECONDS: Final = 3_600.0
PAUSES: Final = (5, 30, 120, 600)
"""Seconds after failures in a row, of the whole webhook; the last one is for all further ones."""
DELAYS: Final = (5, 30, 120, 600, 1_800, 3_600, 7_200)
"""The same of one event."""
PING: Final = "ping"
"""The type of a test's request."""

_NAME = re.compile(r"[a-z0-9]([a-z0-9.-]{0,58}[a-z0-9])?\Z")


def check_name(name: str) -> str:
    """A webhook's name, lower case. Raises MailError: INVALID."""
    lowered = name.lower()
    if not _NAME.match(lowered):
        raise MailError(ErrorKind.INVALID, "name: letters, digits, . and -, at most 60 characters")
    return lowered


def check_webhook(webhook: Webhook) -> Webhook:
    """The webhook in its one form: types in order, once each, the domain as A-labels. Raises MailError: INVALID."""
    _check_url(webhook.url)
    return msgspec.structs.replace(
        webhook,
        name=check_name(webhook.name),
        types=tuple(sorted(set(webhook.types))),
        domain=_domain(webhook.domain),
    )


def new_secret() -> bytes:
    """At random."""
    return secrets.token_bytes(SECRET_OCTETS)


def tell_secret(secret: bytes) -> str:
    """As receivers' libraries take it."""
    return SECRET_PREFIX + base64.b64encode(secret).decode("ascii")


def compose(event_id: str, type_: str, at_ms: int, data: object, keys: Secrets, now_ms: int) -> Message:
    """The signed request; `keys` are open."""
    seconds = now_ms // 1000
    at = datetime.datetime.fromtimestamp(at_ms / 1000, datetime.UTC).isoformat(timespec="milliseconds")
    body = msgspec.json.encode({"type": type_, "timestamp": at.replace("+00:00", "Z"), "data": data})
    signed = b"%s.%d.%s" % (event_id.encode(), seconds, body)
    valid = [keys.current]
    if keys.former is not None and now_ms < keys.former_until_ms:
        valid.append(keys.former)
    headers = (
        ("webhook-id", event_id),
        ("webhook-timestamp", str(seconds)),
        ("webhook-signature", " ".join(_sign(key, signed) for key in valid)),
    )
    return Message(headers=headers, body=body)


def describe(event: Event) -> dict[str, object]:
    """An event as receivers get it: what is empty is left out."""
    return {name: value for name, value in msgspec.structs.asdict(event).items() if value != "" and name != "type"}


def judge(claimed: Claimed, answer: Answer, failures: int, now_ms: int) -> Verdict:
    """What follows from an answer; `failures` in a row were before it."""
    outcome = describe_answer(answer)
    if answer.is_told:
        return Verdict(sequence=claimed.sequence, told=True, outcome=outcome)
    attempts = claimed.attempts + 1
    wait = min(answer.retry_after_seconds, MAX_RETRY_AFTER_SECONDS)
    return Verdict(
        sequence=claimed.sequence,
        told=False,
        dead=attempts >= MAX_ATTEMPTS or claimed.event.at_ms < now_ms - MAX_AGE_MS,
        due_ms=now_ms + int(1000 * max(_step(DELAYS, attempts), wait)),
        outcome=outcome,
        pause_until_ms=now_ms + int(1000 * max(_step(PAUSES, failures + 1), wait)),
    )


def describe_answer(answer: Answer) -> str:
    """One line for administrators."""
    text = f"{answer.status} {answer.text}" if answer.status else answer.text
    line = " ".join("".join(each if each.isprintable() else " " for each in text).split())
    return line[:MAX_OUTCOME_CHARACTERS]


def _step(seconds: tuple[int, ...], number: int) -> int:
    return seconds[min(number, len(seconds)) - 1]


def _sign(key: bytes, signed: bytes) -> str:
    return "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode("ascii")


def _domain(domain: str) -> str:
    try:
        return parse_domain(domain) if domain else ""
    except MailError as error:
        raise MailError(ErrorKind.INVALID, f"domain: {error.detail}") from error


def _check_url(url: str) -> None:
    if len(url) > MAX_URL_CHARACTERS or not url.isascii() or not url.isprintable() or " " in url:
        raise MailError(ErrorKind.INVALID, f"url: at most {MAX_URL_CHARACTERS} ASCII characters without spaces")
    try:
        parts = urlsplit(url)
        sound = parts.scheme in ("https", "http") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        sound = False
    if not sound:
        raise MailError(ErrorKind.INVALID, "url: https://HOST[:PORT]/PATH")
    if "@" in parts.netloc or parts.fragment:
        raise MailError(ErrorKind.INVALID, "url: no user name, password or fragment; the signature proves who we are")
