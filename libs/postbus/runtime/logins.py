"""Open sessions end when their login does: a password that changed, an account switched off or gone, a member who left.

Sessions `enter` with the reply to their login and say what to do with directory's word. All are asked about together
(`watch`). A directory that is away ends nothing (promise 4): the question is asked again until it is answered.
"""

import logging
from collections.abc import Callable, Iterable

from postbus.contracts.logins import (
    MAX_SHOWN_LOGINS,
    AuthenticateReply,
    ConfirmedLogin,
    ConfirmLoginsRequest,
    LoginConfirmer,
    ShownLogin,
)
from postbus.core.errors import MailError
from postbus.runtime.watch import DirectoryWatch

log = logging.getLogger(__name__)

Tell = Callable[[ConfirmedLogin], None]
"""Takes directory's word on one session's login; must not raise."""


class LoginWatch(DirectoryWatch):
    """The open sessions of one process."""

    def __init__(self, confirmer: LoginConfirmer) -> None:
        super().__init__()
        self._confirmer = confirmer
        self._sessions: dict[ShownLogin, set[Tell]] = {}

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
