"""Making API tokens, and the one rule about it: nobody gives more than they have.

Who asks is known by the token of the request. The tokens of superadmins see all tokens, others those that speak for
their own actor. A token that is made, rotated or deleted must not have a scope that the asking one lacks, nor live
longer. The text of a token is told once and never kept.
"""

import re
from collections.abc import Sequence

import msgspec

from postbus.contracts.events import Event, EventType
from postbus.core.api_token import new_api_token
from postbus.core.clock import Clock
from postbus.core.errors import ErrorKind, MailError
from postbus.core.ids import new_uuid7
from postbus.core.trace import current_trace
from postbusd.admin_api.ports import EventStore, Token, TokenBook
from postbusd.admin_api.scopes import SCOPES, covers
from postbusd.admin_api.tokens import BOOTSTRAP_ID, hash_token

MAX_TOKENS = 1000
"""Of the whole installation."""
MAX_NAME_CHARACTERS = 64

_NAME = re.compile(rf"[a-z0-9][a-z0-9._-]{{0,{MAX_NAME_CHARACTERS - 1}}}\Z")
_HOST_ONLY = "name: the bootstrap token is the host's: postbus admin reset-token makes a new one there"


class NewToken(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked for; an empty actor is that of who asks."""

    name: str
    scopes: tuple[str, ...]
    actor: str = ""
    expires_ms: int | None = None


class MadeToken(msgspec.Struct, frozen=True, kw_only=True):
    """A token and its text."""

    token: Token
    text: str


class Asker(msgspec.Struct, frozen=True, kw_only=True):
    """Who asks: the token of the request."""

    token: Token
    superadmin: bool
    """Its actor."""


class TokenDesk:
    """Tokens as objects. Every method raises MailError, UNAVAILABLE when the database is away."""

    def __init__(self, book: TokenBook, events: EventStore, clock: Clock) -> None:
        self._book = book
        self._events = events
        self._clock = clock

    async def add(self, asker: Asker, wanted: NewToken) -> MadeToken:
        """A new token. Raises MailError: INVALID, FORBIDDEN, ALREADY_EXISTS, LIMIT."""
        name, now_ms = check_token_name(wanted.name), self._clock.now_ms()
        if wanted.expires_ms is not None and wanted.expires_ms <= now_ms:
            raise MailError(ErrorKind.INVALID, "expires_ms: is over already")
        token = Token(
            token_id=new_uuid7(now_ms),
            name=name,
            actor=wanted.actor or asker.token.actor,
            scopes=check_scopes(wanted.scopes),
            expires_ms=wanted.expires_ms,
            created_ms=now_ms,
            created_by=asker.token.actor,
        )
        _refuse_more(asker, token)
        text = new_api_token()
        await self._book.add_token(hash_token(text), token, MAX_TOKENS)
        await self._tell(f"API token {name} made by {asker.token.actor}", token)
        return MadeToken(token=token, text=text)

    async def list(self, asker: Asker, after: str, limit: int) -> Sequence[Token]:
        """By name."""
        return await self._book.list_tokens(_seen_by(asker), after.lower(), limit)

    async def get(self, asker: Asker, name: str) -> Token:
        """By its name. Raises MailError: NOT_FOUND."""
        token = await self._book.get_token(name.lower(), _seen_by(asker))
        if token is None:
            raise MailError(ErrorKind.NOT_FOUND, "name: there is no such token")
        return token

    async def rotate(self, asker: Asker, name: str) -> MadeToken:
        """A new text in place of the old one, which ends at once. Raises MailError: NOT_FOUND, FORBIDDEN, CONFLICT."""
        token = await self._changeable(asker, name)
        text = new_api_token()
        if not await self._book.rotate_token(token.token_id, hash_token(text), asker.token.actor):
            raise MailError(ErrorKind.NOT_FOUND, "name: there is no such token")
        await self._tell(f"API token {token.name} rotated by {asker.token.actor}", token)
        rotated = msgspec.structs.replace(
            token, created_ms=self._clock.now_ms(), created_by=asker.token.actor, last_used_ms=None
        )
        return MadeToken(token=rotated, text=text)

    async def delete(self, asker: Asker, name: str, *, dry_run: bool) -> Token:
        """Ends it at once. Raises MailError: NOT_FOUND, FORBIDDEN, CONFLICT."""
        token = await self._changeable(asker, name)
        if not dry_run and await self._book.delete_token(token.token_id):
            await self._tell(f"API token {token.name} deleted by {asker.token.actor}", token)
        return token

    async def delete_of(self, by: str, actor: str) -> None:
        """All tokens, sessions and kept answers of a user who is deleted: nobody else of that name must find them."""
        gone = await self._book.delete_tokens_of(actor)
        if gone:
            await self._tell(f"{gone} API tokens of {actor} deleted with the user by {by}", None)

    async def _changeable(self, asker: Asker, name: str) -> Token:
        token = await self.get(asker, name)
        if token.token_id == BOOTSTRAP_ID:
            raise MailError(ErrorKind.CONFLICT, _HOST_ONLY)
        _refuse_more(asker, token)
        return token

    async def _tell(self, summary: str, token: Token | None) -> None:
        now_ms, trace = self._clock.now_ms(), current_trace()
        facts = f"actor={token.actor}, scopes={' '.join(token.scopes)}" if token is not None else ""
        event = Event(
            event_id=new_uuid7(now_ms),
            type=EventType.CONFIGURATION,
            at_ms=now_ms,
            service="admin-api",
            summary=summary,
            detail=facts,
            traceparent=trace.format() if trace is not None else "",
        )
        await self._events.add_events([event])


def check_token_name(text: str) -> str:
    """A token's name, lower case. Raises MailError: INVALID."""
    name = text.lower()
    if not _NAME.match(name):
        takes = "letters, digits, `.`, `_` and `-`, beginning with a letter or digit"
        raise MailError(ErrorKind.INVALID, f"name: up to {MAX_NAME_CHARACTERS} {takes}")
    if name == BOOTSTRAP_ID:
        raise MailError(ErrorKind.CONFLICT, "name: bootstrap is the first token's")
    return name


def check_scopes(scopes: Sequence[str]) -> tuple[str, ...]:
    """Known scopes, each once, in the order of the list. Raises MailError: INVALID."""
    unknown = next((scope for scope in scopes if scope not in SCOPES), None)
    if unknown is not None:
        raise MailError(ErrorKind.INVALID, f"scopes: there is no scope {unknown[:64]}; there are {', '.join(SCOPES)}")
    if not scopes:
        raise MailError(ErrorKind.INVALID, f"scopes: name at least one of {', '.join(SCOPES)}")
    return tuple(scope for scope in SCOPES if scope in scopes)


def _seen_by(asker: Asker) -> str:
    return "" if asker.superadmin else asker.token.actor


def _refuse_more(asker: Asker, token: Token) -> None:
    """Raises MailError: FORBIDDEN when `token` could do what the asking one can't."""
    if _seen_by(asker) not in ("", token.actor):
        raise MailError(ErrorKind.FORBIDDEN, "actor: this token makes tokens for its own actor only")
    beyond = [scope for scope in token.scopes if not covers(asker.token.scopes, scope)]
    if beyond:
        raise MailError(ErrorKind.FORBIDDEN, f"scopes: this token lacks {', '.join(beyond)} itself")
    if asker.token.expires_ms is not None and (token.expires_ms is None or token.expires_ms > asker.token.expires_ms):
        raise MailError(ErrorKind.FORBIDDEN, "expires_ms: this token ends earlier itself")
