"""The folder views of a process: loaded once, kept up to date, shared (architecture §3.6, §4).

News comes by wake-ups, by our own writes, by NOOP, and, as wake-ups may be lost, by one query for all open views after
a bus reconnect and every sweep. Every update of a view is made under its lock, from where the view stands.
"""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable

from postbus.bus.ports import WakeUps
from postbus.bus.subjects import folder_changed_subject
from postbus.contracts.events import FolderChanged
from postbus.core.errors import ErrorKind, MailError
from postbus.core.ids import FolderId, MailboxId, ModSeq
from postbus.mailstore.ports import FolderReader
from postbus.mailstore.values import Folder
from postbusd.imap_gateway.views import FolderView

log = logging.getLogger(__name__)

Key = tuple[MailboxId, FolderId]
Unsubscribe = Callable[[], Awaitable[None]]


class _Slot:
    """A view in use, or being loaded."""

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.view: FolderView | None = None
        self.users = 0


class ViewRegistry:
    """Opens and closes views; at most `cached_messages` of unused ones are kept."""

    def __init__(self, store: FolderReader, bus: WakeUps, cached_messages: int) -> None:
        self._store = store
        self._bus = bus
        self._cached_messages = cached_messages
        self._slots: dict[Key, _Slot] = {}
        self._unused: OrderedDict[Key, FolderView] = OrderedDict()
        self._listening: dict[MailboxId, int] = {}
        self._unsubscribers: dict[MailboxId, Unsubscribe] = {}
        self._listen_lock = asyncio.Lock()

    @property
    def open_views(self) -> int:
        """Views in use."""
        return len(self._slots)

    @property
    def messages(self) -> int:
        """Messages of all views in memory."""
        used = sum(len(slot.view) for slot in self._slots.values() if slot.view is not None)
        return used + sum(len(view) for view in self._unused.values())

    async def open(self, folder: Folder, watcher: Callable[[], None]) -> FolderView:
        """The view of `folder`, as new as `folder` at least; `watcher` is called when something changes."""
        key = folder.mailbox_id, folder.folder_id
        slot = self._slots.setdefault(key, _Slot())
        slot.users += 1
        try:
            await self._start_listening(folder.mailbox_id)
            try:
                async with slot.lock:
                    view = await self._provide(key, slot, folder)
            except BaseException:
                await self._stop_listening(folder.mailbox_id)
                raise
        except BaseException:
            self._release(key, slot)
            raise
        view.watchers.add(watcher)
        return view

    async def _provide(self, key: Key, slot: _Slot, folder: Folder) -> FolderView:
        view = slot.view or self._unused.pop(key, None)
        if view is None or view.gone or view.uid_validity != folder.uid_validity:
            view = FolderView(*key, await self._store.load_entries(*key))
        elif folder.highest_mod_seq > view.mod_seq or folder.uid_next > view.uid_next:
            await self._update(view)
        slot.view = view
        return view

    async def close(self, view: FolderView, watcher: Callable[[], None]) -> None:
        """The session has no use for it any more."""
        view.watchers.discard(watcher)
        slot = self._slots.get(view.key)
        if slot is not None:
            self._release(view.key, slot)
            await self._stop_listening(view.mailbox_id)

    def _release(self, key: Key, slot: _Slot) -> None:
        slot.users -= 1
        if slot.users:
            return
        self._slots.pop(key, None)
        if slot.view is None or slot.view.gone:
            return
        self._unused[key] = slot.view
        kept = sum(len(view) for view in self._unused.values())
        while self._unused and kept > self._cached_messages:
            kept -= len(self._unused.popitem(last=False)[1])

    async def refresh(self, view: FolderView, at_least: int | None = None) -> None:
        """Brings the view up to date, unless it has reached `at_least` (a mod_seq) already."""
        slot = self._slots.get(view.key)
        if slot is None or (at_least is not None and view.mod_seq >= at_least):
            return
        async with slot.lock:
            if at_least is None or view.mod_seq < at_least:
                await self._update(view)

    async def check(self, view: FolderView) -> None:
        """Asks for the folder's head and brings the view up to date if it is behind (NOOP)."""
        heads = await self._store.heads([view.key])
        if not heads:
            self._end(view)
        elif view.is_behind(heads[0]) or heads[0].uid_validity != view.uid_validity:
            await self.refresh(view)

    async def sweep(self) -> None:
        """Checks all views in use with one query; asks again for wake-ups that could not be had."""
        async with self._listen_lock:
            for mailbox_id in tuple(self._listening):
                await self._listen(mailbox_id)
        views = {key: slot.view for key, slot in self._slots.items() if slot.view is not None}
        if not views:
            return
        heads = {(head.mailbox_id, head.folder_id): head for head in await self._store.heads(list(views))}
        for key, view in views.items():
            head = heads.get(key)
            if head is None:
                self._end(view)
            elif view.is_behind(head) or head.uid_validity != view.uid_validity:
                await self.refresh(view)

    async def handle_folder_changed(self, changed: FolderChanged) -> None:
        """A wake-up: brings the named views up to date."""
        for key, slot in list(self._slots.items()):
            named = key[0] == changed.mailbox_id and (not changed.folder_ids or key[1] in changed.folder_ids)
            if named and slot.view is not None:
                try:
                    await self.refresh(slot.view, at_least=changed.mod_seq or None)
                except MailError as error:
                    if error.kind is not ErrorKind.UNAVAILABLE:
                        raise  # the sweep comes back to a view that the database could not serve now

    async def _update(self, view: FolderView) -> None:
        try:
            packed = await self._store.load_changes(*view.key, since=ModSeq(view.mod_seq))
            if packed.complete:
                view.apply(packed)
            else:
                view.replace(await self._store.load_entries(*view.key))
        except MailError as error:
            if error.kind is not ErrorKind.NOT_FOUND:
                raise
            self._end(view)

    def end_all(self) -> None:
        """What the views show is over: their sessions end, the next ones load anew."""
        self._unused.clear()
        for slot in self._slots.values():
            if slot.view is not None:
                self._end(slot.view)

    def _end(self, view: FolderView) -> None:
        view.gone = True
        view.notify()

    async def _start_listening(self, mailbox_id: MailboxId) -> None:
        async with self._listen_lock:
            self._listening[mailbox_id] = self._listening.get(mailbox_id, 0) + 1
            await self._listen(mailbox_id)

    async def _listen(self, mailbox_id: MailboxId) -> None:
        """Without the bus the sweep alone keeps the view up to date, and tries again."""
        if mailbox_id in self._unsubscribers:
            return
        try:
            self._unsubscribers[mailbox_id] = await self._bus.listen(
                folder_changed_subject(mailbox_id), FolderChanged, self.handle_folder_changed
            )
        except MailError as error:
            log.warning("imap.wake_ups.missing", extra={"mailbox_id": mailbox_id, "reason": error.detail})

    async def _stop_listening(self, mailbox_id: MailboxId) -> None:
        async with self._listen_lock:
            self._listening[mailbox_id] -= 1
            if self._listening[mailbox_id] == 0:
                del self._listening[mailbox_id]
                unsubscribe = self._unsubscribers.pop(mailbox_id, None)
                if unsubscribe is not None:
                    await unsubscribe()
