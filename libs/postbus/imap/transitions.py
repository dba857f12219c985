"""Which command is legal in which state, and where it leads: one table (RFC 9051 §3)."""

import enum

from postbus.imap.command import Command
from postbus.imap.commands.append import Append
from postbus.imap.commands.fetch import Fetch
from postbus.imap.commands.folders import (
    Create,
    Delete,
    Rename,
    Status,
    Subscribe,
    Unsubscribe,
)
from postbus.imap.commands.listing import List, Lsub
from postbus.imap.commands.login import Authenticate, Login, StartTls
from postbus.imap.commands.search import Search
from postbus.imap.commands.select import Check, Close, Examine, Select, Unselect
from postbus.imap.commands.session import Capability, Enable, Id, Idle, Logout, Namespace, Noop
from postbus.imap.commands.store import Copy, Expunge, Move, Store


class State(enum.Enum):
    """RFC 9051 §3."""

    NOT_AUTHENTICATED = "not authenticated"
    AUTHENTICATED = "authenticated"
    SELECTED = "selected"
    LOGOUT = "logout"


_NEW, _AUTH, _SEL, _OUT = State.NOT_AUTHENTICATED, State.AUTHENTICATED, State.SELECTED, State.LOGOUT

Outcome = tuple[State, State]
"""The state after OK, and after NO."""

TRANSITIONS: dict[type[Command], dict[State, Outcome]] = {
    Capability: {_NEW: (_NEW, _NEW), _AUTH: (_AUTH, _AUTH), _SEL: (_SEL, _SEL)},
    Noop: {_NEW: (_NEW, _NEW), _AUTH: (_AUTH, _AUTH), _SEL: (_SEL, _SEL)},
    Id: {_NEW: (_NEW, _NEW), _AUTH: (_AUTH, _AUTH), _SEL: (_SEL, _SEL)},
    Logout: {_NEW: (_OUT, _OUT), _AUTH: (_OUT, _OUT), _SEL: (_OUT, _OUT)},
    StartTls: {_NEW: (_NEW, _NEW)},
    Login: {_NEW: (_AUTH, _NEW)},
    Authenticate: {_NEW: (_AUTH, _NEW)},
    Enable: {_AUTH: (_AUTH, _AUTH), _SEL: (_SEL, _SEL)},
    Namespace: {_AUTH: (_AUTH, _AUTH), _SEL: (_SEL, _SEL)},
    Idle: {_AUTH: (_AUTH, _AUTH), _SEL: (_SEL, _SEL)},
    List: {_AUTH: (_AUTH, _AUTH), _SEL: (_SEL, _SEL)},
    Lsub: {_AUTH: (_AUTH, _AUTH), _SEL: (_SEL, _SEL)},
    Status: {_AUTH: (_AUTH, _AUTH), _SEL: (_SEL, _SEL)},
    Create: {_AUTH: (_AUTH, _AUTH), _SEL: (_SEL, _SEL)},
    Delete: {_AUTH: (_AUTH, _AUTH), _SEL: (_SEL, _SEL)},
    Rename: {_AUTH: (_AUTH, _AUTH), _SEL: (_SEL, _SEL)},
    Subscribe: {_AUTH: (_AUTH, _AUTH), _SEL: (_SEL, _SEL)},
    Unsubscribe: {_AUTH: (_AUTH, _AUTH), _SEL: (_SEL, _SEL)},
    Append: {_AUTH: (_AUTH, _AUTH), _SEL: (_SEL, _SEL)},
    Select: {_AUTH: (_SEL, _AUTH), _SEL: (_SEL, _AUTH)},
    Examine: {_AUTH: (_SEL, _AUTH), _SEL: (_SEL, _AUTH)},
    Close: {_SEL: (_AUTH, _SEL)},
    Unselect: {_SEL: (_AUTH, _SEL)},
    Check: {_SEL: (_SEL, _SEL)},
    Fetch: {_SEL: (_SEL, _SEL)},
    Search: {_SEL: (_SEL, _SEL)},
    Store: {_SEL: (_SEL, _SEL)},
    Expunge: {_SEL: (_SEL, _SEL)},
    Copy: {_SEL: (_SEL, _SEL)},
    Move: {_SEL: (_SEL, _SEL)},
}


def is_legal(state: State, kind: type[Command]) -> bool:
    """Whether the command may be given in this state."""
    return state in TRANSITIONS[kind]


def next_state(state: State, kind: type[Command], ok: bool) -> State:
    """Where a finished command leads. Raises KeyError for an illegal one."""
    after_ok, after_no = TRANSITIONS[kind][state]
    return after_ok if ok else after_no
