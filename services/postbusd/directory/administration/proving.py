"""Passwords that are shown again before something that matters, guessed no faster than at a login."""

import math

from postbus.core.errors import ErrorKind, MailError, Retry
from postbusd.directory.administration.desk import Desk, Tell, Tools
from postbusd.directory.administration.scope import forbidden
from postbusd.directory.passwords import is_possible, prepare_password
from postbusd.directory.throttle import LoginThrottle
from postbusd.directory.values import StoredPassword

NETWORK = "api"
"""To the throttle: requests of users who are signed in all come from admin-api."""


class ProvingDesk(Desk):
    """The base of desks that ask for the current password, or for a code."""

    def __init__(self, tools: Tools, tell: Tell) -> None:
        super().__init__(tools, tell)
        self._throttle = LoginThrottle()

    async def _prove_own(self, username: str, password: str) -> StoredPassword:
        """What is stored of the password, once it was shown. Raises MailError: FORBIDDEN, RATE_LIMITED."""
        stored = await self._repository.load_password(username)
        if stored is None:
            raise forbidden("current_password: there is none: an administrator sets the first one")
        self._take_attempt("current_password", username)
        right = is_possible(password) and await self._tools.hasher.verify(
            stored.secret_hash, prepare_password(password)
        )
        self._note_attempt(username, right=right)
        if not right:
            raise forbidden("current_password: is another one")
        return stored

    def _take_attempt(self, field: str, username: str, network: str = NETWORK) -> None:
        """Raises MailError: RATE_LIMITED."""
        now = self._tools.clock.monotonic()
        wait = self._throttle.blocked_seconds(username, network, now) or self._throttle.take_hash(
            username, network, now
        )
        if wait:
            reason = f"{field}: too many attempts, try again later"
            raise MailError(ErrorKind.RATE_LIMITED, reason, Retry(after_seconds=math.ceil(wait)))

    def _note_attempt(self, username: str, network: str = NETWORK, *, right: bool) -> None:
        note = self._throttle.note_success if right else self._throttle.note_failure
        note(username, network, self._tools.clock.monotonic())
