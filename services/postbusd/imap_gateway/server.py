"""All sessions of a process, IMAP and POP3: limits, the list of them, and their end."""

import asyncio
import logging

from postbus.contracts.imap_gateway import ListSessionsReply, ListSessionsRequest
from postbus.core.ids import MailboxId
from postbus.imap.responses import format_untagged
from postbus.pop3.replies import format_error
from postbusd.imap_gateway.deps import Deps
from postbusd.imap_gateway.pop3.session import Pop3Session
from postbusd.imap_gateway.ports import Wire
from postbusd.imap_gateway.session import Session

log = logging.getLogger(__name__)

MAX_LISTED_SESSIONS = 10_000
TOO_MANY_IMAP = format_untagged(b"BYE", "Too many sessions, try again later", b"UNAVAILABLE")
TOO_MANY_POP3 = format_error("too many sessions, try again later", "SYS/TEMP")


class ImapServer:
    """Implements `postbus.contracts.imap_gateway.ImapGateway` and runs the sessions."""

    def __init__(self, deps: Deps) -> None:
        self._deps = deps
        self._sessions: dict[str, Session | Pop3Session] = {}
        self._arrived: asyncio.Queue[Session | Pop3Session] = asyncio.Queue()
        self._empty = asyncio.Event()
        self._empty.set()
        self._draining = False

    def accept(self, wire: Wire, listener: str) -> None:
        """A connection is there; over the limit it gets BYE at once."""
        self._deps.metrics.connections.labels(listener).inc()
        is_pop3 = listener in ("pop3", "pop3s")
        if self._draining or len(self._sessions) >= self._deps.settings.max_sessions:
            wire.write(TOO_MANY_POP3 if is_pop3 else TOO_MANY_IMAP)
            wire.close()
            return
        session = Pop3Session(wire, self._deps) if is_pop3 else self._make_imap(wire)
        self._sessions[session.session_id] = session
        self._deps.metrics.sessions.set(len(self._sessions))
        self._empty.clear()
        self._arrived.put_nowait(session)

    def _make_imap(self, wire: Wire) -> Session:
        session = Session(wire, self._deps)
        session.admit = self._admits
        return session

    def _admits(self, mailbox_id: MailboxId) -> bool:
        own = sum(1 for each in self._sessions.values() if each.account and each.account.mailbox_id == mailbox_id)
        return own < self._deps.settings.max_sessions_per_mailbox

    async def run(self) -> None:
        """Runs sessions until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            while True:
                session = await self._arrived.get()
                tasks.create_task(self._run(session))

    async def _run(self, session: Session | Pop3Session) -> None:
        try:
            await session.run()
        finally:
            self._sessions.pop(session.session_id, None)
            self._deps.metrics.sessions.set(len(self._sessions))
            if not self._sessions:
                self._empty.set()

    async def drain(self) -> None:
        """BYE to everybody after the command under way; returns when all are gone. The process bounds it."""
        self._draining = True
        for session in tuple(self._sessions.values()):
            session.drain_soon()
        await self._empty.wait()

    def end_epoch(self) -> int:
        """BYE to everybody who may have been told of folders, at once; how many."""
        return sum(session.end_epoch() for session in tuple(self._sessions.values()))

    async def list_sessions(self, request: ListSessionsRequest) -> ListSessionsReply:
        """The open sessions, the oldest first."""
        wanted = [
            info
            for info in (session.describe() for session in self._sessions.values())
            if request.mailbox_id is None or info.mailbox_id == request.mailbox_id
        ]
        limit = max(0, min(request.limit, MAX_LISTED_SESSIONS))
        return ListSessionsReply(sessions=tuple(wanted[:limit]), total=len(wanted))
