"""The audit log: every write request of a known token, before it happens, and how it ended.

A write that happened is never missing: its row is committed before the operation begins, and without it the operation
does not begin. The outcome is a row of its own, committed before the answer leaves; when a process ends between the
two, the request stays there with an unknown outcome. Requests that are refused before anything could happen are written
at once with their outcome. Secrets never get here: what is named as one is told as `changed`.
"""

import logging
import re
from typing import Any

import msgspec
from prometheus_client import CollectorRegistry, Counter

from postbus.core.api_token import PATTERN
from postbus.core.errors import MailError
from postbusd.admin_api.audit_ports import AuditEntry, AuditOutcome, AuditStore

CHANGED = "changed"
MAX_JSON_CHARACTERS = 16_384  # of one text of a row; a larger one is told by its size
MAX_TEXT_CHARACTERS = 512  # of object and query: indexed, and typed by strangers' programs
MAX_DETAIL_CHARACTERS = 1_000

_SECRET_NAMES = re.compile(
    r"password|passphrase|secret|credential|private_key|totp|otpauth|recovery_code|verifier"
    r"|\A(token|access_token|id_token|refresh_token|code|pin|seed)\Z",
    re.IGNORECASE,
)
_NOTHING = (None, "", False, True)

log = logging.getLogger(__name__)


class Auditor:
    """Writes the audit log."""

    def __init__(self, store: AuditStore, registry: CollectorRegistry) -> None:
        self._store = store
        self._unauthenticated = Counter(
            "postbus_admin_api_unauthenticated", "Requests without a valid token.", registry=registry
        )
        self._lost = Counter(
            "postbus_admin_api_lost_outcomes", "Outcomes that the audit log does not have.", registry=registry
        )

    def count_unauthenticated(self) -> None:
        """A request that nobody known has sent: counted, not written, as strangers can send any number."""
        self._unauthenticated.inc()

    async def begin(self, entry: AuditEntry) -> int:
        """Before the operation. Raises MailError: UNAVAILABLE, and the operation must not begin."""
        return await self._store.begin_audit(entry)

    async def end(self, sequence: int, outcome: AuditOutcome) -> None:
        """After it. A database that went away meanwhile leaves the outcome unknown: the write has happened."""
        try:
            await self._store.end_audit(sequence, outcome)
        except MailError as error:
            self._tell_lost(str(sequence), error)

    async def refuse(self, entry: AuditEntry, outcome: AuditOutcome) -> None:
        """Of what was refused before it began."""
        try:
            await self._store.add_audit(entry, outcome)
        except MailError as error:
            self._tell_lost(entry.request_id, error)

    def _tell_lost(self, which: str, error: MailError) -> None:
        self._lost.inc()
        log.error("admin_api.audit.outcome_lost", extra={"audit": which, "reason": str(error)})


def conceal(value: Any) -> Any:  # Any: decoded JSON
    """The value without secrets."""
    if isinstance(value, dict):
        return {name: CHANGED if _is_secret(name, each) else conceal(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [conceal(each) for each in value]
    return PATTERN.sub(CHANGED, value) if isinstance(value, str) else value


def audit_json(value: Any) -> str:  # Any: decoded JSON
    """An object without secrets as JSON text of bounded length; empty: there is none."""
    if value is None:
        return ""
    concealed = conceal(value)
    text = msgspec.json.encode(concealed if isinstance(concealed, dict) else {"value": concealed}).decode()
    return text if len(text) <= MAX_JSON_CHARACTERS else msgspec.json.encode({"cut": len(text)}).decode()


def _is_secret(name: object, value: object) -> bool:
    """Switches and what is empty tell nothing."""
    return value not in _NOTHING and isinstance(name, str) and _SECRET_NAMES.search(name) is not None
