"""One IMAP session: feeds the engine, runs commands one after the other, writes what they say.

What a command may say about other messages it says at its end: flags and new messages always, EXPUNGE never in FETCH,
STORE and SEARCH by sequence number (RFC 9051 §7.5.1). A failure of one command is its own: the session goes on.
"""

import asyncio
import itertools
import logging
import math
import os

from postbus.contracts.imap_gateway import Session as SessionInfo
from postbus.core.errors import MailError, RemoteProtocolError
from postbus.core.trace import new_trace, use_trace
from postbus.imap.command import Command
from postbus.imap.commands.fetch import Fetch
from postbus.imap.commands.login import Authenticate, Login, StartTls
from postbus.imap.commands.search import Search
from postbus.imap.commands.session import Idle
from postbus.imap.commands.store import Store
from postbus.imap.engine import CommandRefused, Engine, Line, NeedData
from postbus.imap.framer import LiteralWanted
from postbus.imap.responses import CONTINUE, format_capability, format_tagged, format_untagged
from postbus.imap.transitions import State
from postbus.mailstore.database import OutcomeUnknownError
from postbus.runtime.octets import SMALL_OCTETS
from postbus.runtime.telemetry import Span
from postbusd.imap_gateway.capabilities import list_capabilities
from postbusd.imap_gateway.deps import Deps
from postbusd.imap_gateway.dispatch import run_command
from postbusd.imap_gateway.errors import Reply, render_error, render_incident
from postbusd.imap_gateway.ports import Wire
from postbusd.imap_gateway.state import Goodbye, SessionState

log = logging.getLogger(__name__)

CLEAN_UP_SECONDS = 5.0
ROOM_SECONDS = 60.0
"""How long a large literal may wait for its turn."""
SLOWEST_OCTETS_PER_SECOND = 16_384
"""A large literal that comes more slowly gives its room to others."""
EVENTS_A_TURN = 16
"""Pipelined commands that need no waiting, between two turns of the other sessions."""
OUTCOME_UNKNOWN = "The last command may or may not have been done, log in again and look"
GOING_DOWN = "Server is going down, come back in a moment"
EPOCH_OVER = "The mail store goes on from an earlier state, log in again and look"
"""After a failover or a restore: what this client was told may not be so any more."""


