"""LOGIN and AUTHENTICATE: passwords and tokens by directory, delays on failure, counts (RFC 9051 §6.2.2, §6.2.3)."""

import asyncio
import logging

from postbus.contracts.app_passwords import Access
from postbus.contracts.events import EventType
from postbus.contracts.identity_provider import AuthenticateTokenRequest
from postbus.contracts.logins import AuthenticateReply, AuthenticateRequest
from postbus.core import bearer
from postbus.core.errors import ErrorKind, MailError, RemoteProtocolError
from postbus.imap.commands.login import Authenticate, Login
from postbus.imap.engine import Line, NeedData
from postbus.imap.sasl import decode_response, encode_challenge, parse_plain
from postbusd.imap_gateway.errors import Reply, refuse, reject, render_error
from postbusd.imap_gateway.state import Goodbye, SessionState

log = logging.getLogger(__name__)

MAX_USERNAME_CHARACTERS = 320
"""Of an address (RFC 5321 §4.5.3.1): longer names are nobody's."""

_COUNTED = frozenset({ErrorKind.UNAUTHENTICATED, ErrorKind.INACTIVE, ErrorKind.RATE_LIMITED, ErrorKind.FORBIDDEN})
_PRIVACY = refuse("Passwords need TLS", b"PRIVACYREQUIRED")


async def handle_login(session: SessionState, command: Login) -> Reply:
    """LOGIN."""
    if not session.wire.is_secure:
        return _PRIVACY
    return await _log_in(session, command.username, command.password)


async def handle_authenticate(session: SessionState, command: Authenticate) -> Reply:
    """AUTHENTICATE PLAIN, LOGIN, OAUTHBEARER and XOAUTH2, with or without initial response."""
    mechanism = command.mechanism.decode("ascii", "replace")
    by_token = mechanism in bearer.MECHANISMS and bool(session.deps.provider.configuration_url)
    if mechanism not in ("PLAIN", "LOGIN") and not by_token:
        return refuse("The mechanism is not offered")
    if not session.wire.is_secure:
        return _PRIVACY
    try:
        if by_token:
            return await _authenticate_bearer(session, mechanism, command.initial)
        if mechanism == "PLAIN":
            return await _authenticate_plain(session, command.initial)
        return await _authenticate_login(session, command.initial)
    except RemoteProtocolError as error:
        return reject(str(error))


async def _authenticate_plain(session: SessionState, initial: bytes | None) -> Reply:
    octets = initial if initial is not None else await _ask(session, b"+ \r\n")
    credentials = parse_plain(decode_response(octets))
    if credentials.authorization_id not in ("", credentials.username):
        return refuse("Acting for others is not possible", b"AUTHORIZATIONFAILED")
    return await _log_in(session, credentials.username, credentials.password)


async def _authenticate_login(session: SessionState, initial: bytes | None) -> Reply:
    octets = initial if initial is not None else await _ask(session, encode_challenge(b"Username:"))
    username = decode_response(octets)
    password = decode_response(await _ask(session, encode_challenge(b"Password:")))
    try:
        return await _log_in(session, username.decode("utf-8"), password.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise RemoteProtocolError("The response is not UTF-8") from error


async def _authenticate_bearer(session: SessionState, mechanism: str, initial: bytes | None) -> Reply:
    """A refused client is told why, answers something, and then the command fails (RFC 7628 §3.2.3)."""
    octets = initial if initial is not None else await _ask(session, b"+ \r\n")
    try:
        found = bearer.read_bearer(mechanism, decode_response(octets))
    except bearer.BearerError as error:
        raise RemoteProtocolError(str(error)) from error
    request = AuthenticateTokenRequest(
        token=found.token,
        mailbox=found.mailbox,
        access=Access.IMAP,
        client_address=session.wire.peer_address,
    )
    try:
        account = await session.deps.tokens.authenticate_token(request)
    except MailError as error:
        if error.kind in _COUNTED:
            told = bearer.format_refusal(mechanism, session.deps.provider.configuration_url)
            await _ask(session, encode_challenge(told))
        return await _fail(session, found.mailbox, error)
    return _enter(session, account)


async def _ask(session: SessionState, challenge: bytes) -> bytes:
    session.write(challenge)
    session.engine.expect_line()
    while True:
        event = session.engine.next_event()
        if isinstance(event, Line):
            return event.data
        if isinstance(event, NeedData):
            await session.flush()
            await session.wait_input()


async def _log_in(session: SessionState, username: str, password: str) -> Reply:
    if len(username) > MAX_USERNAME_CHARACTERS or "\0" in username + password:
        return await _fail(session, "", MailError(ErrorKind.UNAUTHENTICATED, "malformed user name"))
    client_address = session.wire.peer_address
    request = AuthenticateRequest(
        username=username, password=password, access=Access.IMAP, client_address=client_address
    )
    try:
        account = await session.deps.authenticator.authenticate(request)
    except MailError as error:
        return await _fail(session, username, error)
    return _enter(session, account)


def _enter(session: SessionState, account: AuthenticateReply) -> Reply:
    client_address = session.wire.peer_address
    if not session.admit(account.mailbox_id):
        return refuse("Too many sessions of this mailbox", b"LIMIT")
    session.begin_account(account)
    session.deps.metrics.logins.labels("ok").inc()
    _note(session, EventType.LOGIN, account.address, account.shown)
    extra = {"session_id": session.session_id, "mailbox_id": account.mailbox_id, "client_address": client_address}
    log.info("imap.login.accepted", extra=extra)
    return Reply(text="Logged in")


async def _fail(session: SessionState, username: str, error: MailError) -> Reply:
    if error.kind not in _COUNTED:
        session.deps.metrics.logins.labels("away").inc()
        return render_error(error)
    session.failed_logins += 1
    session.deps.metrics.logins.labels("failed").inc()
    address = username if "@" in username and username.isprintable() else ""
    _note(session, EventType.LOGIN_FAILED, address, error.kind.value)
    extra = {"session_id": session.session_id, "client_address": session.wire.peer_address, "kind": error.kind.value}
    log.info("imap.login.refused", extra=extra)
    await asyncio.sleep(session.deps.settings.failed_login_seconds * session.failed_logins)
    if session.failed_logins >= session.deps.settings.max_failed_logins:
        raise Goodbye("Too many failed logins", b"AUTHENTICATIONFAILED")
    return render_error(error)


def _note(session: SessionState, kind: EventType, address: str, detail: str = "") -> None:
    verb = "logged in" if kind is EventType.LOGIN else "failed to log in"
    session.deps.events.note(
        kind,
        f"{address or 'somebody'} {verb} over IMAP",
        domain=address.rpartition("@")[2],
        mailbox=address,
        client_address=session.wire.peer_address,
        detail=detail,
    )
