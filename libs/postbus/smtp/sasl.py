"""SASL as steps: each response gives the next challenge or the credentials.

PLAIN (RFC 4616) and LOGIN have passwords, OAUTHBEARER (RFC 7628) and XOAUTH2 bearer tokens.
"""

import base64
import binascii
from collections.abc import Callable

import msgspec

from postbus.core import bearer
from postbus.core.bearer import BearerResponse
from postbus.smtp.replies import AUTH_BAD_BASE64, AUTH_CANCELLED, AUTH_FAILED, CommandError, Reply

MECHANISMS = ("PLAIN", "LOGIN")
"""With passwords."""
_USERNAME_CHALLENGE = b"Username:"
_PASSWORD_CHALLENGE = b"Password:"


class Credentials(msgspec.Struct, frozen=True, kw_only=True):
    """What to check. Never logged."""

    username: str
    password: str


class Challenge(msgspec.Struct, frozen=True, kw_only=True):
    """What to ask next."""

    text: bytes

    def reply(self) -> Reply:
        """334 with the challenge in base64 (RFC 4954 §4)."""
        return Reply(334, "", (base64.b64encode(self.text).decode("ascii"),))


Step = Challenge | Credentials | BearerResponse


class SaslExchange:
    """One exchange; `start` once, then `respond` until it gives Credentials. Both raise CommandError."""

    def __init__(self, mechanism: str) -> None:
        """`mechanism` is one of MECHANISMS or of `bearer.MECHANISMS`."""
        self.mechanism = mechanism
        self._steps: list[Callable[[bytes], Step]]
        if mechanism == "PLAIN":
            self._opening = b""
            self._steps = [_read_plain]
        elif mechanism in bearer.MECHANISMS:
            self._opening = b""
            self._steps = [self._read_bearer]
        else:
            self._opening = _USERNAME_CHALLENGE
            self._steps = [self._take_username, self._take_password]
        self._username = b""

    def start(self, initial: bytes | None) -> Step:
        """The first step, with the initial response if there is one (`=` is an empty one, RFC 4954 §4)."""
        if initial is None:
            return Challenge(text=self._opening)
        return self._steps.pop(0)(b"" if initial == b"=" else _decode(initial))

    def respond(self, line: bytes) -> Step:
        """The next step."""
        if line == b"*":
            raise CommandError(AUTH_CANCELLED)
        return self._steps.pop(0)(_decode(line))

    def fail(self, told: bytes, reply: Reply) -> Challenge:
        """The token is refused: the client is told why, answers something, and then gets `reply` (RFC 7628 §3.2.3)."""

        def end(response: bytes) -> Step:
            raise CommandError(reply)

        self._steps = [end]
        return Challenge(text=told)

    def _read_bearer(self, response: bytes) -> Step:
        try:
            return bearer.read_bearer(self.mechanism, response)
        except bearer.BearerError as error:
            raise CommandError(AUTH_BAD_BASE64) from error

    def _take_username(self, response: bytes) -> Step:
        self._username = response
        return Challenge(text=_PASSWORD_CHALLENGE)

    def _take_password(self, response: bytes) -> Step:
        return _credentials(self._username, response)


def _read_plain(response: bytes) -> Step:
    """`[authzid] NUL authcid NUL passwd` (RFC 4616 §2); acting for another identity is not offered."""
    parts = response.split(b"\0")
    if len(parts) != 3:
        raise CommandError(AUTH_BAD_BASE64)
    authzid, authcid, password = parts
    if authzid and authzid.lower() != authcid.lower():
        raise CommandError(AUTH_FAILED)
    return _credentials(authcid, password)


def _credentials(username: bytes, password: bytes) -> Credentials:
    try:
        return Credentials(username=username.decode("utf-8"), password=password.decode("utf-8"))
    except UnicodeDecodeError:
        raise CommandError(AUTH_FAILED) from None


def _decode(line: bytes) -> bytes:
    try:
        return base64.b64decode(line, validate=True)
    except (binascii.Error, ValueError):
        raise CommandError(AUTH_BAD_BASE64) from None
