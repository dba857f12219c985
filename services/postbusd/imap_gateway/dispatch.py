"""Which function runs which command: one table."""

from collections.abc import Awaitable, Callable
from typing import Any

from postbus.imap.command import Command
from postbus.imap.commands.append import Append
from postbus.imap.commands.fetch import Fetch
from postbus.imap.commands.folders import Create, Delete, Rename, Status, Subscribe, Unsubscribe
from postbus.imap.commands.listing import List, Lsub
from postbus.imap.commands.login import Authenticate, Login, StartTls
from postbus.imap.commands.search import Search
from postbus.imap.commands.select import Check, Close, Examine, Select, Unselect
from postbus.imap.commands.session import Capability, Enable, Id, Idle, Logout, Namespace, Noop
from postbus.imap.commands.store import Copy, Expunge, Move, Store
from postbusd.imap_gateway.commands import append, fetch, folders, listing, login, search, select, session, store
from postbusd.imap_gateway.errors import Reply
from postbusd.imap_gateway.state import SessionState

Handler = Callable[[SessionState, Any], Awaitable[Reply]]
"""Any: each handler takes its own command; the table below pairs them."""

HANDLERS: dict[type[Command], Handler] = {
    Append: append.handle_append,
    Authenticate: login.handle_authenticate,
    Capability: session.handle_capability,
    Check: session.handle_noop,
    Close: select.handle_close,
    Copy: store.handle_copy,
    Create: folders.handle_create,
    Delete: folders.handle_delete,
    Enable: session.handle_enable,
    Examine: select.handle_select,
    Expunge: store.handle_expunge,
    Fetch: fetch.handle_fetch,
    Id: session.handle_id,
    Idle: session.handle_idle,
    List: listing.handle_list,
    Login: login.handle_login,
    Logout: session.handle_logout,
    Lsub: listing.handle_lsub,
    Move: store.handle_move,
    Namespace: session.handle_namespace,
    Noop: session.handle_noop,
    Rename: folders.handle_rename,
    Search: search.handle_search,
    Select: select.handle_select,
    StartTls: session.handle_starttls,
    Status: folders.handle_status,
    Store: store.handle_store,
    Subscribe: folders.handle_subscribe,
    Unselect: select.handle_unselect,
    Unsubscribe: folders.handle_subscribe,
}


async def run_command(state: SessionState, command: Command) -> Reply:
    """Runs the command's handler."""
    return await HANDLERS[type(command)](state, command)
