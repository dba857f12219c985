"""append on Postgres: the whole batch is one call of `append_v1`, or `append_v2` where traces are told."""

import logging
from collections.abc import Iterable, Sequence
from typing import Any

from postbus.core.errors import ErrorKind, MailError
from postbus.core.ids import FolderId, ModSeq, Uid
from postbus.mailstore.keywords import check_keywords
from postbus.mailstore.names import normalize_folder_name
from postbus.mailstore.outbox import pack_event
from postbus.mailstore.session import Session
from postbus.mailstore.threads import id_keys, joins_by_subject, subject_key
from postbus.mailstore.values import Append, AppendOutcome, AppendResult, SpecialUse

log = logging.getLogger(__name__)

PARAMETERS = 25
_APPEND = f"SELECT * FROM mailstore.append_v1({', '.join(f'${n}' for n in range(1, PARAMETERS + 1))})"  # noqa: S608
_APPEND_TRACED = _APPEND.replace("append_v1", "append_v2").replace(")", f", ${PARAMETERS + 1})")
_INVALID = AppendResult(outcome=AppendOutcome.INVALID)
_SYSTEM_FLAGS = 31


class PostgresAppender:
    """Implements MessageAppender."""

    def __init__(self, session: Session) -> None:
        """On the service's pool."""
        self._session = session

    async def append(self, appends: Sequence[Append]) -> list[AppendResult]:
        """One round trip; each append fails alone. A lost connection is tried once more: the keys prevent doubles."""
        results = [_INVALID] * len(appends)
        rows = [(index, row) for index, append in enumerate(appends) if (row := _checked_row(append)) is not None]
        if rows:
            stored = await self._store([appends[index] for index, _ in rows], [row for _, row in rows])
            for (index, _), result in zip(rows, stored, strict=True):
                results[index] = result
        return results

    async def _store(self, appends: Sequence[Append], rows: Sequence[tuple[Any, ...]]) -> list[AppendResult]:
        try:
            arguments = _arguments(self._session.clock.now_ms(), appends, rows)
            traces = [append.traceparent for append in appends]
            if any(traces):
                found = await self._session.change(_APPEND_TRACED, *arguments, traces, repeatable=True)
            else:
                found = await self._session.change(_APPEND, *arguments, repeatable=True)
        except MailError as error:
            if error.kind is not ErrorKind.INVALID:
                raise
            if len(appends) == 1:
                log.error("mailstore.append.refused", extra={"operation_key": appends[0].operation_key})
                return [_INVALID]
            # One of them carries a value that Postgres can't take: the others must not suffer for it.
            return [(await self._store([append], [row]))[0] for append, row in zip(appends, rows, strict=True)]
        by_position = {row["r_position"]: _result(row) for row in found}
        return [by_position[position] for position in range(1, len(appends) + 1)]


def _checked_row(append: Append) -> tuple[Any, ...] | None:
    """The append's values in the order of `append_v1`'s columns; None: refused."""
    try:
        keywords = sorted(check_keywords(append.keywords), key=str.lower)
        use, folder_id, name = _folder_columns(append.folder)
    except MailError as error:
        log.warning("mailstore.append.invalid", extra={"operation_key": append.operation_key, "detail": error.detail})
        return None
    message = append.message
    return (
        append.mailbox_id,
        append.operation_key,
        use,
        folder_id,
        name,
        append.fallback_to_inbox,
        None if append.may_overdraw else append.quota_octets,
        int(append.flags) & _SYSTEM_FLAGS,
        " ".join(keywords) or None,
        message.email_id,
        message.blob_id,
        message.prefix,
        message.octets,
        message.internal_date_ms,
        message.sent_day,
        message.structure,
        message.envelope,
        message.preview,
    )


def _folder_columns(folder: SpecialUse | FolderId | str) -> tuple[str | None, int | None, str | None]:
    if isinstance(folder, SpecialUse):
        return folder.value, None, None
    if isinstance(folder, int):
        return None, folder, None
    return None, None, normalize_folder_name(folder)


def _arguments(now_ms: int, appends: Sequence[Append], rows: Sequence[tuple[Any, ...]]) -> Iterable[Any]:
    ids = [id_keys(append.message) for append in appends]
    events = [(position, event) for position, append in enumerate(appends, 1) for event in append.events]
    return (
        now_ms,
        *(list(column) for column in zip(*rows, strict=True)),
        [key for keys in ids for key in keys],
        [len(keys) for keys in ids],
        [subject_key(append.message) for append in appends],
        [joins_by_subject(append.message) for append in appends],
        [position for position, _ in events],
        [pack_event(event) for _, event in events],
    )


def _result(row: Any) -> AppendResult:  # asyncpg.Record
    return AppendResult(
        outcome=AppendOutcome(row["r_outcome"]),
        folder_id=FolderId(row["r_folder_id"]),
        uid_validity=row["r_uid_validity"],
        uid=Uid(row["r_uid"]),
        mod_seq=ModSeq(row["r_mod_seq"]),
        folder_name=row["r_folder_name"],
    )
