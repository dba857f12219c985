"""Sessions of users who sign in: each is a bearer token that ends with what began it, after a time, or unused.

Only the SHA-256 of a session's text is kept. Whether the sign-in still stands is asked of directory at every request:
a password that was changed, a user who was switched off end a session at once.
"""

import logging
from collections.abc import Sequence

import msgspec
from prometheus_client import CollectorRegistry, Counter

from postbus.contracts.events import Event, EventType
from postbus.contracts.sign_in import ConfirmSignInRequest, SignedIn, SignIn, SignInMethod, SignInRequest
from postbus.core.api_token import SESSION_PREFIX, is_damaged, new_api_token
from postbus.core.clock import Clock
from postbus.core.errors import ErrorKind, MailError
from postbus.core.ids import new_uuid7
from postbus.core.trace import current_trace
from postbusd.admin_api.ports import EventStore, Session, SessionStore, Token
from postbusd.admin_api.scopes import ADMIN, APP_PASSWORD_SCOPES
from postbusd.admin_api.settings import AdminApiSettings
from postbusd.admin_api.tokens import MAX_TOKEN_CHARACTERS, hash_token

MAX_SESSIONS = 50
"""Of one user; more end the ones that were not used for longest."""
TOUCH_MS = 300_000
"""How coarse `last_used_ms` is."""
MAX_AGENT_CHARACTERS = 200
MINUTE_MS = 60_000
DAY_MS = 86_400_000
SESSION_NAME = "session"
"""As the audit log names the token of a session."""

_REFUSALS = {
    ErrorKind.RATE_LIMITED: "limited",
    ErrorKind.INACTIVE: "inactive",
    ErrorKind.UNAUTHENTICATED: "refused",
    ErrorKind.FORBIDDEN: "refused",  # the identity provider's user is none here
}

log = logging.getLogger(__name__)


class BegunSession(msgspec.Struct, frozen=True, kw_only=True):
    """A session and its text."""

    session: Session
    token: Token
    """What requests with it may do."""
    text: str


class From(msgspec.Struct, frozen=True, kw_only=True):
    """Where a request comes from."""

    address: str
    agent: str


