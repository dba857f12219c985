"""The client's session states and the one table of what is allowed when (RFC 5321 §4.1.4, RFC 2920 §3.1).

An entry says where the session stands after a positive reply, after an intermediate one (3yz) and after a refusal. A
positive or intermediate reply without an entry is a fault of the peer; a refusal without one changes nothing. What was
pipelined behind a refused command has its entries too: its replies still come.
"""

import enum
from typing import Final

import msgspec

from postbus.core.errors import RemoteProtocolError
from postbus.smtp.commands import Verb


class ClientState(enum.Enum):
    """Where a session stands, as far as replies tell."""

    START = "start"
    """Connected, no banner yet."""
    CONNECTED = "connected"
    """Banner seen, or TLS just begun: no EHLO yet."""
    GREETED = "greeted"
    MAIL = "mail"
    """The reverse_path was taken, no forward_path yet."""
    RCPT = "rcpt"
    """At least one forward_path was taken."""
    REFUSED = "refused"
    """The reverse_path was refused."""
    DATA = "data"
    """The peer waits for the message."""
    EMPTY_DATA = "empty_data"
    """It waits for one although it took no recipient (RFC 2920 §3.1): it gets the lone dot."""
    AUTH = "auth"
    """Within an AUTH exchange."""
    SECURING = "securing"
    """STARTTLS was taken, the handshake is to come."""
    REJECTED = "rejected"
    """The banner was a refusal: only QUIT is left (RFC 5321 §3.1)."""
    CLOSED = "closed"


class ClientNext(msgspec.Struct, frozen=True, kw_only=True):
    """The state after a reply of each class."""

    positive: ClientState | None = None
    intermediate: ClientState | None = None
    refused: ClientState | None = None


_S = ClientState
_CLOSE: Final = {Verb.QUIT: ClientNext(positive=_S.CLOSED, refused=_S.CLOSED)}
_GREET: Final = ClientNext(positive=_S.GREETED)
_GREETINGS: Final = {Verb.EHLO: _GREET, Verb.HELO: _GREET}
_RESET: Final = {Verb.RSET: _GREET}
_MAIL: Final = {Verb.MAIL: ClientNext(positive=_S.MAIL, refused=_S.REFUSED)}
_END: Final = {Verb.END: ClientNext(positive=_S.GREETED, refused=_S.GREETED)}

CLIENT_TRANSITIONS: Final[dict[ClientState, dict[Verb, ClientNext]]] = {
    _S.START: {Verb.CONNECT: ClientNext(positive=_S.CONNECTED, refused=_S.REJECTED)},
    _S.CONNECTED: {**_GREETINGS, **_CLOSE},
    _S.GREETED: {
        **_GREETINGS,
        **_RESET,
        **_MAIL,
        **_CLOSE,
        Verb.NOOP: _GREET,
        Verb.STARTTLS: ClientNext(positive=_S.SECURING),
        Verb.AUTH: ClientNext(positive=_S.GREETED, intermediate=_S.AUTH),
    },
    _S.AUTH: {Verb.RESPONSE: ClientNext(positive=_S.GREETED, intermediate=_S.AUTH, refused=_S.GREETED)},
    _S.MAIL: {
        **_RESET,
        **_CLOSE,
        Verb.RCPT: ClientNext(positive=_S.RCPT),
        Verb.DATA: ClientNext(intermediate=_S.EMPTY_DATA),
    },
    _S.RCPT: {
        **_RESET,
        **_CLOSE,
        Verb.RCPT: ClientNext(positive=_S.RCPT),
        Verb.DATA: ClientNext(intermediate=_S.DATA),
    },
    _S.REFUSED: {
        **_RESET,
        **_MAIL,
        **_CLOSE,
        Verb.RCPT: ClientNext(positive=_S.REFUSED),
        Verb.DATA: ClientNext(intermediate=_S.EMPTY_DATA),
    },
    _S.DATA: _END,
    _S.EMPTY_DATA: _END,
    _S.SECURING: {Verb.CONNECT: ClientNext(positive=_S.CONNECTED)},
    _S.REJECTED: _CLOSE,
    _S.CLOSED: {},
}

PIPELINED: Final = frozenset({Verb.MAIL, Verb.RCPT, Verb.RSET})
"""What may stand anywhere in a group of commands (RFC 2920 §3.1)."""
LAST_OF_GROUP: Final = frozenset({Verb.DATA, Verb.NOOP, Verb.QUIT})
"""What may only end one; EHLO, STARTTLS and AUTH are sent alone."""


def next_client_state(state: ClientState, verb: Verb, code: int) -> ClientState:
    """The state after a reply; 421 always closes (RFC 5321 §3.8). Raises RemoteProtocolError."""
    if code == 421:
        return ClientState.CLOSED
    entry = CLIENT_TRANSITIONS[state].get(verb)
    if entry is None:
        raise RemoteProtocolError(f"{code} to {verb} out of place")
    if code >= 400:
        return state if entry.refused is None else entry.refused
    after = entry.positive if code < 300 else entry.intermediate
    if after is None:
        raise RemoteProtocolError(f"{code} is no answer to {verb}")
    return after


def hoped_client_state(state: ClientState, verb: Verb) -> ClientState | None:
    """The state if the command goes well; None: it may not be sent."""
    entry = CLIENT_TRANSITIONS[state].get(verb)
    if entry is None:
        return None
    return entry.intermediate if verb is Verb.DATA else entry.positive
