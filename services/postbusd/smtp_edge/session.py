"""One SMTP session: octets in, events of the engine, answers, octets out. Knows no socket and no library.

Invariants: one reply for each command, in order, held back while pipelined commands wait (RFC 2920 §3.2); nothing that
a peer does raises out of `run`; a message whose final dot has come is carried to its end even if the client is gone.
"""

import asyncio
import contextlib
import logging
import os
from collections.abc import Callable

from postbus.contracts.events import EventType
from postbus.contracts.logins import AuthenticateReply, ConfirmedLogin
from postbus.core.errors import ErrorKind, MailError
from postbus.core.trace import new_trace, use_trace
from postbus.runtime.log import new_incident, use_session
from postbus.runtime.telemetry import Span
from postbus.smtp import replies
from postbus.smtp.commands import Auth, Command, Hello, Mail, Rcpt, Simple, Verb
from postbus.smtp.engine import (
    BadCommand,
    DataChunk,
    DataEnd,
    Event,
    NeedData,
    SaslResponse,
    ServerEngine,
)
from postbus.smtp.replies import Reply, make_reply
from postbus.smtp.states import State
from postbusd.smtp_edge.acceptance import accept_message, note_refused
from postbusd.smtp_edge.conversation import Conversation, ListenerKind, Site
from postbusd.smtp_edge.envelope import answer_mail, answer_rcpt, start_data
from postbusd.smtp_edge.greeting import answer_hello, banner, offers_tls
from postbusd.smtp_edge.login import answer_auth, answer_response
from postbusd.smtp_edge.ports import Stream
from postbusd.smtp_edge.refusals import refuse_error

log = logging.getLogger(__name__)

KNOWN_GREET_PAUSE_SECONDS = 0.01
"""For networks that are known already: long enough for what was sent with the handshake to arrive."""
MAX_IDLE_COMMANDS = 1_000
"""Commands that lead nowhere before the next message, and one more for each second that the session lasts: programs
keep connections open by NOOP, and nobody needs thousands a second."""
EVENTS_A_TURN = 16
"""Pipelined commands that need no waiting, between two turns of the other sessions."""
MAX_HELD_REPLY_OCTETS = 65_536
"""Replies to pipelined commands, before they are sent even though more commands wait."""
_BETWEEN_TRANSACTIONS = frozenset({State.START, State.CONNECTED, State.GREETED, State.AUTH})
_SIMPLE = {
    Verb.NOOP: replies.OK,
    Verb.HELP: replies.HELP,
    Verb.VRFY: replies.VRFY_UNCERTAIN,
    Verb.EXPN: replies.NOT_IMPLEMENTED,
    Verb.QUIT: replies.BYE,
}


