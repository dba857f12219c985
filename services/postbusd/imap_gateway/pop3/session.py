"""One POP3 session: AUTHORIZATION, then TRANSACTION on the INBOX as it is then, then UPDATE at QUIT (RFC 1939).

Whoever disconnects without QUIT, or is cut off, has changed nothing.
"""

import asyncio
import contextlib
import itertools
import logging
import os
from collections.abc import Awaitable, Callable, Mapping

from postbus.contracts.imap_gateway import Session as SessionInfo
from postbus.contracts.logins import AuthenticateReply, ConfirmedLogin
from postbus.core.errors import ErrorKind, MailError, RemoteProtocolError
from postbus.core.trace import new_trace, use_trace
from postbus.mailstore.database import OutcomeUnknownError
from postbus.pop3.commands import Command, Verb, parse_command
from postbus.pop3.replies import Stuffing, format_error, format_lines, format_ok
from postbus.runtime.telemetry import Span
from postbusd.imap_gateway.deps import Deps
from postbusd.imap_gateway.pop3.login import authenticate, list_mechanisms, log_in
from postbusd.imap_gateway.pop3.maildrop import Maildrop
from postbusd.imap_gateway.pop3.state import GOING_DOWN, Goodbye, Pop3State
from postbusd.imap_gateway.ports import Wire

log = logging.getLogger(__name__)

MAX_ERRORS = 20
COMMANDS_A_TURN = 16
"""Pipelined commands between two turns of the other sessions."""
LOCK_SECONDS = 90.0
"""A process that dies keeps a mailbox this long; a session renews its lock three times as often."""
CLEAN_UP_SECONDS = 5.0
EPOCH_OVER = format_error("the mail store goes on from an earlier state, log in again", "SYS/TEMP")
LOGIN_ENDED = format_error("this login has ended, log in again", "AUTH")
_AUTHORIZATION = frozenset({Verb.USER, Verb.PASS, Verb.AUTH, Verb.APOP, Verb.STLS, Verb.UTF8})
_ANYWHERE = frozenset({Verb.CAPA, Verb.QUIT})
_NEEDS_TLS = frozenset({Verb.USER, Verb.PASS, Verb.AUTH})