class Sessions:
    """Signing in, and the check of a session's text. Every method raises MailError: UNAVAILABLE."""

    def __init__(
        self,
        store: SessionStore,
        events: EventStore,
        sign_in: SignIn,
        clock: Clock,
        settings: AdminApiSettings,
        registry: CollectorRegistry,
    ) -> None:
        self._store = store
        self._events = events
        self._sign_in = sign_in
        self._clock = clock
        self._settings = settings
        self._sign_ins = Counter(
            "postbus_admin_api_sign_ins",
            "Sign-ins to the API, by result.",
            ["result"],  # accepted, refused, limited, inactive
            registry=registry,
        )
        for result in ("accepted", *_REFUSALS.values()):
            self._sign_ins.labels(result)

    async def sign_in(self, username: str, password: str, code: str, came: From) -> BegunSession:
        """A session by password. Raises MailError: UNAUTHENTICATED, RATE_LIMITED, INACTIVE."""
        request = SignInRequest(username=username, password=password, code=code, client_address=came.address)
        try:
            signed_in = await self._sign_in.sign_in(request)
        except MailError as error:
            await self.note_refusal(username, error, came)
            raise
        return await self.begin(signed_in, came)

    async def begin(self, signed_in: SignedIn, came: From) -> BegunSession:
        """A session of a user who has shown who he is."""
        now_ms = self._clock.now_ms()
        session = Session(
            session_id=new_uuid7(now_ms),
            username=signed_in.username,
            method=signed_in.method,
            proof=signed_in.proof,
            client_address=came.address,
            user_agent="".join(filter(str.isprintable, came.agent))[:MAX_AGENT_CHARACTERS],
            begun_ms=now_ms,
            last_used_ms=now_ms,
            expires_ms=now_ms + self._settings.session_days * DAY_MS,
        )
        text = new_api_token(prefix=SESSION_PREFIX)
        await self._store.add_session(hash_token(text), session, MAX_SESSIONS)
        self._sign_ins.labels("accepted").inc()
        await self._tell(EventType.LOGIN, session.username, "signed in to the API", signed_in.method.value, came)
        return BegunSession(session=session, token=_token(session), text=text)

    async def authenticate(self, text: str) -> Token:
        """What a session may do. Raises MailError: UNAUTHENTICATED."""
        if is_damaged(text) or len(text) > MAX_TOKEN_CHARACTERS:
            raise MailError(ErrorKind.UNAUTHENTICATED, "this session's text is cut or mistyped")
        session = await self._store.find_session(hash_token(text))
        now_ms = self._clock.now_ms()
        if session is None or session.expires_ms <= now_ms or session.last_used_ms <= self._unused_since(now_ms):
            raise MailError(ErrorKind.UNAUTHENTICATED, "this session is over: sign in again")
        shown = ConfirmSignInRequest(username=session.username, method=session.method, proof=session.proof)
        if not (await self._sign_in.confirm_sign_in(shown)).stands:
            await self._store.delete_session(session.session_id, session.username)
            raise MailError(ErrorKind.UNAUTHENTICATED, "this session is over: sign in again")
        if session.last_used_ms + TOUCH_MS <= now_ms:
            await self._touch(session, now_ms)
        return _token(session)

    async def list(self, username: str) -> Sequence[Session]:
        """A user's that go on, the oldest first."""
        now_ms = self._clock.now_ms()
        unused_since_ms = self._unused_since(now_ms)
        return [
            each
            for each in await self._store.list_sessions(username)
            if each.expires_ms > now_ms and each.last_used_ms > unused_since_ms
        ]

    async def end(self, session_id: str, username: str) -> None:
        """Raises MailError: NOT_FOUND."""
        if not await self._store.delete_session(session_id, username):
            raise MailError(ErrorKind.NOT_FOUND, "session_id: there is no such session")

    async def trim(self, most: int) -> int:
        """Forgets up to `most` that are over."""
        now_ms = self._clock.now_ms()
        return await self._store.trim_sessions(now_ms, self._unused_since(now_ms), most)

    async def note_refusal(self, username: str, error: MailError, came: From) -> None:
        """For the event log and the metric, where somebody was refused."""
        result = _REFUSALS.get(error.kind)
        if result is None:
            return
        self._sign_ins.labels(result).inc()
        name = username if len(username) <= MAX_AGENT_CHARACTERS and username.isprintable() else ""
        await self._tell(EventType.LOGIN_FAILED, name.lower(), "failed to sign in to the API", error.kind.value, came)

    def _unused_since(self, now_ms: int) -> int:
        return now_ms - self._settings.session_idle_minutes * MINUTE_MS

    async def _touch(self, session: Session, now_ms: int) -> None:
        """When it was used is no reason to refuse."""
        try:
            await self._store.touch_session(session.session_id, now_ms)
        except MailError as error:
            log.warning("admin_api.session.untouched", extra={"reason": str(error)})

    async def _tell(self, kind: EventType, username: str, what: str, detail: str, came: From) -> None:
        now_ms, trace = self._clock.now_ms(), current_trace()
        event = Event(
            event_id=new_uuid7(now_ms),
            type=kind,
            at_ms=now_ms,
            service="admin-api",
            summary=f"{username or 'somebody'} {what}",
            domain=username.rpartition("@")[2] if "@" in username else "",
            mailbox=username if "@" in username else "",
            client_address=came.address,
            detail=detail,
            traceparent=trace.format() if trace is not None else "",
        )
        try:
            await self._events.add_events([event])
        except MailError as error:
            log.warning("admin_api.sign_in.untold", extra={"reason": str(error)})


def _token(session: Session) -> Token:
    by_app = session.method is SignInMethod.APP_PASSWORD
    return Token(
        actor=session.username,
        scopes=APP_PASSWORD_SCOPES if by_app else (ADMIN,),
        token_id=session.session_id,
        name=SESSION_NAME,
        created_ms=session.begun_ms,
        created_by=session.username,
        expires_ms=session.expires_ms,
        last_used_ms=session.last_used_ms,
        is_session=True,
    )
