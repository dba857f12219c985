"""Users change their own password: by the current one, guessed no faster than at a login."""

import math

from postbus.contracts.condition import Condition
from postbus.contracts.own_password import ChangePasswordReply, ChangePasswordRequest
from postbus.contracts.standing import ADMINISTRATOR
from postbus.core.errors import ErrorKind, MailError, Retry
from postbusd.directory.administration.desk import Desk, Tell, Tools
from postbusd.directory.administration.refusals import invalid
from postbusd.directory.administration.scope import forbidden
from postbusd.directory.passwords import check_new_password, is_possible, prepare_password
from postbusd.directory.throttle import LoginThrottle
from postbusd.directory.values import StoredPassword

NETWORK = "api"
"""To the throttle: all requests come from admin-api."""


class OwnPasswords(Desk):
    """The OwnPassword."""

    def __init__(self, tools: Tools, tell: Tell) -> None:
        super().__init__(tools, tell)
        self._throttle = LoginThrottle()

    async def change_password(self, request: ChangePasswordRequest) -> ChangePasswordReply:
        """Compares the current one, then writes the new one where nobody else has meanwhile."""
        if request.actor == ADMINISTRATOR:
            raise forbidden(f"actor: {ADMINISTRATOR} has API tokens and no password")
        standing = await self._standing(request.actor)
        new = _check_new(request.new_password)
        stored = await self._repository.load_password(standing.actor)
        if stored is None:
            raise forbidden("current_password: there is none: an administrator sets the first one")
        await self._prove(standing.actor, stored, request.current_password)
        tag = self._tools.keys.tag(new)
        if await self._tools.hasher.verify(stored.secret_hash, new):
            return ChangePasswordReply(changed=False)
        password = StoredPassword(secret_hash=await self._tools.hasher.hash(new), tag=tag)
        act = self._act(standing, Condition(), f"password of user {standing.actor} changed")
        written = await self._repository.change_password(standing.actor, stored.secret_hash, password, act)
        await self._announce(written)
        return ChangePasswordReply(changed=written.changed)

    async def _prove(self, username: str, stored: StoredPassword, password: str) -> None:
        """Raises MailError: FORBIDDEN, RATE_LIMITED."""
        now = self._tools.clock.monotonic()
        wait = self._throttle.blocked_seconds(username, NETWORK, now) or self._throttle.take_hash(
            username, NETWORK, now
        )
        if wait:
            raise MailError(
                ErrorKind.RATE_LIMITED, "current_password: too many attempts", Retry(after_seconds=math.ceil(wait))
            )
        right = is_possible(password) and await self._tools.hasher.verify(
            stored.secret_hash, prepare_password(password)
        )
        if not right:
            self._throttle.note_failure(username, NETWORK, self._tools.clock.monotonic())
            raise forbidden("current_password: is another one")
        self._throttle.note_success(username, NETWORK, self._tools.clock.monotonic())


def _check_new(password: str) -> str:
    try:
        return check_new_password(password)
    except MailError as error:
        raise invalid("new_password", error.detail.partition(": ")[2]) from error
