"""The client's side of SASL PLAIN (RFC 4616) and LOGIN; nothing here knows whether the connection is secure."""

import base64

from postbus.core.errors import LocalProtocolError, RemoteProtocolError
from postbus.smtp.commands import Auth
from postbus.smtp.engine import SaslResponse
from postbus.smtp.sasl import MECHANISMS, Credentials


def choose_mechanism(offered: tuple[str, ...]) -> str | None:
    """The first of ours that is offered; None: none is."""
    return next((mechanism for mechanism in MECHANISMS if mechanism in offered), None)


class ClientSasl:
    """One login: send `start`, then for every 334 what `respond` gives."""

    def __init__(self, mechanism: str, credentials: Credentials) -> None:
        """`mechanism` is one of MECHANISMS. Raises LocalProtocolError for a NUL, which PLAIN can't carry."""
        if "\0" in credentials.username or "\0" in credentials.password:
            raise LocalProtocolError("credentials with NUL")
        username, password = credentials.username.encode(), credentials.password.encode()
        plain = b"\0" + username + b"\0" + password
        self._mechanism = mechanism
        self._left = [plain] if mechanism == "PLAIN" else [username, password]

    def start(self) -> Auth:
        """The command; PLAIN sends all at once (RFC 4954 §4)."""
        initial = base64.b64encode(self._left.pop(0)) if self._mechanism == "PLAIN" else None
        return Auth(mechanism=self._mechanism, initial=initial)

    def respond(self) -> SaslResponse:
        """The next response. Raises RemoteProtocolError when the peer asks for more than the mechanism has."""
        if not self._left:
            raise RemoteProtocolError("one challenge too many")
        return SaslResponse(line=base64.b64encode(self._left.pop(0)))