class Session(SessionState):
    """Runs one connection from greeting to end."""

    def __init__(self, wire: Wire, deps: Deps) -> None:
        super().__init__(wire, deps, Engine(deps.settings.max_append_octets))
        self._draining = False
        self._running = False
        self._life = asyncio.timeout(None)
        self._alive = True
        self._literal_deadline = math.inf
        self._login_deadline = deps.clock.monotonic() + deps.settings.login_seconds

    def drain_soon(self) -> None:
        """Says BYE after the command that is under way, or at once."""
        self._draining = True
        self.wire.bell.set()

    def end_epoch(self) -> bool:
        """Ends a session that may have been told of folders, wherever it stands: nothing more is told but BYE.

        A response that is half written can't be ended in any other way than with the connection.
        """
        if self.account is None or not self._alive:
            return False
        self._life.reschedule(0)
        return True

    def describe(self) -> SessionInfo:
        """For `list_sessions`."""
        return SessionInfo(
            session_id=self.session_id,
            mailbox_id=self.account.mailbox_id if self.account is not None else None,
            address=self.account.address if self.account is not None else "",
            protocol="imap",
            client_address=self.wire.peer_address,
            started_ms=self.started_ms,
            folder=self.selected.name if self.selected is not None else "",
            state=self.engine.state.value,
        )

    async def run(self) -> None:
        """Until LOGOUT, BYE or the peer's end; never raises but for cancellation."""
        told = Span("imap.session", new_trace(), None, {"session_id": self.session_id})
        try:
            with use_trace(told.context):
                async with self._life:
                    try:
                        await self._converse()
                    finally:
                        self._alive = False
        except Goodbye as goodbye:
            self.write(format_untagged(b"BYE", goodbye.text, goodbye.code))
        except ConnectionError:
            log.debug("imap.session.lost", extra={"session_id": self.session_id})
        except Exception:
            if self._life.expired():
                self._end_in_time()
            else:
                incident = self._count_incident()
                log.exception("imap.session.failed", extra={"incident": incident, "session_id": self.session_id})
                self.write(format_untagged(b"BYE", f"Internal error, incident {incident}"))
        finally:
            told.end()
            await asyncio.shield(self._clean_up())

    def _end_in_time(self) -> None:
        """Says BYE (RFC 9051 §7.1.5), unless that would land in the middle of a literal."""
        if not self.mid_response:
            self.write(format_untagged(b"BYE", EPOCH_OVER, b"UNAVAILABLE"))
        log.info("imap.session.ended", extra={"session_id": self.session_id, "reason": "epoch"})

    async def _clean_up(self) -> None:
        """Whatever happens here must not reach the other sessions."""
        try:
            async with asyncio.timeout(CLEAN_UP_SECONDS):
                await self.close()
        except Exception:
            log.exception("imap.session.clean_up_failed", extra={"session_id": self.session_id})

    async def _converse(self) -> None:
        self.write(format_untagged(b"OK", f"{self.deps.mail_host} ready", self.capability_code()))
        for turn in itertools.count(1):
            if self.engine.state is State.LOGOUT:
                break
            if not turn % EVENTS_A_TURN:
                await asyncio.sleep(0)
            try:
                event = self.engine.next_event()
            except RemoteProtocolError as error:
                raise Goodbye(str(error)) from error
            match event:
                case NeedData():
                    await self.flush()
                    if not await self.wait_input():
                        continue
                case LiteralWanted():
                    await self._make_room(event)
                case CommandRefused():
                    self._refuse(event)
                    self._end_literals()
                case Line():
                    raise Goodbye("Unexpected line")  # only a running command takes lines, and it takes them itself
                case _:
                    self._literal_deadline = math.inf
                    await self._run(event)
                    self._end_literals()
        await self.flush()

    async def _make_room(self, wanted: LiteralWanted) -> None:
        """Lets a literal come in once there is room for it, and not for ever. Raises Goodbye where there is none."""
        if self.account is not None and wanted.octets > SMALL_OCTETS:
            try:
                async with asyncio.timeout(ROOM_SECONDS):
                    self.rooms.append(await self.deps.room.take(self.mailbox_id, wanted.octets))
            except TimeoutError:
                raise Goodbye("Too many large messages at once, try again later", b"UNAVAILABLE") from None
            seconds = self.deps.settings.idle_seconds + wanted.octets / SLOWEST_OCTETS_PER_SECOND
            self._literal_deadline = self.deps.clock.monotonic() + seconds
        if wanted.waits:
            self.write(CONTINUE)

    def _end_literals(self) -> None:
        self._literal_deadline = math.inf
        self.give_back_room()

    def _refuse(self, refused: CommandRefused) -> None:
        self.deps.metrics.commands.labels("unknown", "bad").inc()
        if refused.tag is None:
            self.write(format_untagged(refused.status, refused.text, refused.code))
        else:
            self.write(format_tagged(refused.tag, refused.status, refused.text, refused.code))

    async def _run(self, command: Command) -> None:
        name = type(command).__name__.lower()
        self.check_login()
        started = self.deps.clock.monotonic()
        reply = await self._attempt(command, name)
        self.engine.complete(reply.ok)
        self._tell_news(command)
        code = reply.code
        if reply.ok and isinstance(command, Login | Authenticate):
            code = self.capability_code()  # saves the client a CAPABILITY (RFC 9051 §7.1)
        self.write(format_tagged(command.tag, reply.status, reply.text, code))
        self.deps.metrics.commands.labels(name, reply.status.decode("ascii").lower()).inc()
        if not isinstance(command, Idle):
            self.deps.metrics.command_seconds.labels(name).observe(self.deps.clock.monotonic() - started)
        if isinstance(command, StartTls) and reply.ok:
            await self.flush()
            self.engine.discard_input()
            await self.wire.start_tls()
        await self.flush(if_much=True)

    async def _attempt(self, command: Command, name: str) -> Reply:
        try:
            return await run_command(self, command)
        except OutcomeUnknownError as error:
            raise Goodbye(OUTCOME_UNKNOWN, b"UNAVAILABLE") from error
        except MailError as error:
            return render_error(error)
        except (ConnectionError, Goodbye):
            raise
        except Exception:
            incident = self._count_incident()
            extra = {"incident": incident, "command": name, "session_id": self.session_id}
            log.exception("imap.command.failed", extra=extra)
            return render_incident(incident)

    def _count_incident(self) -> str:
        self.deps.metrics.incidents.inc()
        return os.urandom(6).hex()

    def _tell_news(self, command: Command) -> None:
        selected = self.selected
        if selected is None or self.engine.state is not State.SELECTED:
            return
        if selected.view.gone:
            raise Goodbye("The selected folder is gone")
        if selected.has_news:
            by_number = isinstance(command, Fetch | Store | Search) and not command.uid
            self.write(selected.format_news(not by_number, self.condstore))

    async def wait_input(self, for_news: bool = False) -> bool:
        """Waits for octets and feeds them; with `for_news` returns False when only the bell rang.

        Raises Goodbye after the time-out or when the process drains, ConnectionError when the peer is gone.
        """
        logged_in = self.engine.state is not State.NOT_AUTHENTICATED
        seconds = self.deps.settings.idle_seconds
        if not logged_in:  # a client that sends an octet now and then gets no more than one that is silent
            seconds = max(0.0, self._login_deadline - self.deps.clock.monotonic())
        seconds = max(0.0, min(seconds, self._literal_deadline - self.deps.clock.monotonic()))
        try:
            async with asyncio.timeout(seconds):
                while True:
                    self.wire.bell.clear()
                    data = self.wire.take()
                    if data:
                        self.engine.receive_data(data)
                        return True
                    self.check_login()
                    if self._draining:
                        raise Goodbye(GOING_DOWN)
                    if for_news and self._has_news():
                        return False
                    await self.wire.bell.wait()
        except TimeoutError:
            raise Goodbye("Nothing came for too long", b"" if logged_in else b"UNAVAILABLE") from None

    def _has_news(self) -> bool:
        return self.selected is not None and self.selected.has_news

    def capability_code(self) -> bytes:
        """For response codes."""
        return format_capability(
            list_capabilities(
                logged_in=self.engine.state is not State.NOT_AUTHENTICATED,
                secure=self.wire.is_secure,
                tls_offered=self.deps.tls_offered,
                tokens=bool(self.deps.provider.configuration_url),
                append_limit=self.deps.settings.max_append_octets,
            )
        )
