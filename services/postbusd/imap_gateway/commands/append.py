"""APPEND (RFC 9051 §6.3.12; APPENDUID: RFC 4315 §3): the blob first, then one transaction with a key."""

import asyncio

import msgspec

from postbus.bus.subjects import SUBJECT_INDEX_WANTED
from postbus.contracts.events import IndexWanted
from postbus.core.errors import ErrorKind, MailError
from postbus.core.ids import new_email_id, new_uuid7
from postbus.imap.commands.append import Append
from postbus.mailstore import values
from postbus.mailstore.prepare import prepare_message
from postbus.mailstore.values import AppendOutcome, AppendResult, NewMessage
from postbus.mime.scanner import scan_message
from postbusd.imap_gateway.commands.folders import TRY_CREATE, find_folder
from postbusd.imap_gateway.errors import Reply
from postbusd.imap_gateway.flags import split_flags
from postbusd.imap_gateway.outcome import settle
from postbusd.imap_gateway.quota import renew_quota
from postbusd.imap_gateway.state import SessionState

SCAN_IN_THREAD_OCTETS = 262_144
"""Larger messages are scanned off the loop."""


async def handle_append(session: SessionState, command: Append) -> Reply:
    """Stores one message; the folder is looked up first, so that nothing is written for one that is not there."""
    folder = await find_folder(session, command.folder)
    if folder is None:
        return TRY_CREATE
    message = await _prepare(session, command)
    flags, keywords = split_flags(command.flags)
    append = values.Append(
        mailbox_id=session.mailbox_id,
        operation_key=new_uuid7(session.deps.clock.now_ms()),
        folder=folder.folder_id,
        message=message,
        flags=flags,
        keywords=keywords,
        quota_octets=session.require_account().quota_octets,
    )
    result = await _store(session, append)
    if result.outcome is AppendOutcome.OVER_QUOTA and await renew_quota(session):
        quota_octets = session.require_account().quota_octets
        result = await _store(session, msgspec.structs.replace(append, quota_octets=quota_octets))
    if result.outcome is AppendOutcome.NO_FOLDER:
        return TRY_CREATE
    _check(result)
    await session.announce(result.mod_seq, result.folder_id)
    await session.deps.bus.wake(SUBJECT_INDEX_WANTED, IndexWanted(count=1))
    return Reply(text="Done", code=b"APPENDUID %d %d" % (result.uid_validity, result.uid))


async def _store(session: SessionState, append: values.Append) -> AppendResult:
    return (await settle(session, lambda: session.deps.store.append([append])))[0]


async def _prepare(session: SessionState, command: Append) -> NewMessage:
    content = command.message
    if len(content) > SCAN_IN_THREAD_OCTETS:
        scan = await asyncio.to_thread(scan_message, content)
    else:
        scan = scan_message(content)
    blob_id = await session.deps.blobs.put(content)
    now_ms = session.deps.clock.now_ms()
    return prepare_message(
        email_id=new_email_id(now_ms),
        blob_id=blob_id,
        prefix=b"",
        scan=scan,
        internal_date_ms=command.internal_date_ms if command.internal_date_ms is not None else now_ms,
    )


def _check(result: AppendResult) -> None:
    if result.outcome is AppendOutcome.OVER_QUOTA:
        raise MailError(ErrorKind.OVER_QUOTA, "the message exceeds the quota")
    if result.outcome not in (AppendOutcome.STORED, AppendOutcome.DUPLICATE):
        raise MailError(ErrorKind.NOT_FOUND, "the mailbox is not there")
