"""One batch on its way: the session that is open, the endpoints that are left, who has been answered."""

import logging
import os
from collections.abc import Mapping

import msgspec
from prometheus_client import CollectorRegistry, Counter

from postbus.core.clock import Clock
from postbus.core.errors import MailError
from postbusd.delivery.outbound.ports import Load
from postbusd.delivery.outbound.routing import Endpoint, Road
from postbusd.delivery.outbound.transmit_answers import Answer, deferred
from postbusd.delivery.outbound.transmit_dialogue import Dialogue, SessionError
from postbusd.delivery.outbound.transmit_opening import LoopError, Opener
from postbusd.delivery.outbound.transmit_transaction import Transaction, plan_transaction
from postbusd.delivery.outbound.values import NextHop, Outcome, OutgoingMessage, OutgoingRecipient, RecipientResult

log = logging.getLogger(__name__)

MAX_RECIPIENTS = 100
"""Of one transaction; RFC 5321 §4.5.3.1.8 asks servers for as many."""
MAX_BROKEN_SESSIONS = 2
"""In a row, each lost before its first transaction was over: then the host is left alone."""


class SessionMetrics:
    """postbus_delivery_sessions; labels `outcome`: opened | failed, `to`: mx | relay, `tls`: yes | no."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.sessions = Counter(
            "postbus_delivery_sessions", "SMTP sessions with other hosts.", ["outcome", "to", "tls"], registry=registry
        )


class _Remote(msgspec.Struct, frozen=True, kw_only=True):
    """Who spoke."""

    host: str = ""
    address: str = ""
    tls: str = ""
    dsn: bool = False


_NOBODY = _Remote()


class _Failure(msgspec.Struct, frozen=True):
    """Why there is no session."""

    answer: Answer
    remote: _Remote = _NOBODY


class _Work:
    """One message and the answers it has so far."""

    def __init__(self, message: OutgoingMessage) -> None:
        self.message = message
        self._answers: dict[str, tuple[Answer, _Remote]] = {}

    @property
    def open(self) -> list[OutgoingRecipient]:
        """The recipients without an answer."""
        return [recipient for recipient in self.message.recipients if recipient.address not in self._answers]

    def take(self, answers: Mapping[str, Answer], remote: _Remote) -> None:
        """Answers of some."""
        for address, answer in answers.items():
            self._answers[address] = (answer, remote)

    def settle(self, answer: Answer, remote: _Remote = _NOBODY) -> None:
        """One answer for all that are open."""
        self.take({recipient.address: answer for recipient in self.open}, remote)

    def results(self) -> list[RecipientResult]:
        """When none is open."""
        return [_make_result(recipient, *self._answers[recipient.address]) for recipient in self.message.recipients]


class Batch:
    """Hands messages over, one after the other, by as few sessions as it takes."""

    def __init__(self, opener: Opener, clock: Clock, metrics: SessionMetrics, next_hop: NextHop, road: Road) -> None:
        self._opener = opener
        self._clock = clock
        self._metrics = metrics
        self._next_hop = next_hop
        self._endpoints = list(road.endpoints)
        """The one in use is the first."""
        self._failure = None if road.answer is None else _Failure(road.answer)
        """Why nothing more is tried."""
        self._session: Dialogue | None = None
        self._opened_at = 0.0
        self._broken = 0

    async def hand_over(self, message: OutgoingMessage, load: Load) -> list[RecipientResult]:
        """What became of every recipient. Raises nothing but CancelledError."""
        work = _Work(message)
        try:
            await self._work_off(work, load)
        except Exception as error:
            incident = os.urandom(6).hex()
            log.exception("delivery.transmit.crashed", extra={"queue_id": message.queue_id, "incident": incident})
            self._drop(f"incident {incident}")
            work.settle(deferred("4.3.0", f"internal error, incident {incident}: {type(error).__name__}"))
        return work.results()

    async def close(self) -> None:
        """Ends the session in good order. Raises nothing but CancelledError."""
        session = self._forget("done")
        if session is not None:
            await session.quit()

    def abort(self) -> None:
        """Ends the session at once."""
        self._drop("stopped")

    async def _work_off(self, work: _Work, load: Load) -> None:
        content: bytes | None = None
        while work.open:
            session = await self._ensure_session()
            if isinstance(session, _Failure):
                work.settle(session.answer, session.remote)
                return
            if content is None:
                try:
                    content = await load(work.message)
                except MailError as error:
                    work.settle(deferred("4.3.0", f"the message can't be read now ({error.kind})"))
                    return
            await self._transact(session, work, content)

    async def _transact(self, session: Dialogue, work: _Work, content: bytes) -> None:
        """One transaction for the first recipients of those that are open."""
        remote = _remote_of(session)
        chosen = work.open[:MAX_RECIPIENTS]
        plan = plan_transaction(work.message, chosen, content, session.engine.capabilities)
        if isinstance(plan, Answer):
            work.settle(plan, remote)
            return
        transaction = Transaction(session, plan, content, to_relay=self._next_hop.relay is not None)
        try:
            await transaction.run()
            self._broken = 0
            work.take(transaction.answers, remote)
        except SessionError as error:
            work.take(transaction.answers, remote)
            self._drop(error.answer.reply)
            self._broken += session.transactions == 0
            # Undecided recipients of a session that had worked are tried once more on a new one: servers end sessions
            # after so many messages or so much time. A first transaction that fails goes to the next endpoint.
            if transaction.dot_is_out or (session.transactions == 0 and len(self._endpoints) < 2):
                work.settle(error.answer, remote)
            elif session.transactions == 0:
                self._endpoints.pop(0)
            if self._broken >= MAX_BROKEN_SESSIONS and len(self._endpoints) < 2:
                self._failure = _Failure(error.answer, remote)

    async def _ensure_session(self) -> Dialogue | _Failure:
        if self._session is not None:
            return self._session
        told: _Failure | None = None
        while self._failure is None:
            if not self._endpoints:
                self._failure = told or _Failure(deferred("4.4.1", "no host is left to try"))
                break
            found = await self._open(self._endpoints[0])
            if isinstance(found, Dialogue):
                self._session = found
                return found
            told = _choose(told, found)
        return self._failure

    async def _open(self, endpoint: Endpoint) -> Dialogue | _Failure:
        """A session, or why there is none; the endpoint is struck off then."""
        self._opened_at = self._clock.monotonic()
        try:
            session = await self._opener.open(endpoint, self._next_hop.relay)
        except SessionError as error:
            self._count("failed", "")
            facts = {"reason": error.answer.reply, "transactions": 0}
            log.info("delivery.session.failed", extra={**self._facts(endpoint), **facts})
            # Whoever comes behind ourselves in the list is no better (RFC 5321 §5.1).
            del self._endpoints[: None if isinstance(error, LoopError) else 1]
            spoke = _Remote(host=endpoint.host, address=endpoint.address) if error.spoke else _NOBODY
            return _Failure(error.answer, spoke)
        self._count("opened", session.tls)
        return session

    def _forget(self, reason: str) -> Dialogue | None:
        session, self._session = self._session, None
        if session is not None:
            facts = {"reason": reason, "transactions": session.transactions, "tls": session.tls}
            log.info("delivery.session.ended", extra={**self._facts(session.endpoint), **facts})
        return session

    def _drop(self, reason: str) -> None:
        session = self._forget(reason)
        if session is not None:
            session.abort()

    def _facts(self, endpoint: Endpoint) -> dict[str, object]:
        return {
            "next_hop": self._next_hop.name,
            "remote_host": endpoint.host,
            "remote_address": endpoint.address,
            "remote_port": endpoint.port,
            "seconds": round(self._clock.monotonic() - self._opened_at, 3),
        }

    def _count(self, outcome: str, tls: str) -> None:
        to = "mx" if self._next_hop.relay is None else "relay"
        self._metrics.sessions.labels(outcome=outcome, to=to, tls="yes" if tls else "no").inc()


def _choose(before: _Failure | None, now: _Failure) -> _Failure:
    """What to tell when several endpoints failed: what one said, else the last. A loop counts only by itself."""
    if before is None:
        return now
    if now.answer.outcome is Outcome.FAILED:
        return before
    return before if before.answer.is_reply and not now.answer.is_reply else now


def _remote_of(session: Dialogue) -> _Remote:
    endpoint = session.endpoint
    return _Remote(host=endpoint.host, address=endpoint.address, tls=session.tls, dsn=session.engine.capabilities.dsn)


def _make_result(recipient: OutgoingRecipient, answer: Answer, remote: _Remote) -> RecipientResult:
    return RecipientResult(
        address=recipient.address,
        outcome=answer.outcome,
        reply=answer.reply,
        status=answer.status,
        remote_host=remote.host,
        remote_address=remote.address,
        tls=remote.tls,
        is_reply=answer.is_reply,
        relay_failed=answer.relay_failed,
        dsn_offered=remote.dsn and answer.outcome is Outcome.SENT,
    )
