"""What commands see of their session: its account, its selected folder, its output."""

import asyncio
from collections.abc import Callable

import msgspec

from postbus.bus.subjects import folder_changed_subject
from postbus.contracts.events import FolderChanged
from postbus.contracts.logins import AuthenticateReply, ConfirmedLogin
from postbus.core.errors import ErrorKind, LocalProtocolError, MailError
from postbus.core.ids import FolderId, MailboxId, ModSeq, new_uuid7
from postbus.imap.engine import Engine
from postbus.imap.responses import format_highest_mod_seq
from postbusd.imap_gateway.deps import Deps
from postbusd.imap_gateway.ports import Wire
from postbusd.imap_gateway.room import Taken
from postbusd.imap_gateway.selected import SelectedFolder

FLUSH_OCTETS = 65_536
"""Output is handed to the transport in pieces of about this size."""


class Goodbye(Exception):  # noqa: N818 - it is a farewell, not always an error
    """Ends the session with `* BYE`."""

    def __init__(self, text: str, code: bytes = b"") -> None:
        super().__init__(text)
        self.text = text
        self.code = code


class SessionState:
    """The part of a session that command handlers use."""

    def __init__(self, wire: Wire, deps: Deps, engine: Engine) -> None:
        self.wire = wire
        self.deps = deps
        self.engine = engine
        self.started_ms = deps.clock.now_ms()
        self.session_id = new_uuid7(self.started_ms)
        self.account: AuthenticateReply | None = None
        self.selected: SelectedFolder | None = None
        self.condstore = False
        """The client knows mod_seqs: changes of flags are told with them from now on (RFC 7162 §3.1)."""
        self.mid_response = False
        """A response is being written in pieces: until its end nothing else may be said."""
        self.failed_logins = 0
        self.admit = _admit_all
        """Says whether one more session of a mailbox is welcome; set by the server."""
        self.rooms: list[Taken] = []
        """For the large literals of the command that is coming in."""
        self._output = bytearray()
        self._login_ended = False
        self._leave_logins: Callable[[], None] | None = None

    def begin_account(self, account: AuthenticateReply) -> None:
        """Logged in: from now on directory's word on the login counts."""
        self.account = account
        self.wire.welcome()
        self._leave_logins = self.deps.logins.enter(account, self._take_word)

    def _take_word(self, word: ConfirmedLogin) -> None:
        """A login that stands no more ends the session; one that does may have another quota."""
        if not word.stands:
            self._login_ended = True
            self.wire.bell.set()
        elif self.account is not None and self.account.quota_octets != word.quota_octets:
            self.account = msgspec.structs.replace(self.account, quota_octets=word.quota_octets)

    def give_back_room(self) -> None:
        """The message has come and gone."""
        while self.rooms:
            self.rooms.pop().give_back()

    def check_login(self) -> None:
        """Raises Goodbye when the login has ended."""
        if self._login_ended:
            raise Goodbye("This login has ended, log in again", b"AUTHENTICATIONFAILED")

    @property
    def mailbox_id(self) -> MailboxId:
        """Of the account; commands that need it are illegal before login."""
        return self.require_account().mailbox_id

    def require_account(self) -> AuthenticateReply:
        """The account."""
        if self.account is None:
            raise LocalProtocolError("nobody is logged in")
        return self.account

    def require_selected(self) -> SelectedFolder:
        """The selected folder; commands that need it are illegal without."""
        if self.selected is None:
            raise LocalProtocolError("no folder is selected")
        return self.selected

    def write(self, data: bytes) -> None:
        """Queues octets; large ones are handed over as they are."""
        if len(data) >= FLUSH_OCTETS:
            self._hand_over()
            self.wire.write(data)
            return
        self._output += data
        if len(self._output) >= FLUSH_OCTETS:
            self._hand_over()

    def _hand_over(self) -> None:
        if self._output:
            self.wire.write(bytes(self._output))
            self._output.clear()

    async def flush(self, if_much: bool = False) -> None:
        """Hands all output to the peer and waits while it is behind; `if_much`: only when pieces were handed over.

        Raises ConnectionError, also when the peer does not read for too long.
        """
        if not if_much:
            self._hand_over()
        try:
            async with asyncio.timeout(self.deps.settings.write_seconds):
                await self.wire.drain()
        except TimeoutError:
            raise ConnectionAbortedError("the peer does not read") from None

    async def wait_input(self, for_news: bool = False) -> bool:
        """See Session."""
        raise NotImplementedError

    def capability_code(self) -> bytes:
        """See Session."""
        raise NotImplementedError

    def enable_condstore(self) -> None:
        """Called by every CONDSTORE enabling command before its answer (RFC 7162 §3.1)."""
        if self.condstore:
            return
        self.condstore = True
        if self.selected is not None:
            self.write(format_highest_mod_seq(self.selected.told))

    async def unselect(self) -> None:
        """Closes the selected folder's view."""
        selected, self.selected = self.selected, None
        if selected is not None:
            await self.deps.views.close(selected.view, selected.watcher)

    async def announce(self, mod_seq: int, *folder_ids: FolderId) -> None:
        """Brings our own view up to date and wakes everybody else's, after a write."""
        selected = self.selected
        if selected is not None and selected.view.folder_id in folder_ids:
            try:
                await self.deps.views.refresh(selected.view, at_least=mod_seq)
            except MailError as error:
                if error.kind is not ErrorKind.UNAVAILABLE:
                    raise  # the write is done, and that is the answer; the sweep brings the view up to date
        changed = FolderChanged(mailbox_id=self.mailbox_id, folder_ids=folder_ids, mod_seq=ModSeq(mod_seq))
        await self.deps.bus.wake(folder_changed_subject(self.mailbox_id), changed)

    async def close(self) -> None:
        """Gives back what the session holds; octets still queued are handed over first."""
        if self._leave_logins is not None:
            self._leave_logins()
        self.give_back_room()
        self._hand_over()
        self.wire.close()
        await self.unselect()


def _admit_all(mailbox_id: MailboxId) -> bool:
    return True
