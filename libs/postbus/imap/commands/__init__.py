"""Every command that the engine knows: its name on the wire and its parser, one family a file."""

from postbus.imap.command import Parser
from postbus.imap.commands import append, fetch, folders, listing, login, search, select, session, store

PARSERS: dict[bytes, Parser] = {
    b"APPEND": append.parse_append,
    b"AUTHENTICATE": login.parse_authenticate,
    b"CAPABILITY": session.parse_capability,
    b"CHECK": select.parse_check,
    b"CLOSE": select.parse_close,
    b"COPY": store.parse_copy,
    b"CREATE": folders.parse_create,
    b"DELETE": folders.parse_delete,
    b"ENABLE": session.parse_enable,
    b"EXAMINE": select.parse_examine,
    b"EXPUNGE": store.parse_expunge,
    b"FETCH": fetch.parse_fetch,
    b"ID": session.parse_id,
    b"IDLE": session.parse_idle,
    b"LIST": listing.parse_list,
    b"LOGIN": login.parse_login,
    b"LOGOUT": session.parse_logout,
    b"LSUB": listing.parse_lsub,
    b"MOVE": store.parse_move,
    b"NAMESPACE": session.parse_namespace,
    b"NOOP": session.parse_noop,
    b"RENAME": folders.parse_rename,
    b"SEARCH": search.parse_search,
    b"SELECT": select.parse_select,
    b"STARTTLS": login.parse_starttls,
    b"STATUS": folders.parse_status,
    b"STORE": store.parse_store,
    b"SUBSCRIBE": folders.parse_subscribe,
    b"UNSELECT": select.parse_unselect,
    b"UNSUBSCRIBE": folders.parse_unsubscribe,
}

UID_PARSERS: dict[bytes, Parser] = {
    b"COPY": store.parse_uid_copy,
    b"EXPUNGE": store.parse_uid_expunge,
    b"FETCH": fetch.parse_uid_fetch,
    b"MOVE": store.parse_uid_move,
    b"SEARCH": search.parse_uid_search,
    b"STORE": store.parse_uid_store,
}
