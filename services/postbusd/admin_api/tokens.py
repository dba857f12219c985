"""The check of API tokens: only their SHA-256 is kept; they are random: guessing and rainbow tables are hopeless.

The bootstrap token is the file's: another content replaces it at the next check, without a restart.
"""

import hashlib
import logging
from pathlib import Path

from postbus.contracts.admin_api import VerifyTokenReply, VerifyTokenRequest
from postbus.core.api_token import is_damaged
from postbus.core.clock import Clock
from postbus.core.errors import ErrorKind, MailError
from postbusd.admin_api.ports import Token, TokenStore
from postbusd.admin_api.scopes import ADMIN

BOOTSTRAP_ID = "bootstrap"
BOOTSTRAP_ACTOR = "admin"
SCOPE_ADMIN = ADMIN
MIN_TOKEN_CHARACTERS = 32
MAX_TOKEN_CHARACTERS = 512
TOUCH_MS = 3_600_000
"""How coarse `last_used_ms` is."""

log = logging.getLogger(__name__)


class Tokens:
    """The token check; `bootstrap_file` holds the administrator's first token, where the platform has made one."""

    def __init__(self, store: TokenStore, clock: Clock, bootstrap_file: Path) -> None:
        self._store = store
        self._clock = clock
        self._bootstrap_file = bootstrap_file
        self._taken: tuple[int, int, int] | None = None

    async def bootstrap(self) -> None:
        """Enters the token of the file, at the start and when it changes; a file that went changes nothing.

        Also the readiness check: Raises MailError until the database took it.
        """
        found = self._find_file()
        if found is None or found == self._taken:
            return
        text = self._read_file()
        if text:
            token = Token(actor=BOOTSTRAP_ACTOR, scopes=(SCOPE_ADMIN,))
            await self._store.put_token(BOOTSTRAP_ID, hash_token(text), token)
        self._taken = found

    async def authenticate(self, text: str) -> Token:
        """The token with this text. Raises MailError: UNAUTHENTICATED."""
        await self.bootstrap()
        if is_damaged(text):
            raise MailError(ErrorKind.UNAUTHENTICATED, "this token is cut or mistyped: its checksum is wrong")
        token = None
        if MIN_TOKEN_CHARACTERS <= len(text) <= MAX_TOKEN_CHARACTERS:
            token = await self._store.find_token(hash_token(text))
        if token is None:
            raise MailError(ErrorKind.UNAUTHENTICATED, "unknown token")
        now_ms = self._clock.now_ms()
        if token.expires_ms is not None and token.expires_ms <= now_ms:
            raise MailError(ErrorKind.UNAUTHENTICATED, "this token has expired")
        if token.last_used_ms is None or token.last_used_ms + TOUCH_MS <= now_ms:
            await self._touch(token, now_ms)
        return token

    async def verify_token(self, request: VerifyTokenRequest) -> VerifyTokenReply:
        """Who this token speaks for. Raises MailError: UNAUTHENTICATED."""
        token = await self.authenticate(request.token)
        return VerifyTokenReply(actor=token.actor, scopes=token.scopes)

    async def _touch(self, token: Token, now_ms: int) -> None:
        """When it was used is nice to know, and no reason to refuse."""
        try:
            await self._store.touch_token(token.token_id, now_ms)
        except MailError as error:
            log.warning("admin_api.token.untouched", extra={"reason": str(error)})

    def _find_file(self) -> tuple[int, int, int] | None:
        """What changes when the file does; None: there is none, or nobody may look."""
        try:
            found = self._bootstrap_file.stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_ino, found.st_size

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
