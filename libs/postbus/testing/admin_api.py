"""admin-api's own store in memory, and what every AdminStore must do (a subclass gives a fixture `store`, empty)."""

from collections.abc import Sequence

import msgspec

from postbus.contracts.events import Event, EventType
from postbus.core.ids import new_queue_id, new_uuid7
from postbus.testing.admin_audit import AuditContract, MemoryAudit
from postbus.testing.admin_repeats import MemoryRepeats, RepeatContract
from postbus.testing.admin_sessions import MemorySessions, SessionContract
from postbus.testing.admin_tokens import MemoryTokens, TokenContract
from postbusd.admin_api.ports import Added, AdminStore, EventQuery, FoundMessage, LoggedEvents, MessageQuery, Seen


class MemoryAdminStore(MemoryTokens, MemorySessions, MemoryRepeats, MemoryAudit):
    """The AdminStore; `away` makes every call UNAVAILABLE."""

    def __init__(self) -> None:
        MemoryTokens.__init__(self)
        MemorySessions.__init__(self)
        MemoryRepeats.__init__(self)
        MemoryAudit.__init__(self)
        self._events: dict[str, tuple[int, Event]] = {}
        self._last_event = 0

    async def delete_tokens_of(self, actor: str) -> int:
        """All that speak for it, its sessions and kept answers too."""
        gone = await super().delete_tokens_of(actor)
        self.sessions = {name: each for name, each in self.sessions.items() if each[1].username != actor}
        self.repeats = {name: each for name, each in self.repeats.items() if name[0] != actor}
        return gone

    async def add_events(self, events: Sequence[Event]) -> Added:
        """Writes what is not there yet."""
        await self.check()
        before = len(self._events)
        for event in events:
            if event.event_id not in self._events:
                self._last_event += 1
                self._events[event.event_id] = (self._last_event, event)
        return Added(events=len(self._events) - before)

    async def list_events(self, query: EventQuery) -> LoggedEvents:
        """Up to `limit` events."""
        await self.check()
        rows = [
            (sequence, event)
            for sequence, event in self._events.values()
            if sequence > (query.after or 0)
            and (not query.types or event.type in query.types)
            and query.text.lower() in f"{event.summary}\0{event.detail}".lower()
            and (query.seen is None or _is_seen(event, query.seen))
            and query.queue_id in ("", event.queue_id)
            and query.domain in ("", event.domain)
            and query.mailbox in ("", event.mailbox)
            and (query.since_ms is None or event.at_ms >= query.since_ms)
            and (query.until_ms is None or event.at_ms < query.until_ms)
        ]
        page = rows[-query.limit :] if query.after is None else rows[: query.limit]
        return LoggedEvents(events=tuple(event for _, event in page), last=page[-1][0] if page else query.after or 0)

    async def find_messages(self, query: MessageQuery) -> tuple[FoundMessage, ...]:
        """Up to `limit`, the latest first."""
        await self.check()
        events = [event for _, event in self._events.values()]
        found = {
            event.queue_id
            for event in events
            if query.from_queue_id <= event.queue_id < query.below_queue_id
            and event.queue_id
            and (
                query.address in (event.reverse_path.lower(), event.forward_path.lower(), event.mailbox)
                if query.address
                else query.message_id == event.message_id.strip("<>")
            )
        }
        return tuple(
            self._tell([event for event in events if event.queue_id == queue_id])
            for queue_id in sorted(found, reverse=True)[: query.limit]
        )

    def _tell(self, events: list[Event]) -> FoundMessage:
        return FoundMessage(
            queue_id=events[0].queue_id,
            first_ms=min(event.at_ms for event in events),
            message_id=max(event.message_id for event in events),
            reverse_path=max(event.reverse_path for event in events),
            forward_paths=tuple(sorted({event.forward_path for event in events} - {""})[:10]),
            last_type=events[-1].type,
            last_summary=events[-1].summary,
        )

    async def trim_events(self, before_ms: int, most: int) -> int:
        """Deletes the old ones of the first."""
        await self.check()
        old = [key for key, (_, event) in list(self._events.items())[:most] if event.at_ms < before_ms]
        for key in old:
            del self._events[key]
        return len(old)


def _is_seen(event: Event, seen: Seen) -> bool:
    of_mailbox = event.mailbox.rpartition("@")[2] if event.mailbox else ""
    return event.domain in seen.domains or event.mailbox in seen.mailboxes or of_mailbox in seen.domains


