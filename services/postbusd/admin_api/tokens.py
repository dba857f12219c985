"""API tokens: only their SHA-256 is kept; they are random, so that guessing and rainbow tables are hopeless."""

import hashlib
import logging
from pathlib import Path

from postbus.contracts.admin_api import VerifyTokenReply, VerifyTokenRequest
from postbus.core.clock import Clock
from postbus.core.errors import ErrorKind, MailError
from postbusd.admin_api.ports import Token, TokenStore

BOOTSTRAP_ID = "bootstrap"
BOOTSTRAP_ACTOR = "admin"
SCOPE_ADMIN = "admin"
MIN_TOKEN_CHARACTERS = 32
MAX_TOKEN_CHARACTERS = 512

log = logging.getLogger(__name__)


class Tokens:
    """The token check; `bootstrap_file` holds the administrator's first token, where the platform has made one."""

    def __init__(self, store: TokenStore, clock: Clock, bootstrap_file: Path) -> None:
        self._store = store
        self._clock = clock
        self._bootstrap_file = bootstrap_file
        self._ready = False

    async def bootstrap(self) -> None:
        """Enters the token of the file once a start; another token in the file replaces the former one.

        Also the readiness check: Raises MailError until the database took it.
        """
        if self._ready:
            return
        text = self._read_file()
        if text:
            token = Token(actor=BOOTSTRAP_ACTOR, scopes=(SCOPE_ADMIN,))
            await self._store.put_token(BOOTSTRAP_ID, hash_token(text), token)
        self._ready = True

    async def verify_token(self, request: VerifyTokenRequest) -> VerifyTokenReply:
        """Who this token speaks for. Raises MailError: UNAUTHENTICATED."""
        await self.bootstrap()
        token = None
        if MIN_TOKEN_CHARACTERS <= len(request.token) <= MAX_TOKEN_CHARACTERS:
            token = await self._store.find_token(hash_token(request.token))
        if token is None:
            raise MailError(ErrorKind.UNAUTHENTICATED, "unknown token")
        if token.expires_ms is not None and token.expires_ms <= self._clock.now_ms():
            raise MailError(ErrorKind.UNAUTHENTICATED, "this token has expired")
        return VerifyTokenReply(actor=token.actor, scopes=token.scopes)

    def _read_file(self) -> str:
        try:
            text = self._bootstrap_file.read_text(encoding="utf-8").strip()
        except FileNotFoundError:
            return ""
        except (OSError, UnicodeError) as error:
            log.error("admin_api.token.unreadable", extra={"reason": type(error).__name__})
            return ""
        if text and not MIN_TOKEN_CHARACTERS <= len(text) <= MAX_TOKEN_CHARACTERS:
            log.error("admin_api.token.refused", extra={"reason": f"needs {MIN_TOKEN_CHARACTERS} characters or more"})
            return ""
        return text


def hash_token(token: str) -> bytes:
    """What is stored of a token."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
