"""The ledger as administrators see it: delivery's books, held against what smtp-edge says it accepted (promise 1).

smtp-edge's counters are read before the books: whatever they name must be in a stream that is read later. A count that
is beyond it means that messages answered with 250 are not on the bus. An smtp-edge that is away is not held against
anything: its absence says nothing about mail.
"""

import asyncio

import msgspec

from postbus.contracts import Empty
from postbus.contracts.delivery import Bookkeeper, GetLedgerReply, GetLedgerRequest
from postbus.contracts.smtp_edge import Counters, SmtpEdge
from postbus.core.errors import MailError
from postbusd.admin_api.status import Finding

COUNTERS_SECONDS = 3.0


class EdgeCheck(msgspec.Struct, frozen=True, kw_only=True):
    """smtp-edge's counters and what they say of the stream; `reason` says why they could not be compared."""

    counters: Counters | None = None
    checked: bool = False
    reason: str = ""
    alarms: tuple[str, ...] = ()


class Books(msgspec.Struct, frozen=True, kw_only=True):
    """Both sides of promise 1."""

    ledger: GetLedgerReply
    edge: EdgeCheck

    @property
    def alarms(self) -> tuple[str, ...]:
        """All of them, delivery's first."""
        ledger = self.ledger
        found = list(ledger.alarms)
        if not adds_up(ledger):
            found.append(f"the books do not add up: {ledger.accepted} accepted, {_accounted(ledger)} accounted for")
        return (*found, *self.edge.alarms)

    @property
    def balanced(self) -> bool:
        """The equation holds, nothing is missing, nothing is alarming."""
        return not self.ledger.missing_count and not self.alarms


async def read_books(books: Bookkeeper, edge: SmtpEdge, limit: int) -> Books:
    """Counters first, then the ledger. Raises MailError: UNAVAILABLE when delivery or what it needs is away."""
    counters: Counters | None = None
    reason = ""
    try:
        async with asyncio.timeout(COUNTERS_SECONDS):
            counters = await edge.get_counters(Empty())
    except MailError as error:
        reason = f"smtp-edge does not tell its counters: {error.detail}"
    except TimeoutError:
        reason = f"smtp-edge does not tell its counters: no answer within {COUNTERS_SECONDS:g} s"
    ledger = await books.get_ledger(GetLedgerRequest(limit=limit))
    if counters is None:
        return Books(ledger=ledger, edge=EdgeCheck(reason=reason))
    return Books(ledger=ledger, edge=cross_check(counters, ledger))


def adds_up(ledger: GetLedgerReply) -> bool:
    """accepted = folder + queued + held + dsn + written_off + unconsumed + missing_count."""
    return ledger.accepted == _accounted(ledger)


def cross_check(counters: Counters, ledger: GetLedgerReply) -> EdgeCheck:
    """What one smtp-edge process says it accepted, against the stream as it was read afterwards.

    Every message that the process owns has a sequence of its own between the lowest and the highest that it names.
    """
    if counters.accepted and counters.started_ms < ledger.stream_created_ms:
        return EdgeCheck(
            counters=counters, reason="this smtp-edge is older than the stream: restart it, so that it counts anew"
        )
    alarms = []
    if counters.last_stream_sequence > ledger.last_sequence:
        alarms.append(
            f"smtp-edge was given stream sequence {counters.last_stream_sequence}, "
            f"but the stream's last one is {ledger.last_sequence}: the stream went back"
        )
    grown = ledger.last_sequence - max(counters.first_stream_sequence, 1) + 1
    if counters.accepted > grown:
        alarms.append(
            f"smtp-edge has accepted {counters.accepted} messages since its start, "
            f"but the stream has grown by {max(grown, 0)} only"
        )
    return EdgeCheck(counters=counters, checked=True, alarms=tuple(alarms))


async def find_ledger(books: Bookkeeper) -> Finding:
    """For the status page: what is wrong with the ledger, and how many dead letters wait."""
    ledger = await books.get_ledger(GetLedgerRequest(limit=1))
    found = Books(ledger=ledger, edge=EdgeCheck())
    faults = list(found.alarms)
    if ledger.missing_count:
        faults.insert(0, f"{_count(ledger.missing_count, 'accepted message')} missing")
    notes = [f"{_count(ledger.held, 'dead letter')} held"] if ledger.held else []
    return Finding(fault="; ".join(faults), note="; ".join(notes))


def _accounted(ledger: GetLedgerReply) -> int:
    ended = ledger.folder + ledger.queued + ledger.held + ledger.dsn + ledger.written_off
    return ended + ledger.unconsumed + ledger.missing_count


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
