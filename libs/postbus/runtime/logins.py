"""Open sessions end when their login does: a password that changed, an account switched off or gone, a member who left.

Sessions `enter` with the reply to their login and say what to do with directory's word. All are asked about together:
soon after a change of the directory, after a bus that was away, and every RECHECK_SECONDS since wake-ups may be lost.
A directory that is away ends nothing (promise 4): the question is asked again until it is answered.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable

from postbus.contracts.directory import AuthenticateReply
from postbus.contracts.events import DirectoryChanged
from postbus.contracts.logins import (
    MAX_SHOWN_LOGINS,
    ConfirmedLogin,
    ConfirmLoginsRequest,
    LoginConfirmer,
    ShownLogin,
)
from postbus.core.errors import MailError

log = logging.getLogger(__name__)

RECHECK_SECONDS = 60.0
GATHER_SECONDS = 0.5
"""Between two rounds: a hundred changes in a row are asked about together."""
RETRY_SECONDS = 5.0

Tell = Callable[[ConfirmedLogin], None]
"""Takes directory's word on one session's login; must not raise."""


class LoginWatch:
    """The open sessions of one process."""

    def __init__(self, confirmer: LoginConfirmer) -> None:
        self._confirmer = confirmer
        self._sessions: dict[ShownLogin, set[Tell]] = {}
        self._due = asyncio.Event()
        self._revision = 0

    def enter(self, login: AuthenticateReply, tell: Tell) -> Callable[[], None]:
        """Begins to watch a session's login; the reply takes it out again, as often as it is called."""
        if not login.proof:  # of a directory that is older than this process (promise 9)
            return _nothing
        shown = ShownLogin(mailbox_id=login.mailbox_id, member=login.member, proof=login.proof)
        self._sessions.setdefault(shown, set()).add(tell)
        if login.revision < self._revision:  # the change that ends it may have been asked about before it came
            self._due.set()

        def leave() -> None:
            tells = self._sessions.get(shown, set())
            tells.discard(tell)
            if not tells:
                self._sessions.pop(shown, None)

        return leave

    async def on_changed(self, change: DirectoryChanged) -> None:
        """directory.changed."""
        self._revision = max(self._revision, change.revision)
        self._due.set()

    async def on_reconnect(self) -> None:
        """Changes may have been missed."""
        self._due.set()

    async def run(self) -> None:
        """Asks, for ever."""
        while True:
            try:
                async with asyncio.timeout(RECHECK_SECONDS):
                    await self._due.wait()
            except TimeoutError:
                pass
            self._due.clear()
            answered = await self.check()
            if not answered:
                self._due.set()
            await asyncio.sleep(GATHER_SECONDS if answered else RETRY_SECONDS)

    async def check(self) -> bool:
        """Asks about all sessions once; whether directory answered."""
        shown = tuple(self._sessions)
        try:
            for first in range(0, len(shown), MAX_SHOWN_LOGINS):
                await self._ask(shown[first : first + MAX_SHOWN_LOGINS])
        except MailError as error:
            log.warning("logins.unconfirmed", extra={"sessions": len(shown), "reason": str(error)})
            return False
        return True

    async def _ask(self, shown: tuple[ShownLogin, ...]) -> None:
        reply = await self._confirmer.confirm_logins(ConfirmLoginsRequest(logins=shown))
        self._revision = max(self._revision, reply.revision)
        for login, word in zip(shown, reply.logins, strict=True):
            self._tell(login, word, self._sessions.get(login, ()))

    def _tell(self, login: ShownLogin, word: ConfirmedLogin, sessions: Iterable[Tell]) -> None:
        told = list(sessions)
        if told and not word.stands:
            log.info("logins.ended", extra={"mailbox_id": login.mailbox_id, "sessions": len(told)})
        for tell in told:
            tell(word)


def _nothing() -> None:
    """Leaves what was never entered."""
