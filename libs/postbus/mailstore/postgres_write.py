"""STORE, EXPUNGE, COPY and MOVE on Postgres."""

from collections.abc import Sequence

from postbus.core.ids import FolderId, MailboxId, ModSeq
from postbus.mailstore.keywords import MAX_KEYWORDS, check_keywords
from postbus.mailstore.packed import expand_ranges, unpack_ranges
from postbus.mailstore.session import Session
from postbus.mailstore.values import CopyRequest, CopyResult, StoreRequest, StoreResult

_SYSTEM_FLAGS = 31


class PostgresWriter:
    """Implements FolderWriter."""

    def __init__(self, session: Session) -> None:
        """On the service's pool."""
        self._session = session

    async def store_flags(self, request: StoreRequest) -> StoreResult:
        """Changes flags where they differ; twice is the same, but a look at mod_seqs needs a key to be so."""
        rows = await self._session.change(
            "SELECT * FROM mailstore.store_flags_v2($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
            request.mailbox_id,
            request.folder_id,
            request.uids,
            request.mode.value,
            int(request.flags) & _SYSTEM_FLAGS,
            list(check_keywords(request.keywords)),
            request.unchanged_since,
            MAX_KEYWORDS,
            self._session.clock.now_ms(),
            request.operation_key if request.unchanged_since is not None else None,
            repeatable=request.unchanged_since is None or request.operation_key is not None,
        )
        row = rows[0]
        return StoreResult(
            mod_seq=ModSeq(row["r_mod_seq"]), modified=tuple(row["r_modified"]), changed=row["r_changed"]
        )

    async def expunge(
        self, mailbox_id: MailboxId, folder_id: FolderId, uids: Sequence[int] | None
    ) -> tuple[tuple[int, ...], ModSeq]:
        r"""Removes the \Deleted entries; after a lost connection the uids may lack those that went the first time."""
        rows = await self._session.change(
            "SELECT * FROM mailstore.expunge_v1($1, $2, $3, $4)",
            mailbox_id,
            folder_id,
            None if uids is None else list(uids),
            self._session.clock.now_ms(),
            repeatable=True,
        )
        return expand_ranges(unpack_ranges(rows[0]["r_uids"])), ModSeq(rows[0]["r_mod_seq"])

    async def copy(self, request: CopyRequest) -> CopyResult:
        """COPY or MOVE, once per operation key: a lost connection is tried once more."""
        rows = await self._session.change(
            "SELECT * FROM mailstore.copy_v1($1, $2, $3, $4, $5, $6, $7, $8)",
            request.mailbox_id,
            request.source,
            request.uids,
            request.target,
            request.operation_key,
            request.move,
            request.quota_octets,
            self._session.clock.now_ms(),
            repeatable=True,
        )
        row = rows[0]
        sources = expand_ranges(unpack_ranges(row["r_sources"]))
        return CopyResult(
            uid_validity=row["r_uid_validity"],
            pairs=tuple((source, row["r_uid"] + index) for index, source in enumerate(sources)),
            mod_seq=ModSeq(row["r_mod_seq"]),
        )
