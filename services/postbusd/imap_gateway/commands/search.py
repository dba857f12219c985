"""SEARCH and UID SEARCH: text by indexer in one call, all else from the folder view (RFC 9051 §6.4.4, RFC 4731)."""

from collections.abc import Sequence

from postbus.contracts.indexer import SearchRequest, TextField, TextTerm
from postbus.core.errors import ErrorKind, MailError
from postbus.imap.commands.search import Search
from postbus.imap.responses import format_esearch_response, format_search_response, select_reported
from postbus.imap.search_keys import ModSeqKey, TextKey, TextKind, walk_keys
from postbusd.imap_gateway import searching
from postbusd.imap_gateway.errors import Reply, refuse
from postbusd.imap_gateway.state import SessionState
from postbusd.imap_gateway.views import FolderView

MAX_TEXT_TERMS = 50
"""Text criteria of one search: each is a query of its own."""

NO_TEXTS = refuse("Texts can't be searched now: the index is away or being made anew", b"UNAVAILABLE")
FIELDS = {
    TextKind.BCC: TextField.BCC,
    TextKind.BODY: TextField.BODY,
    TextKind.CC: TextField.CC,
    TextKind.FROM: TextField.FROM,
    TextKind.HEADER: TextField.HEADER,
    TextKind.SUBJECT: TextField.SUBJECT,
    TextKind.TEXT: TextField.TEXT,
    TextKind.TO: TextField.TO,
}


async def handle_search(session: SessionState, command: Search) -> Reply:
    """Indexer away, or its index not yet whole: NO [UNAVAILABLE], never a wrong or partial answer."""
    selected = session.require_selected()
    by_mod_seq = any(isinstance(each, ModSeqKey) for each in walk_keys(command.key))
    if by_mod_seq:
        session.enable_condstore()
    texts = searching.collect_texts(command.key)
    if len(texts) > MAX_TEXT_TERMS:
        return refuse("Too many texts in one search", b"LIMIT")
    try:
        hits = await _ask_indexer(session, texts)
    except MailError as error:
        if error.kind is not ErrorKind.UNAVAILABLE:
            raise
        return NO_TEXTS
    uids = searching.Search(selected, hits, session.deps.clock.now_ms()).find(command.key)
    numbers = uids if command.uid else [number for uid in uids if (number := selected.sequence_number(uid))]
    mod_seq = _highest_mod_seq(selected.view, select_reported(uids, command.results)) if by_mod_seq else None
    if command.results is None:
        session.write(format_search_response(numbers, mod_seq))
    else:
        session.write(format_esearch_response(command.tag, command.uid, numbers, command.results, mod_seq))
    return Reply(text="Done")


def _highest_mod_seq(view: FolderView, uids: Sequence[int]) -> int | None:
    """None where nothing was found: nothing is told then (RFC 7162 §3.1.5)."""
    return max((view.mod_seqs[view.row_of(uid)] for uid in uids), default=None)


async def _ask_indexer(session: SessionState, texts: list[TextKey]) -> searching.Hits:
    if not texts:
        return {}
    terms = tuple(TextTerm(field=FIELDS[text.kind], value=text.value, header_name=text.header_name) for text in texts)
    reply = await session.deps.indexer.search(SearchRequest(mailbox_ids=(session.mailbox_id,), terms=terms))
    return searching.join_hits(texts, (hit.email_ids for hit in reply.hits))
