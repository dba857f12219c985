"""Second factors: begun with the password, put in force by a first code, ended by their user or an administrator."""

import base64
import secrets

from postbus.contracts.condition import Condition
from postbus.contracts.second_factor import (
    BeginSecondFactorReply,
    BeginSecondFactorRequest,
    ConfirmSecondFactorReply,
    ConfirmSecondFactorRequest,
    EndSecondFactorRequest,
    SecondFactor,
    SecondFactorRequest,
)
from postbus.contracts.standing import ADMINISTRATOR
from postbus.core.errors import ErrorKind, MailError
from postbusd.directory.administration.proving import NETWORK, ProvingDesk
from postbusd.directory.administration.refusals import conflict, no_such
from postbusd.directory.administration.scope import forbidden
from postbusd.directory.names import check_username
from postbusd.directory.totp import find_step, new_totp_secret, totp_uri, typed_secret
from postbusd.directory.values import StoredSecondFactor

RECOVERY_CODES = 10
RECOVERY_OCTETS = 10  # 80 bits
ISSUER = "Postbus"
"""As apps show it."""


class SecondFactors(ProvingDesk):
    """The SecondFactorAdmin, and the check of codes."""

    async def get_second_factor(self, request: SecondFactorRequest) -> SecondFactor:
        """Whether there is one."""
        standing = await self._standing(request.actor)
        username = check_username(request.username)
        stored = await self._repository.load_second_factor(username, standing)
        return _shown(stored)

    async def begin_second_factor(self, request: BeginSecondFactorRequest) -> BeginSecondFactorReply:
        """A new secret, not in force yet."""
        username = await self._own(request.actor)
        await self._prove_own(username, request.current_password)
        secret = new_totp_secret()
        if not await self._repository.begin_second_factor(username, self._tools.sealer.seal(secret, _owner(username))):
            raise conflict("actor", "it is on: end it first")
        return BeginSecondFactorReply(secret=typed_secret(secret), uri=totp_uri(secret, username, ISSUER))

    async def confirm_second_factor(self, request: ConfirmSecondFactorRequest) -> ConfirmSecondFactorReply:
        """A first code puts it in force."""
        username = await self._own(request.actor)
        standing = await self._standing(username)
        stored = await self._repository.load_second_factor(username, standing)
        if stored is None or stored.since_ms is not None:
            raise conflict("code", "no second factor was begun" if stored is None else "it is on already")
        self._take_attempt("code", username)
        step = find_step(self._open(username, stored), _digits(request.code), self._tools.clock.now_ms())
        self._note_attempt(username, right=step is not None)
        if step is None:
            raise forbidden("code: is not the code of now: are the clocks right?")
        codes = [_make_recovery_code() for _ in range(RECOVERY_CODES)]
        indexes = [self._tools.keys.index(_digits(code)) for code in codes]
        act = self._act(standing, Condition(), f"second factor of user {username} switched on")
        written = await self._repository.confirm_second_factor(username, stored.secret_sealed, step, indexes, act)
        await self._announce(written)
        return ConfirmSecondFactorReply(recovery_codes=tuple(codes))

    async def end_second_factor(self, request: EndSecondFactorRequest) -> SecondFactor:
        """One's own with the password, those of others as their administrator."""
        standing = await self._standing(request.actor)
        username = check_username(request.username)
        if username == standing.actor:
            await self._prove_own(username, request.current_password)
        condition = Condition(plan=request.dry_run)
        act = self._act(standing, condition, f"second factor of user {username} switched off")
        written = await self._repository.end_second_factor(username, act)
        if written is None:
            raise no_such("username", "second factor of user", username)
        await self._announce(written)
        return _shown(written.object)

    async def _check_code(self, username: str, stored: StoredSecondFactor, code: str, network: str = NETWORK) -> None:
        """A code opens once. Raises MailError: UNAUTHENTICATED, naming `code`; the attempt was taken."""
        typed = _digits(code)
        if not typed:
            raise MailError(ErrorKind.UNAUTHENTICATED, "code: the second factor's is needed besides the password")
        step = find_step(self._open(username, stored), typed, self._tools.clock.now_ms())
        if step is not None:
            right = await self._repository.take_code_step(username, step)
        else:
            right = await self._repository.take_recovery_code(username, self._tools.keys.index(typed))
        if not right:
            self._note_attempt(username, network, right=False)
            raise MailError(ErrorKind.UNAUTHENTICATED, "code: is not the code of now, or was used")

    async def _own(self, actor: str) -> str:
        if actor == ADMINISTRATOR:
            raise forbidden(f"actor: {ADMINISTRATOR} has API tokens and no second factor")
        return (await self._standing(actor)).actor

    def _open(self, username: str, stored: StoredSecondFactor) -> bytes:
        return self._tools.sealer.open(stored.secret_sealed, _owner(username))


def _owner(username: str) -> str:
    return f"second_factor:{username}"


def _shown(stored: StoredSecondFactor | None) -> SecondFactor:
    if stored is None or stored.since_ms is None:
        return SecondFactor(on=False)
    return SecondFactor(on=True, since_ms=stored.since_ms, recovery_codes=stored.recovery_codes)


def _digits(code: str) -> str:
    """As it is compared: people type spaces and dashes."""
    return "".join(code.split()).replace("-", "").lower()[:64]


def _make_recovery_code() -> str:
    text = base64.b32encode(secrets.token_bytes(RECOVERY_OCTETS)).decode().lower()
    return "-".join(text[at : at + 4] for at in range(0, len(text), 4))
