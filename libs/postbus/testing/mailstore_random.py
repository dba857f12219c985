"""Random operations on a mail store, the same on several of them."""

import random
from collections.abc import Awaitable, Callable

from postbus.core.errors import MailError
from postbus.core.ids import FolderId, MailboxId, ModSeq
from postbus.mailstore.values import CopyRequest, Flag, StoreMode, StoreRequest
from postbus.testing.mailstore_builders import MailStore, make_append, make_event, make_message

Operation = Callable[[MailStore], Awaitable[object]]


class OperationSource:
    """Gives operations on one mailbox; what they touch often exists."""

    def __init__(self, mailbox_id: MailboxId, seed: int) -> None:
        """The same seed gives the same operations, but for the email_ids."""
        self._mailbox_id = mailbox_id
        self._random = random.Random(seed)  # noqa: S311  # tests, not secrets
        self._step = 0

    def next(self, folder_ids: list[FolderId]) -> Operation:
        """An operation on one of the folders."""
        self._step += 1
        folder_id = self._random.choice(folder_ids)
        kinds = (self._append, self._append, self._append, self._store, self._store, self._expunge, self._copy)
        kind = self._random.choice((*kinds, self._copy, self._catalog))
        return kind(folder_id, folder_ids)

    def _uids(self) -> tuple[int, ...]:
        return tuple(self._random.sample(range(1, 25), self._random.randrange(1, 12)))

    def _keywords(self) -> tuple[str, ...]:
        return tuple(self._random.sample(["a", "B", "$c", "b", "A"], self._random.randrange(3)))

    def _append(self, folder_id: FolderId, _: list[FolderId]) -> Operation:
        pick = self._random
        message = make_message(
            octets=pick.randrange(1, 1000),
            message_id=f"{self._step}@x",
            references=tuple(f"{pick.randrange(60)}@x" for _ in range(pick.randrange(3))),
            thread_subject=pick.choice(["", "one", "two"]),
            is_reply=pick.random() < 0.5,
        )
        append = make_append(
            self._mailbox_id,
            f"append {pick.randrange(self._step + 1)}",
            message,
            folder=folder_id,
            flags=Flag(pick.randrange(32)),
            keywords=self._keywords(),
            quota_octets=pick.choice([None, 3000]),
            events=(make_event("x"),),
        )
        return lambda store: store.append([append, append])

    def _store(self, folder_id: FolderId, _: list[FolderId]) -> Operation:
        request = StoreRequest(
            mailbox_id=self._mailbox_id,
            folder_id=folder_id,
            uids=self._uids(),
            mode=self._random.choice(list(StoreMode)),
            flags=Flag(self._random.randrange(32)),
            keywords=self._keywords(),
            unchanged_since=self._random.choice([None, ModSeq(self._step // 2)]),
            operation_key=self._random.choice([None, f"store {self._random.randrange(self._step + 1)}"]),
        )
        return lambda store: store.store_flags(request)

    def _expunge(self, folder_id: FolderId, _: list[FolderId]) -> Operation:
        uids = self._random.choice([None, self._uids()])
        return lambda store: store.expunge(self._mailbox_id, folder_id, uids)

    def _copy(self, folder_id: FolderId, folder_ids: list[FolderId]) -> Operation:
        request = CopyRequest(
            mailbox_id=self._mailbox_id,
            source=folder_id,
            uids=self._uids(),
            target=self._random.choice(folder_ids),
            operation_key=f"copy {self._random.randrange(self._step + 1)}",
            move=self._random.random() < 0.5,
            quota_octets=self._random.choice([None, 4000]),
        )
        return lambda store: store.copy(request)

    def _catalog(self, folder_id: FolderId, _: list[FolderId]) -> Operation:
        name = "/".join(self._random.choices("abc", k=self._random.randrange(1, 4)))
        return self._random.choice(
            [
                lambda store: store.create_folder(self._mailbox_id, name),
                lambda store: store.rename_folder(self._mailbox_id, folder_id, name),
                lambda store: store.delete_folder(self._mailbox_id, folder_id),
                lambda store: store.set_subscribed(self._mailbox_id, folder_id, len(name) > 1),
            ]
        )


async def outcome_of(operation: Operation, store: MailStore) -> object:
    """The operation's answer, or the kind of its error."""
    try:
        return await operation(store)
    except MailError as error:
        return error.kind