class Session:
    """`run` once; `drain` asks it to end soon."""

    def __init__(self, stream: Stream, kind: ListenerKind, site: Site) -> None:
        self._stream = stream
        self._site = site
        self._settings = site.settings
        self._conversation = Conversation(site, kind, stream.peer_address)
        self._engine = ServerEngine(self._conversation.policy.max_message_octets)
        self._out = bytearray()
        self._waiting: asyncio.Timeout | None = None
        self._draining = False
        self._started = site.clock.monotonic()
        self._login_ended = False
        self._leave_logins: Callable[[], None] | None = None
        self._conversation.on_login = self._watch_login

    async def run(self) -> None:
        """From the first octet to the last; never raises but when cancelled."""
        address = self._stream.peer_address
        session_id = os.urandom(6).hex()
        facts: dict[str, str | int] = {"session_id": session_id, "listener": self._conversation.kind}
        with use_session(session_id), Span("smtp.session", new_trace(), None, facts):
            full = self._site.limits.enter(address, may_log_in=self._conversation.takes_logins)
            if full:
                await self._turn_away(full)
                return
            self._site.counters.session_opened()
            try:
                await self._run_checked()
            finally:
                self._conversation.end_transaction()
                if self._leave_logins is not None:
                    self._leave_logins()
                self._site.limits.leave(address)
                self._site.counters.session_closed()

    def drain(self) -> None:
        """421 as soon as no transaction is open."""
        self._draining = True
        if self._waiting is not None and self._engine.state in _BETWEEN_TRANSACTIONS:
            self._waiting.reschedule(0)

    def _watch_login(self, login: AuthenticateReply) -> None:
        self._leave_logins = self._site.logins.enter(login, self._take_word)

    def _take_word(self, word: ConfirmedLogin) -> None:
        """A login that stands no more ends the session, in the middle of a message too."""
        if not word.stands and not self._login_ended:
            self._login_ended = True
            if self._waiting is not None:
                self._waiting.reschedule(0)

    async def _turn_away(self, full: str) -> None:
        log.info("smtp.connection.refused", extra={"client_address": self._stream.peer_address, "limit": full})
        reply = replies.TOO_MANY_SESSIONS if full == "total" else replies.TOO_MANY_FROM_ADDRESS
        self._end(reply, full)
        await self._flush()

    async def _run_checked(self) -> None:
        """With filter's check of the client running beside."""
        conversation = self._conversation
        async with asyncio.TaskGroup() as group:
            if conversation.kind is ListenerKind.SMTP:
                conversation.connection = self._site.checks.cached(conversation.client_address)
                if conversation.connection is None:
                    checking = self._site.checks.check(conversation.client_address)
                    conversation.connection_task = group.create_task(checking)
            try:
                if await self._greet():
                    await self._converse()
                await self._flush()
            finally:
                if conversation.connection_task is not None:
                    conversation.connection_task.cancel()

    async def _greet(self) -> bool:
        """The banner; False: the session is over."""
        conversation, stream = self._conversation, self._stream
        conversation.tls = stream.tls
        if conversation.kind is ListenerKind.SMTP:
            pause = self._settings.greet_pause_seconds
            await asyncio.sleep(pause if conversation.connection is None else min(pause, KNOWN_GREET_PAUSE_SECONDS))
        if conversation.kind is not ListenerKind.SUBMISSIONS and stream.has_unread_data():
            if not await self._receive():
                return False
            log.info("smtp.connection.early_talker", extra={"client_address": conversation.client_address})
            self._note_denied("spoke before the greeting")
            self._end(replies.EARLY_TALKER, "early_talker")
            return False
        self._send(banner(conversation))
        return True

    async def _converse(self) -> None:
        engine = self._engine
        events = 0
        while engine.state is not State.CLOSED:
            if self._login_ended:
                self._end(replies.LOGIN_ENDED, "login_ended")
                return
            event = engine.next_event()
            if not isinstance(event, NeedData):
                await self._handle(event)
                events += 1
                if not events % EVENTS_A_TURN:
                    await asyncio.sleep(0)
                continue
            await self._flush()
            if self._draining and engine.state in _BETWEEN_TRANSACTIONS:
                self._end(replies.SHUTTING_DOWN, "draining")
                return
            data = await self._receive()
            if not data:
                return
            engine.receive_data(data)

    async def _receive(self) -> bytes:
        """The next octets; empty: the connection or our patience has ended, and the peer was told."""
        transaction = self._conversation.transaction
        seconds = self._settings.idle_seconds
        left = seconds
        if self._engine.state is State.DATA and transaction is not None:
            left = transaction.deadline - self._site.clock.monotonic()
        try:
            async with asyncio.timeout(max(0.0, min(seconds, left))) as self._waiting:
                return await self._stream.receive()
        except TimeoutError:
            if self._login_ended:
                self._end(replies.LOGIN_ENDED, "login_ended")
            elif self._draining:
                self._end(replies.SHUTTING_DOWN, "draining")
            else:
                self._end(replies.IDLE if left >= seconds else replies.TOO_SLOW, "idle")
            return b""
        finally:
            self._waiting = None

    async def _handle(self, event: Event) -> None:
        """Answers one event. What nobody expected is 451 with an incident id, and the session goes on."""
        transaction = self._conversation.transaction
        with use_trace(transaction.span.context) if transaction is not None else contextlib.nullcontext():
            try:
                reply = await self._answer(event)
            except Exception:
                incident = new_incident()
                log.exception("smtp.session.failed", extra={"incident": incident})
                reply = make_reply(451, "4.3.0", f"internal error, incident {incident}")
                if isinstance(event, DataEnd) and transaction is not None:
                    note_refused(self._conversation, transaction, reply)
                    self._conversation.end_transaction()
        if reply is not None and self._engine.owes_reply:
            self._send(reply)
            self._enforce_patience(event, reply)
        if len(self._out) > MAX_HELD_REPLY_OCTETS:
            await self._flush()

    async def _answer(self, event: Event) -> Reply | None:
        conversation = self._conversation
        match event:
            case DataChunk():
                await self._spool(event.content)
                return None
            case DataEnd():
                return await self._answer_end(event)
            case BadCommand():
                conversation.exchange = None
                return event.reply
            case SaslResponse():
                return await answer_response(conversation, event.line)
            case _:
                return await self._answer_command(event)

    async def _answer_command(self, command: Command) -> Reply | None:
        conversation = self._conversation
        match command:
            case Hello():
                return await answer_hello(conversation, command)
            case Mail():
                return await answer_mail(conversation, command)
            case Rcpt():
                return await answer_rcpt(conversation, command, self._engine.upcoming_recipients)
            case Auth():
                return await answer_auth(conversation, command)
            case Simple(verb=Verb.DATA):
                return start_data(conversation)
            case Simple(verb=Verb.RSET):
                conversation.end_transaction()
                return replies.OK
            case Simple(verb=Verb.STARTTLS):
                return await self._answer_starttls()
            case _:
                return _SIMPLE[command.verb]

    async def _answer_starttls(self) -> Reply | None:
        """220 goes out by the stream, in one step with the switch; so this returns None after it."""
        if self._conversation.tls:
            return replies.TLS_ALREADY_ACTIVE
        if not await offers_tls(self._conversation):
            return replies.TLS_NOT_AVAILABLE
        injected = self._engine.discard_buffer()
        ready = self._engine.send(replies.READY_FOR_TLS)
        await self._flush()
        await self._start_tls(ready, injected)
        return None

    async def _start_tls(self, ready: bytes, injected: int) -> None:
        """Switches; a failure ends the session, for nothing said in plain text would be right."""
        facts = {"client_address": self._conversation.client_address}
        try:
            injected += await self._stream.start_tls(ready)
        except MailError as error:
            log.info("smtp.tls.failed", extra=facts | {"reason": str(error)})
            self._engine.send(replies.SHUTTING_DOWN)
            return
        if injected:
            log.warning("smtp.tls.injected_plaintext_discarded", extra=facts | {"octets": injected})
        self._conversation.tls = self._stream.tls
        self._conversation.hello = None

    async def _spool(self, content: bytes) -> None:
        """A full disk is told at the end of DATA, not before: there is no other place for a reply."""
        transaction = self._conversation.transaction
        if transaction is None or transaction.spool is None or transaction.spool_fault is not None:
            return
        try:
            await transaction.spool.write(content)
        except MailError as error:
            transaction.spool_fault = error
            transaction.spool.discard()

    async def _answer_end(self, end: DataEnd) -> Reply:
        transaction = self._conversation.transaction
        if transaction is None or transaction.spool is None:
            raise MailError(ErrorKind.INTERNAL, "end of DATA without a transaction")
        refusal = end.refusal
        if refusal is None and transaction.spool_fault is None:
            try:
                await transaction.spool.finish()
            except MailError as error:
                transaction.spool_fault = error
        if refusal is None and transaction.spool_fault is not None:
            refusal = refuse_error(transaction.spool_fault)
        if refusal is not None:
            note_refused(self._conversation, transaction, refusal)
            reply = refusal
        else:
            reply = await accept_message(self._conversation, transaction, transaction.spool)
        self._conversation.end_transaction()
        if reply.is_positive:
            self._conversation.errors = self._conversation.idle_commands = 0
        return reply

    def _enforce_patience(self, event: Event, reply: Reply) -> None:
        """Counts what the peer does wrong; too much of it ends the session."""
        conversation = self._conversation
        if self._engine.state is State.CLOSED:
            return
        if isinstance(event, BadCommand) or (isinstance(event, Auth | SaslResponse) and reply.is_permanent):
            conversation.errors += 1
        if not (isinstance(event, Mail | Rcpt | DataEnd) and reply.is_positive):
            conversation.idle_commands += 1
        seconds = self._site.clock.monotonic() - self._started
        too_many = conversation.refused_recipients >= self._settings.max_refused_recipients
        too_many = too_many or conversation.idle_commands > MAX_IDLE_COMMANDS + seconds
        if conversation.errors >= self._settings.max_errors or too_many:
            log.info("smtp.session.too_many_errors", extra={"client_address": conversation.client_address})
            self._note_denied("too many errors")
            self._end(replies.TOO_MANY_ERRORS, "errors")

    def _note_denied(self, why: str) -> None:
        self._site.events.note(EventType.DENIED, why, client_address=self._conversation.client_address)

    def _end(self, reply: Reply, reason: str) -> None:
        """Says why and closes."""
        self._out += self._engine.send(reply)
        self._site.counters.ended(reason)

    def _send(self, reply: Reply) -> None:
        self._out += self._engine.send(reply)

    async def _flush(self) -> None:
        """Writes what is held; a peer that does not read for `idle_seconds` loses the connection."""
        if not self._out:
            return
        data = bytes(self._out)
        self._out.clear()
        try:
            async with asyncio.timeout(self._settings.idle_seconds):
                await self._stream.send(data)
        except TimeoutError:
            log.info("smtp.session.unread", extra={"client_address": self._conversation.client_address})
            self._engine.send(replies.IDLE)