def make_event(number: int, kind: EventType = EventType.RECEIVED) -> Event:
    """An event of a message of its own."""
    return Event(
        event_id=new_uuid7(number),
        type=kind,
        at_ms=number,
        service="smtp-edge",
        summary=f"event {number}",
        queue_id=new_queue_id(number),
        domain="demo.example",
    )


class AdminStoreContract(TokenContract, SessionContract, RepeatContract, AuditContract):
    """The rules of `postbusd.admin_api.ports`."""

    async def test_an_event_is_written_once(self, store: AdminStore) -> None:
        """add_events: redelivered batches, doubles within a batch."""
        events = [make_event(number) for number in range(3)]
        assert (await store.add_events(events[:2])).events == 2
        assert (await store.add_events([*events, events[2]])).events == 1
        logged = await store.list_events(EventQuery(after=None, limit=10))
        assert list(logged.events) == events

    async def test_the_log_can_be_followed(self, store: AdminStore) -> None:
        """list_events: the latest, then what comes later."""
        events = [make_event(number) for number in range(5)]
        await store.add_events(events[:3])
        latest = await store.list_events(EventQuery(after=None, limit=2))
        assert list(latest.events) == events[1:3]
        nothing = await store.list_events(EventQuery(after=latest.last, limit=2))
        assert (nothing.events, nothing.last) == ((), latest.last)
        await store.add_events(events[3:])
        later = await store.list_events(EventQuery(after=latest.last, limit=1))
        rest = await store.list_events(EventQuery(after=later.last, limit=10))
        assert [*later.events, *rest.events] == events[3:]

    async def test_events_are_chosen_by_type_and_message(self, store: AdminStore) -> None:
        """list_events: filters."""
        first, second = make_event(1), make_event(2, EventType.LOGIN)
        await store.add_events([first, second])
        by_type = await store.list_events(EventQuery(after=None, limit=10, types=(EventType.LOGIN,)))
        by_message = await store.list_events(EventQuery(after=0, limit=10, queue_id=first.queue_id))
        assert (by_type.events, by_message.events) == ((second,), (first,))

    async def test_events_are_chosen_by_several_types_and_by_text(self, store: AdminStore) -> None:
        """list_events: types; text is taken literally, in either case."""
        events = [make_event(1), make_event(2, EventType.LOGIN), make_event(3, EventType.DNS)]
        events[0] = msgspec.structs.replace(events[0], detail="100% of Müller_x\\y")
        await store.add_events(events)
        for query, expected in (
            (EventQuery(after=None, limit=10, types=(EventType.LOGIN, EventType.DNS)), [1, 2]),
            (EventQuery(after=None, limit=10, text="EVENT"), [0, 1, 2]),
            (EventQuery(after=None, limit=10, text="event 2"), [1]),
            (EventQuery(after=0, limit=10, text="100%"), [0]),
            (EventQuery(after=None, limit=10, text="%"), [0]),
            (EventQuery(after=None, limit=10, text="_"), [0]),
            (EventQuery(after=None, limit=10, text="x\\y"), [0]),
            (EventQuery(after=None, limit=10, text="müller"), [0]),
            (EventQuery(after=None, limit=10, text="event 1", types=(EventType.DNS,)), []),
        ):
            assert list((await store.list_events(query)).events) == [events[number] for number in expected]

    async def test_messages_are_found_by_message_id_and_address(self, store: AdminStore) -> None:
        """find_messages: the latest first, pages, a window of time, what is told of each."""
        first, second, third = (make_event(number) for number in (1_000, 2_000, 3_000))
        changes = {"reverse_path": "Ann@Example.net", "forward_path": "kim@demo.example", "message_id": "<one@x>"}
        await store.add_events([msgspec.structs.replace(each, **changes) for each in (first, second)])
        delivered = make_event(4_000, EventType.DELIVERED)
        changes = {"queue_id": first.queue_id, "mailbox": "kim@demo.example", "forward_path": "lee@demo.example"}
        await store.add_events(
            [
                msgspec.structs.replace(delivered, **changes),
                msgspec.structs.replace(third, message_id="two@x", mailbox="kim@demo.example"),
                msgspec.structs.replace(make_event(5_000), queue_id="", mailbox="kim@demo.example"),
            ]
        )
        found = await store.find_messages(MessageQuery(limit=10, message_id="one@x"))
        assert [each.queue_id for each in found] == [second.queue_id, first.queue_id]
        assert found[1] == FoundMessage(
            queue_id=first.queue_id,
            first_ms=1_000,
            message_id="<one@x>",
            reverse_path="Ann@Example.net",
            forward_paths=("kim@demo.example", "lee@demo.example"),
            last_type=EventType.DELIVERED,
            last_summary="event 4000",
        )
        for query, wanted in (
            (MessageQuery(limit=10, message_id="two@x"), [third]),
            (MessageQuery(limit=10, message_id="none@x"), []),
            (MessageQuery(limit=10, address="ann@example.net"), [second, first]),
            (MessageQuery(limit=10, address="lee@demo.example"), [first]),
            (MessageQuery(limit=10, address="kim@demo.example"), [third, second, first]),
            (MessageQuery(limit=2, address="kim@demo.example"), [third, second]),
            (MessageQuery(limit=2, address="kim@demo.example", below_queue_id=second.queue_id), [first]),
            (MessageQuery(limit=9, address="kim@demo.example", from_queue_id=second.queue_id), [third, second]),
        ):
            assert [each.queue_id for each in await store.find_messages(query)] == [each.queue_id for each in wanted]

    async def test_events_are_chosen_by_domain_mailbox_and_time(self, store: AdminStore) -> None:
        """list_events: filters, alone and together."""
        events = [make_event(number) for number in range(4)]
        events[1] = msgspec.structs.replace(events[1], domain="other.example", mailbox="kim@other.example")
        await store.add_events(events)
        for query, expected in (
            (EventQuery(after=None, limit=10, domain="demo.example"), [0, 2, 3]),
            (EventQuery(after=None, limit=2, domain="demo.example"), [2, 3]),
            (EventQuery(after=0, limit=2, domain="demo.example"), [0, 2]),
            (EventQuery(after=None, limit=10, mailbox="kim@other.example"), [1]),
            (EventQuery(after=None, limit=10, since_ms=2), [2, 3]),
            (EventQuery(after=None, limit=10, since_ms=0, until_ms=2), [0, 1]),
            (EventQuery(after=0, limit=10, types=(EventType.RECEIVED,), domain="demo.example", until_ms=3), [0, 2]),
        ):
            assert list((await store.list_events(query)).events) == [events[number] for number in expected]

    async def test_events_are_only_those_that_an_actor_sees(self, store: AdminStore) -> None:
        """list_events: seen."""
        events = [msgspec.structs.replace(make_event(number), domain="", mailbox="") for number in range(5)]
        events[1] = msgspec.structs.replace(events[1], domain="a.example")
        events[2] = msgspec.structs.replace(events[2], mailbox="kim@a.example")
        events[3] = msgspec.structs.replace(events[3], domain="b.example", mailbox="lee@b.example")
        await store.add_events(events)
        for seen, expected in (
            (Seen(), []),
            (Seen(domains=("a.example",)), [1, 2]),
            (Seen(domains=("a.example", "b.example")), [1, 2, 3]),
            (Seen(mailboxes=("kim@a.example",)), [2]),
            (Seen(domains=("b.example",), mailboxes=("kim@a.example",)), [2, 3]),
        ):
            found = await store.list_events(EventQuery(after=None, limit=10, seen=seen))
            assert list(found.events) == [events[number] for number in expected], seen
        seen = Seen(domains=("a.example",))
        narrowed = EventQuery(after=0, limit=10, seen=seen, mailbox="kim@a.example", text="event")
        assert list((await store.list_events(narrowed)).events) == [events[2]]
        narrowed = EventQuery(after=0, limit=10, seen=seen, mailbox="lee@b.example")
        assert (await store.list_events(narrowed)).events == ()

    async def test_old_events_are_trimmed_from_the_front(self, store: AdminStore) -> None:
        """trim_events."""
        events = [make_event(number) for number in (1, 2, 9, 3, 4)]
        await store.add_events(events)
        assert await store.trim_events(4, 2) == 2
        assert await store.trim_events(4, 2) == 1
        assert await store.trim_events(4, 10) == 0
        assert list((await store.list_events(EventQuery(after=None, limit=10))).events) == [events[2], events[4]]
