"""Users who sign in to the API: one reply for every wrong pair, and the second factor where there is one."""

import hmac

from postbus.contracts.app_passwords import Access
from postbus.contracts.sign_in import (
    ConfirmSignInReply,
    ConfirmSignInRequest,
    SignedIn,
    SignInMethod,
    SignInRequest,
)
from postbus.core.errors import ErrorKind, MailError
from postbusd.directory.administration.second_factors import SecondFactors
from postbusd.directory.names import check_username
from postbusd.directory.passwords import digest_of, is_possible, prepare_password
from postbusd.directory.rehashing import refresh_hash
from postbusd.directory.throttle import network_of
from postbusd.directory.values import StoredSignIn

API = "api"
"""To `CredentialKeys.proof`: what a proof is for, where logins have a mailbox_id."""
MAX_CACHED_NAME = 254


class SignIns(SecondFactors):
    """The SignIn."""

    async def sign_in(self, request: SignInRequest) -> SignedIn:
        """Checks a password, and the second factor where there is one."""
        username, network = _read_username(request.username), network_of(request.client_address)
        account = username or request.username[:MAX_CACHED_NAME]
        self._take_attempt("password", account, network)
        if not is_possible(request.password):
            raise self._wrong(account, network)
        password = prepare_password(request.password)
        index = self._tools.keys.index(password)
        stored = await self._repository.load_sign_in(username, index) if username else None
        if stored is not None and self._opens(stored):
            method, digest = SignInMethod.APP_PASSWORD, digest_of(index)
            await self._repository.touch_app_password(index)
        else:
            secret_hash = await self._prove_password(stored, password, account, network)
            method, digest = SignInMethod.PASSWORD, digest_of(secret_hash)
        assert stored is not None
        if not stored.active:
            raise MailError(ErrorKind.INACTIVE, "this user is not active")
        if method is SignInMethod.PASSWORD and stored.second_factor is not None:
            await self._check_code(stored.username, stored.second_factor, request.code, network)
        self._note_attempt(account, network, right=True)
        return SignedIn(
            username=stored.username, method=method, proof=self._tools.keys.proof(API, stored.username, digest)
        )

    async def confirm_sign_in(self, request: ConfirmSignInRequest) -> ConfirmSignInReply:
        """Whether a session's sign-in still stands."""
        digests = await self._repository.load_sign_in_digests(request.username)
        proofs = (self._tools.keys.proof(API, request.username, digest) for digest in digests)
        return ConfirmSignInReply(stands=any(hmac.compare_digest(proof, request.proof) for proof in proofs))

    def _opens(self, stored: StoredSignIn) -> bool:
        """Whether what was shown is an app password for this."""
        over = stored.app_expires_ms is not None and stored.app_expires_ms <= self._tools.clock.now_ms()
        return stored.app_scopes is not None and Access.API in stored.app_scopes and not over

    async def _prove_password(self, stored: StoredSignIn | None, password: str, account: str, network: str) -> str:
        """The hash that it is now. Raises MailError: UNAUTHENTICATED, UNAVAILABLE."""
        hasher = self._tools.hasher
        if stored is None or not stored.secret_hash:
            await hasher.verify_nothing(password)
            raise self._wrong(account, network)
        if not await hasher.verify(stored.secret_hash, password):
            raise self._wrong(account, network)
        shown = (stored.secret_hash, password)
        return await refresh_hash(self._repository, hasher, self._tools.keys, stored.username, shown)

    def _wrong(self, account: str, network: str) -> MailError:
        self._note_attempt(account, network, right=False)
        return MailError(ErrorKind.UNAUTHENTICATED, "wrong user name or password")


def _read_username(text: str) -> str:
    """Empty: nobody can have it."""
    try:
        return check_username(text)
    except MailError:
        return ""
