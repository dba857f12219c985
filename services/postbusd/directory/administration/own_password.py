"""Users change their own password by the current one, or by a code that went to their recovery address."""

from postbus.contracts.condition import Condition
from postbus.contracts.own_password import ChangePasswordReply, ChangePasswordRequest
from postbus.contracts.password_reset import (
    RESET_SECONDS,
    BeginResetReply,
    BeginResetRequest,
    FinishResetReply,
    FinishResetRequest,
)
from postbus.contracts.standing import ADMINISTRATOR
from postbus.core.errors import ErrorKind, MailError
from postbusd.directory.administration.proving import ProvingDesk
from postbusd.directory.administration.refusals import invalid
from postbusd.directory.administration.scope import forbidden
from postbusd.directory.administration.secrets import make_secret
from postbusd.directory.names import check_username
from postbusd.directory.passwords import check_new_password
from postbusd.directory.values import StoredPassword

RESET_PAUSE_SECONDS = 300
"""Between two codes of one user: nobody's recovery address is flooded."""
MAX_CODE_CHARACTERS = 100


class OwnPasswords(ProvingDesk):
    """The OwnPassword and the PasswordReset."""

    async def change_password(self, request: ChangePasswordRequest) -> ChangePasswordReply:
        """Compares the current one, then writes the new one where nobody else has meanwhile."""
        if request.actor == ADMINISTRATOR:
            raise forbidden(f"actor: {ADMINISTRATOR} has API tokens and no password")
        standing = await self._standing(request.actor)
        new = _check_new(request.new_password)
        stored = await self._prove_own(standing.actor, request.current_password)
        if await self._tools.hasher.verify(stored.secret_hash, new):
            return ChangePasswordReply(changed=False)
        password = await self._store(new)
        act = self._act(standing, Condition(), f"password of user {standing.actor} changed")
        written = await self._repository.change_password(standing.actor, stored.secret_hash, password, act)
        await self._announce(written)
        return ChangePasswordReply(changed=written.changed)

    async def begin_reset(self, request: BeginResetRequest) -> BeginResetReply:
        """A code, where it can be sent to somebody."""
        try:
            username = check_username(request.username)
        except MailError:
            return BeginResetReply()
        code = make_secret()
        address = await self._repository.begin_reset(
            username, self._tools.keys.index(code), RESET_SECONDS, RESET_PAUSE_SECONDS
        )
        return BeginResetReply(recovery_address=address, code=code, username=username) if address else BeginResetReply()

    async def finish_reset(self, request: FinishResetRequest) -> FinishResetReply:
        """Sets the password, once for each code."""
        new = _check_new(request.new_password)
        code = request.code.strip().lower()
        index = self._tools.keys.index(code) if 0 < len(code) <= MAX_CODE_CHARACTERS and code.isascii() else ""
        username = await self._repository.find_reset(index)
        if username is None:
            raise _wrong_code()
        standing = await self._standing(username)
        password = await self._store(new)
        act = self._act(standing, Condition(), f"password of user {username} reset by the recovery address")
        written = await self._repository.finish_reset(index, password, act)
        if written is None:
            raise _wrong_code()
        await self._announce(written)
        return FinishResetReply(username=username)

    async def _store(self, new: str) -> StoredPassword:
        return StoredPassword(secret_hash=await self._tools.hasher.hash(new), tag=self._tools.keys.tag(new))


def _wrong_code() -> MailError:
    return MailError(ErrorKind.UNAUTHENTICATED, "code: is not one, is over, or was used")


def _check_new(password: str) -> str:
    try:
        return check_new_password(password)
    except MailError as error:
        raise invalid("new_password", error.detail.partition(": ")[2]) from error
