"""USER and PASS, AUTH (RFC 5034): by directory, as IMAP's logins; refusals with their codes (RFC 3206)."""

import asyncio
import logging
from collections.abc import Awaitable

from postbus.contracts.app_passwords import Access
from postbus.contracts.events import EventType
from postbus.contracts.identity_provider import AuthenticateTokenRequest
from postbus.contracts.logins import AuthenticateReply, AuthenticateRequest
from postbus.core import bearer
from postbus.core.errors import ErrorKind, MailError, RemoteProtocolError
from postbus.imap.sasl import decode_response, encode_challenge, parse_plain
from postbus.pop3.replies import format_error
from postbusd.imap_gateway.pop3.state import Goodbye, Pop3State

log = logging.getLogger(__name__)

MAX_USERNAME_CHARACTERS = 320
PASSWORD_MECHANISMS = ("PLAIN", "LOGIN")
_COUNTED = {
    ErrorKind.UNAUTHENTICATED: ("user name or password is wrong", "AUTH"),
    ErrorKind.INACTIVE: ("", "AUTH"),
    ErrorKind.FORBIDDEN: ("", "AUTH"),
    ErrorKind.RATE_LIMITED: ("too many failed logins, try again later", "SYS/TEMP"),
}


def list_mechanisms(session: Pop3State) -> tuple[str, ...]:
    """Those that AUTH takes now."""
    tokens = session.deps.provider.configuration_url
    return (*PASSWORD_MECHANISMS, *(bearer.MECHANISMS if tokens else ()))


async def log_in(session: Pop3State, username: str, password: str) -> AuthenticateReply | None:
    """None: refused, and told."""
    if not username or len(username) > MAX_USERNAME_CHARACTERS:
        await _refuse(session, "", MailError(ErrorKind.UNAUTHENTICATED, "malformed user name"))
        return None
    request = AuthenticateRequest(
        username=username, password=password, access=Access.POP3, client_address=session.wire.peer_address
    )
    return await _enter(session, username, session.deps.authenticator.authenticate(request))


async def authenticate(session: Pop3State, mechanism: str, initial: str | None) -> AuthenticateReply | None:
    """An exchange of AUTH; None: refused, and told. Raises RemoteProtocolError."""
    first = None if initial is None else b"" if initial == "=" else initial.encode()
    if mechanism in bearer.MECHANISMS:
        return await _by_token(session, mechanism, first)
    if mechanism == "PLAIN":
        octets = first if first is not None else await session.ask(b"+ \r\n")
        credentials = parse_plain(decode_response(octets))
        if credentials.authorization_id not in ("", credentials.username):
            raise RemoteProtocolError("acting for others is not possible")
        return await log_in(session, credentials.username, credentials.password)
    username = decode_response(first if first is not None else await session.ask(encode_challenge(b"Username:")))
    password = decode_response(await session.ask(encode_challenge(b"Password:")))
    try:
        return await log_in(session, username.decode("utf-8"), password.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise RemoteProtocolError("the response is not UTF-8") from error


async def _by_token(session: Pop3State, mechanism: str, first: bytes | None) -> AuthenticateReply | None:
    octets = first if first is not None else await session.ask(b"+ \r\n")
    try:
        found = bearer.read_bearer(mechanism, decode_response(octets))
    except bearer.BearerError as error:
        raise RemoteProtocolError(str(error)) from error
    request = AuthenticateTokenRequest(
        token=found.token, mailbox=found.mailbox, access=Access.POP3, client_address=session.wire.peer_address
    )
    asked = session.deps.tokens.authenticate_token(request)
    told = bearer.format_refusal(mechanism, session.deps.provider.configuration_url)
    return await _enter(session, found.mailbox, asked, told)


async def _enter(
    session: Pop3State, username: str, asked: Awaitable[AuthenticateReply], told: bytes = b""
) -> AuthenticateReply | None:
    """`told`: what a client whose token is refused is told before (RFC 7628 §3.2.3)."""
    try:
        account = await asked
    except MailError as error:
        if told and error.kind in _COUNTED:
            await session.ask(encode_challenge(told))
        await _refuse(session, username, error)
        return None
    session.deps.metrics.logins.labels("ok").inc()
    _note(session, EventType.LOGIN, account.address, account.shown)
    extra = {"session_id": session.session_id, "mailbox_id": account.mailbox_id}
    log.info("pop3.login.accepted", extra=extra | {"client_address": session.wire.peer_address})
    return account


async def _refuse(session: Pop3State, username: str, error: MailError) -> None:
    deps = session.deps
    if error.kind not in _COUNTED:
        deps.metrics.logins.labels("away").inc()
        session.write(format_error("logins can't be checked now, try again later", "SYS/TEMP"))
        return
    session.failed_logins += 1
    deps.metrics.logins.labels("failed").inc()
    _note(session, EventType.LOGIN_FAILED, username if "@" in username and username.isprintable() else "", error.kind)
    extra = {"session_id": session.session_id, "client_address": session.wire.peer_address, "kind": error.kind.value}
    log.info("pop3.login.refused", extra=extra)
    await asyncio.sleep(deps.settings.failed_login_seconds * session.failed_logins)
    text, code = _COUNTED[error.kind]
    reply = format_error(text or error.detail, code)
    if session.failed_logins >= deps.settings.max_failed_logins:
        raise Goodbye(reply)
    session.write(reply)


def _note(session: Pop3State, kind: EventType, address: str, detail: str) -> None:
    verb = "logged in" if kind is EventType.LOGIN else "failed to log in"
    session.deps.events.note(
        kind,
        f"{address or 'somebody'} {verb} over POP3",
        domain=address.rpartition("@")[2],
        mailbox=address,
        client_address=session.wire.peer_address,
        detail=detail,
    )
