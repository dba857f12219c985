"""The session's states and the one table of what is allowed when (RFC 5321 §4.1.4, RFC 3207 §4, RFC 4954 §4).

A command that has no entry is out of sequence. An entry says where the session stands after a positive reply, after an
intermediate one (3yz) and after a refusal; None is: stays.
"""

import enum
from typing import Final

import msgspec

from postbus.smtp.commands import Verb
from postbus.smtp.replies import (
    BAD_SEQUENCE,
    NEED_MAIL,
    NESTED_MAIL,
    NO_RECIPIENTS,
    SEND_EHLO_FIRST,
    Reply,
)


class State(enum.Enum):
    """Where a session stands."""

    START = "start"
    """Connected, no banner yet."""
    CONNECTED = "connected"
    """Banner sent, or TLS just begun: no EHLO yet."""
    GREETED = "greeted"
    MAIL = "mail"
    """A reverse_path, no forward_path accepted yet."""
    RCPT = "rcpt"
    """At least one forward_path."""
    DATA = "data"
    """Reading the message."""
    AUTH = "auth"
    """Within an AUTH exchange."""
    CLOSED = "closed"


class Next(msgspec.Struct, frozen=True, kw_only=True):
    """The state after a reply of each class."""

    positive: State | None = None
    intermediate: State | None = None
    refused: State | None = None


_STAY: Final = Next()
_CLOSE: Final = Next(positive=State.CLOSED)
_GREET: Final = Next(positive=State.GREETED)
_ANYWHERE: Final = {Verb.NOOP: _STAY, Verb.HELP: _STAY, Verb.VRFY: _STAY, Verb.EXPN: _STAY, Verb.QUIT: _CLOSE}
_GREETINGS: Final = {Verb.EHLO: _GREET, Verb.HELO: _GREET}
_WITHIN: Final = {**_ANYWHERE, **_GREETINGS, Verb.RSET: _GREET}

TRANSITIONS: Final[dict[State, dict[Verb, Next]]] = {
    State.START: {Verb.CONNECT: Next(positive=State.CONNECTED, refused=State.CLOSED)},
    State.CONNECTED: {**_ANYWHERE, **_GREETINGS, Verb.RSET: _STAY},
    State.GREETED: {
        **_WITHIN,
        Verb.MAIL: Next(positive=State.MAIL),
        Verb.STARTTLS: Next(positive=State.CONNECTED),
        Verb.AUTH: Next(positive=State.GREETED, intermediate=State.AUTH),
    },
    State.MAIL: {**_WITHIN, Verb.RCPT: Next(positive=State.RCPT)},
    State.RCPT: {**_WITHIN, Verb.RCPT: _STAY, Verb.DATA: Next(intermediate=State.DATA)},
    State.DATA: {Verb.END: Next(positive=State.GREETED, refused=State.GREETED)},
    State.AUTH: {Verb.RESPONSE: Next(positive=State.GREETED, refused=State.GREETED)},
    State.CLOSED: {},
}

_OUT_OF_SEQUENCE: Final[dict[tuple[State, Verb], Reply]] = {
    (State.GREETED, Verb.RCPT): NEED_MAIL,
    (State.GREETED, Verb.DATA): NEED_MAIL,
    (State.MAIL, Verb.MAIL): NESTED_MAIL,
    (State.RCPT, Verb.MAIL): NESTED_MAIL,
    (State.MAIL, Verb.DATA): NO_RECIPIENTS,
}


def next_state(state: State, verb: Verb, code: int) -> State:
    """The state after replying `code` to `verb`; 421 always closes (RFC 5321 §3.8)."""
    if code == 421:
        return State.CLOSED
    entry = TRANSITIONS[state].get(verb, _STAY)
    after = entry.positive if code < 300 else entry.intermediate if code < 400 else entry.refused
    return state if after is None else after


def is_allowed(state: State, verb: Verb) -> bool:
    """Whether the command has an entry."""
    return verb in TRANSITIONS[state]


def out_of_sequence(state: State, verb: Verb) -> Reply:
    """The reply to a command without an entry."""
    if state is State.CONNECTED:
        return SEND_EHLO_FIRST
    return _OUT_OF_SEQUENCE.get((state, verb), BAD_SEQUENCE)