class Pop3Session(Pop3State):
    """Runs one connection from greeting to end."""

    def __init__(self, wire: Wire, deps: Deps) -> None:
        super().__init__(wire, deps)
        self.account: AuthenticateReply | None = None
        self._drop: Maildrop | None = None
        self._username = ""
        self._errors = 0
        self._holds_lock = False
        self._mid_message = False
        """A message is being sent: until its end nothing else may be said."""
        self._life = asyncio.timeout(None)
        self._leave_logins: Callable[[], None] = _nothing
        self._renewing: asyncio.Task[None] | None = None
        self._handlers: Mapping[Verb, Callable[[Command], Awaitable[None]]] = {
            Verb.APOP: self._refuse_apop,
            Verb.AUTH: self._auth,
            Verb.CAPA: self._capa,
            Verb.DELE: self._dele,
            Verb.LIST: self._list,
            Verb.NOOP: self._noop,
            Verb.PASS: self._pass,
            Verb.RETR: self._retr,
            Verb.RSET: self._rset,
            Verb.STAT: self._stat,
            Verb.STLS: self._stls,
            Verb.TOP: self._top,
            Verb.UIDL: self._uidl,
            Verb.USER: self._user,
            Verb.UTF8: self._utf8,
        }

    def drain_soon(self) -> None:
        """After the command that is under way, or at once."""
        self._end_soon(GOING_DOWN)

    def _end_soon(self, reply: bytes) -> None:
        self.ended = self.ended or reply
        self.wire.bell.set()

    def end_epoch(self) -> bool:
        """Ends a session that may have been told of a folder that is another one now, wherever it stands."""
        if self.account is None or self._drop is None:
            return False
        self._life.reschedule(0)
        return True

    def describe(self) -> SessionInfo:
        """For `list_sessions`."""
        return SessionInfo(
            session_id=self.session_id,
            mailbox_id=self.account.mailbox_id if self.account is not None else None,
            address=self.account.address if self.account is not None else "",
            protocol="pop3",
            client_address=self.wire.peer_address,
            started_ms=self.started_ms,
            folder="INBOX" if self._drop is not None else "",
            state="transaction" if self._drop is not None else "authorization",
        )

    async def run(self) -> None:
        """Until QUIT, a last line or the peer's end; never raises but for cancellation."""
        told = Span("pop3.session", new_trace(), None, {"session_id": self.session_id})
        try:
            with use_trace(told.context):
                async with self._life:
                    await self._converse()
        except Goodbye as goodbye:
            self.write(goodbye.reply)
        except ConnectionError:
            log.debug("pop3.session.lost", extra={"session_id": self.session_id})
        except Exception as error:
            self._end_unexpectedly(error)
        finally:
            self._drop = None
            told.end()
            await asyncio.shield(self._clean_up())

    def _end_unexpectedly(self, error: Exception) -> None:
        """Says why, unless that would land in the middle of a message."""
        extra = {"session_id": self.session_id}
        if self._life.expired():
            reply = EPOCH_OVER
            log.info("pop3.session.ended", extra=extra | {"reason": "epoch"})
        else:
            incident = os.urandom(6).hex()
            self.deps.metrics.incidents.inc()
            log.error("pop3.session.failed", extra=extra | {"incident": incident}, exc_info=error)
            reply = format_error(f"internal error, incident {incident}", "SYS/TEMP")
        if not self._mid_message:
            self.write(reply)

    async def _clean_up(self) -> None:
        """Whatever happens here must not reach the other sessions."""
        self._leave_logins()
        with contextlib.suppress(ConnectionError):
            await self.flush()
        if self._renewing is not None:
            self._renewing.cancel()
        try:
            async with asyncio.timeout(CLEAN_UP_SECONDS):
                await self._let_go()
        except Exception:
            log.exception("pop3.session.clean_up_failed", extra={"session_id": self.session_id})
        self.wire.close()

    async def _converse(self) -> None:
        self.write(format_ok(f"{self.deps.mail_host} ready"))
        for turn in itertools.count(1):
            if not turn % COMMANDS_A_TURN:
                await asyncio.sleep(0)
            line = await self.read_line()
            self.check()
            if line is None:
                self._count_error("the line is too long")
                continue
            try:
                command = parse_command(line)
            except RemoteProtocolError as error:
                self._count_error(str(error))
                continue
            if command.verb is Verb.QUIT:
                await self._quit()
                return
            await self._run(command)

    async def _run(self, command: Command) -> None:
        refusal = self._refusal(command.verb)
        if refusal:
            self._count_error(refusal)
            return
        try:
            await self._handlers[command.verb](command)
        except RemoteProtocolError as error:
            self._count_error(str(error))
        except MailError as error:
            self._tell(error)
        self.deps.metrics.pop3_commands.labels(command.verb.value.lower()).inc()
        await self.flush(if_much=True)

    def _refusal(self, verb: Verb) -> str:
        if verb in _ANYWHERE:
            return ""
        if (self._drop is None) is not (verb in _AUTHORIZATION):
            return "log in first" if self._drop is None else "you are logged in"
        return "passwords need TLS: STLS first" if verb in _NEEDS_TLS and not self.wire.is_secure else ""

    def _count_error(self, text: str) -> None:
        self._errors += 1
        reply = format_error(text)
        if self._errors >= MAX_ERRORS:
            raise Goodbye(reply)
        self.write(reply)

    def _tell(self, error: MailError) -> None:
        if error.kind is ErrorKind.NOT_FOUND:
            self.write(format_error("the message is gone", "SYS/PERM"))
        else:
            log.warning("pop3.command.failed", extra={"session_id": self.session_id, "reason": str(error)})
            self.write(format_error("that can't be done now, try again later", "SYS/TEMP"))

    # AUTHORIZATION

    async def _capa(self, _: Command) -> None:
        lines = ["TOP", "UIDL", "RESP-CODES", "AUTH-RESP-CODE", "PIPELINING", "EXPIRE NEVER", "UTF8 USER"]
        if self._drop is None and self.wire.is_secure:
            lines += ["USER", f"SASL {' '.join(list_mechanisms(self))}"]
        elif self._drop is None and self.deps.tls_offered:
            lines += ["STLS"]
        self.write(format_lines("what can be had", lines))

    async def _utf8(self, _: Command) -> None:
        """RFC 6856 §2: headers are sent as they are in any case."""
        self.write(format_ok())

    async def _stls(self, _: Command) -> None:
        if self.wire.is_secure:
            raise RemoteProtocolError("TLS is on")
        if not self.deps.tls_offered:
            raise RemoteProtocolError("TLS can't be had here")
        self.write(format_ok("begin"))
        await self.flush()
        self.forget_input()
        await self.wire.start_tls()
        self._username = ""

    async def _refuse_apop(self, _: Command) -> None:
        raise RemoteProtocolError("APOP needs passwords in plain text: they are not kept here")

    async def _user(self, command: Command) -> None:
        self._username = command.text
        self.write(format_ok())

    async def _pass(self, command: Command) -> None:
        username, self._username = self._username, ""
        if not username:
            raise RemoteProtocolError("USER first")
        await self._open(await log_in(self, username, command.text))

    async def _auth(self, command: Command) -> None:
        if not command.words:
            self.write(format_lines("mechanisms", list_mechanisms(self)))
            return
        mechanism = command.words[0].upper()
        if mechanism not in list_mechanisms(self) or len(command.words) > 2:
            raise RemoteProtocolError("the mechanism is not offered")
        initial = command.words[1] if len(command.words) > 1 else None
        await self._open(await authenticate(self, mechanism, initial))

    async def _open(self, account: AuthenticateReply | None) -> None:
        """The mailbox for this session alone."""
        if account is None:
            return
        if not await self.deps.store.claim_drop(account.mailbox_id, self.session_id, LOCK_SECONDS):
            self.write(format_error("another session reads this mailbox", "IN-USE"))
            return
        self.account, self._holds_lock = account, True
        drop = Maildrop(self.deps, account.mailbox_id)
        try:
            await drop.open()
        except MailError:
            await self._release()
            self.account = None
            raise
        self._drop = drop
        self.login_deadline = None
        self.wire.welcome()
        self._leave_logins = self.deps.logins.enter(account, self._take_word)
        self._renewing = asyncio.create_task(self._renew(account))
        self.write(format_ok(f"{drop.totals[0]} messages"))

    def _take_word(self, word: ConfirmedLogin) -> None:
        if not word.stands:
            self._end_soon(LOGIN_ENDED)

    async def _renew(self, account: AuthenticateReply) -> None:
        """A lock that another has by now (the database was away for long) ends the session."""
        while True:
            await asyncio.sleep(LOCK_SECONDS / 3)
            try:
                mine = await self.deps.store.claim_drop(account.mailbox_id, self.session_id, LOCK_SECONDS)
            except MailError as error:
                log.warning("pop3.lock.unrenewed", extra={"session_id": self.session_id, "reason": str(error)})
                continue
            if not mine:
                self._holds_lock = False
                self._end_soon(format_error("another session reads this mailbox", "IN-USE"))
                return

    async def _release(self) -> None:
        if self._holds_lock and self.account is not None:
            self._holds_lock = False
            await self.deps.store.release_drop(self.account.mailbox_id, self.session_id)

    async def _let_go(self) -> None:
        """Whoever was told goodbye may come back at once; a lock that can't be given back ends by itself."""
        try:
            await self._release()
        except MailError as error:
            log.warning("pop3.lock.unreleased", extra={"session_id": self.session_id, "reason": str(error)})

    # TRANSACTION

    @property
    def drop(self) -> Maildrop:
        """Commands that need it are refused before login."""
        assert self._drop is not None
        return self._drop

    async def _noop(self, _: Command) -> None:
        self.write(format_ok())

    async def _stat(self, _: Command) -> None:
        number, octets = self.drop.totals
        self.write(format_ok(f"{number} {octets}"))

    async def _list(self, command: Command) -> None:
        if command.numbers:
            number = self._require(command.numbers[0])
            self.write(format_ok(f"{number} {self.drop.octets(number)}"))
            return
        lines = (f"{number} {self.drop.octets(number)}" for number in self.drop.numbers())
        self.write(format_lines(f"{self.drop.totals[0]} messages", lines))

    async def _uidl(self, command: Command) -> None:
        if command.numbers:
            number = self._require(command.numbers[0])
            self.write(format_ok(f"{number} {self.drop.unique_id(number)}"))
            return
        lines = (f"{number} {self.drop.unique_id(number)}" for number in self.drop.numbers())
        self.write(format_lines("", lines))

    async def _dele(self, command: Command) -> None:
        self.drop.delete(self._require(command.numbers[0]))
        self.write(format_ok("goes at QUIT"))

    async def _rset(self, _: Command) -> None:
        self.drop.reset()
        self.write(format_ok())

    async def _retr(self, command: Command) -> None:
        await self._send(command.numbers[0], None)
        self.drop.note_read(command.numbers[0])

    async def _top(self, command: Command) -> None:
        await self._send(*command.numbers)

    async def _send(self, number: int, body_lines: int | None) -> None:
        """Raises MailError while nothing was said, afterwards ConnectionAbortedError: half a message has no end."""
        pieces = self.drop.read(await self.drop.load(self._require(number)), body_lines)
        stuffing = Stuffing()
        try:
            async for piece in pieces:
                if not self._mid_message:
                    self.write(format_ok(f"{self.drop.octets(number)} octets"))
                    self._mid_message = True
                self.write(stuffing.feed(piece))
                await self.flush()
        except MailError as error:
            if not self._mid_message:
                raise
            log.error("pop3.message.cut_short", extra={"session_id": self.session_id, "reason": str(error)})
            raise ConnectionAbortedError("message bytes are away") from error
        self.write(stuffing.end())
        self._mid_message = False

    def _require(self, number: int) -> int:
        if not self.drop.has(number):
            raise RemoteProtocolError(f"there is no message {number}")
        return number

    # UPDATE

    async def _quit(self) -> None:
        if self._drop is not None:
            try:
                await self._drop.update()
            except (MailError, OutcomeUnknownError) as error:
                log.warning("pop3.update.failed", extra={"session_id": self.session_id, "reason": str(error)})
                self.write(format_error("some deleted messages may still be there", "SYS/TEMP"))
                return
            finally:
                self._drop = None
            await self._let_go()
        self.write(format_ok("goodbye"))


def _nothing() -> None:
    """Nobody logged in."""
