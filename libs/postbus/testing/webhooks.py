"""Webhooks' rows and receivers in memory, and what every WebhookStore must do (a subclass gives `store` and `log`)."""

from collections.abc import Sequence
from typing import Protocol

import msgspec
import pytest

from postbus.contracts.events import Event, EventType
from postbus.core.errors import ErrorKind, MailError
from postbus.testing.admin_api import make_event
from postbusd.admin_api.ports import Added
from postbusd.admin_api.webhooks.ports import WebhookStore
from postbusd.admin_api.webhooks.rules import MAX_WEBHOOKS
from postbusd.admin_api.webhooks.values import (
    Answer,
    Claimed,
    Delivery,
    DeliveryState,
    Message,
    Secrets,
    Verdict,
    Webhook,
    WebhookState,
    Work,
)


class _Row:
    """A webhook in memory."""

    def __init__(self, webhook: Webhook, secret: bytes) -> None:
        self.webhook = webhook
        self.secrets = Secrets(current=secret)
        self.failures = 0
        self.paused_until_ms = 0
        self.last = ("", 0)
        self.deliveries: dict[int, Delivery] = {}

    def state(self) -> WebhookState:
        dead = sum(each.state is DeliveryState.DEAD for each in self.deliveries.values())
        return WebhookState(
            webhook=self.webhook,
            waiting=len(self.deliveries) - dead,
            dead=dead,
            failures=self.failures,
            paused_until_ms=self.paused_until_ms,
            last_outcome=self.last[0],
            last_ms=self.last[1],
        )

    def due(self, now_ms: int) -> list[Delivery]:
        waiting = [each for each in self.deliveries.values() if each.state is DeliveryState.WAITING]
        return sorted(
            (each for each in waiting if each.due_ms <= now_ms), key=lambda each: (each.due_ms, each.sequence)
        )


class MemoryWebhookStore:
    """The WebhookStore, and the event log that makes its deliveries."""

    def __init__(self) -> None:
        self.rows: dict[str, _Row] = {}
        self.events: list[Event] = []

    async def add_events(self, events: Sequence[Event]) -> Added:
        """As the event log does it."""
        known = {event.event_id for event in self.events}
        new = [event for event in events if event.event_id not in known]
        made = 0
        for event in new:
            self.events.append(event)
            sequence = len(self.events)
            for row in self.rows.values():
                wanted = row.webhook
                if (
                    wanted.active
                    and (not wanted.types or event.type in wanted.types)
                    and wanted.domain in ("", event.domain)
                ):
                    made += 1
                    row.deliveries[sequence] = Delivery(
                        sequence=sequence,
                        event=event,
                        state=DeliveryState.WAITING,
                        attempts=0,
                        due_ms=0,
                        outcome="",
                    )
        return Added(events=len(new), deliveries=made)

    async def put_webhook(self, webhook: Webhook, new_secret: bytes, event: Event) -> bool:
        """See `WebhookStore.put_webhook`."""
        row = self.rows.get(webhook.name)
        if row is not None:
            if row.webhook != webhook:
                row.webhook, row.failures, row.paused_until_ms = webhook, 0, 0
                await self.add_events([event])
            return False
        if len(self.rows) >= MAX_WEBHOOKS:
            raise MailError(ErrorKind.INVALID, f"name: there are {MAX_WEBHOOKS} webhooks, which is the most")
        self.rows[webhook.name] = _Row(webhook, new_secret)
        await self.add_events([event])
        return True

    async def rotate_secret(self, name: str, secret: bytes, former_until_ms: int, event: Event) -> None:
        """See `WebhookStore.rotate_secret`."""
        row = self._row(name)
        row.secrets = Secrets(current=secret, former=row.secrets.current, former_until_ms=former_until_ms)
        await self.add_events([event])

    async def get_webhook(self, name: str) -> WebhookState:
        """See `WebhookStore.get_webhook`."""
        return self._row(name).state()

    async def list_webhooks(self, after: str, limit: int) -> tuple[WebhookState, ...]:
        """See `WebhookStore.list_webhooks`."""
        return tuple(self.rows[name].state() for name in sorted(self.rows) if name > after)[:limit]

    async def delete_webhook(self, name: str, event: Event) -> None:
        """See `WebhookStore.delete_webhook`."""
        self._row(name)
        del self.rows[name]
        await self.add_events([event])

    async def find_secrets(self, name: str) -> Secrets:
        """See `WebhookStore.find_secrets`."""
        return self._row(name).secrets

    async def list_deliveries(self, name: str, *, dead: bool, after: int, limit: int) -> tuple[Delivery, ...]:
        """See `WebhookStore.list_deliveries`."""
        found = sorted(self._row(name).deliveries.values(), key=lambda each: each.sequence)
        wanted = DeliveryState.DEAD if dead else DeliveryState.WAITING
        return tuple(each for each in found if each.state is wanted and each.sequence > after)[:limit]

    async def change_dead(self, name: str, sequence: int | None, event: Event, *, retry: bool) -> int:
        """See `WebhookStore.change_dead`."""
        row = self._row(name)
        dead = [each for each in row.deliveries.values() if each.state is DeliveryState.DEAD]
        chosen = [each for each in dead if sequence in (None, each.sequence)]
        if sequence is not None and not chosen:
            raise MailError(ErrorKind.NOT_FOUND, f"sequence: {name} has given up no event {sequence}")
        for each in chosen:
            del row.deliveries[each.sequence]
            if retry:
                again = msgspec.structs.replace(each, state=DeliveryState.WAITING, attempts=0, due_ms=0)
                row.deliveries[each.sequence] = again
        if chosen:
            await self.add_events([event])
        return len(chosen)

    async def claim_work(self, now_ms: int, lease_ms: int, webhooks: int, deliveries: int) -> tuple[Work, ...]:
        """See `WebhookStore.claim_work`."""
        ready = [row for row in self.rows.values() if row.webhook.active and row.paused_until_ms <= now_ms]
        ready = sorted((row for row in ready if row.due(now_ms)), key=lambda row: row.last[1])
        return tuple(self._claim(row, now_ms, lease_ms, deliveries) for row in ready[:webhooks])

    async def settle(self, name: str, verdicts: Sequence[Verdict], unasked: Sequence[int], now_ms: int) -> int:
        """See `WebhookStore.settle`."""
        row = self.rows.get(name)
        if row is None:
            return 0
        for sequence in unasked:
            row.deliveries[sequence] = msgspec.structs.replace(row.deliveries[sequence], due_ms=0)
        for verdict in verdicts:
            self._settle(row, verdict)
        failed = [verdict for verdict in verdicts if not verdict.told]
        if failed:
            row.failures += 1
            row.paused_until_ms = max(row.paused_until_ms, *[verdict.pause_until_ms for verdict in failed])
        elif verdicts:
            row.failures = row.paused_until_ms = 0
        if verdicts:
            row.last = ((failed or verdicts)[0].outcome, now_ms)
        return sum(verdict.dead for verdict in verdicts)

    async def expire(self, before_ms: int) -> int:
        """See `WebhookStore.expire`."""
        number = 0
        for row in self.rows.values():
            for each in list(row.deliveries.values()):
                if each.state is DeliveryState.WAITING and each.event.at_ms < before_ms:
                    number += 1
                    outcome = each.outcome or "could not be told in time"
                    dead = msgspec.structs.replace(each, state=DeliveryState.DEAD, outcome=outcome)
                    row.deliveries[each.sequence] = dead
        return number

    async def count_deliveries(self) -> tuple[int, int]:
        """See `WebhookStore.count_deliveries`."""
        states = [row.state() for row in self.rows.values()]
        return sum(state.waiting for state in states), sum(state.dead for state in states)

    def _row(self, name: str) -> _Row:
        if name not in self.rows:
            raise MailError(ErrorKind.NOT_FOUND, f"name: there is no webhook {name}")
        return self.rows[name]

    def _claim(self, row: _Row, now_ms: int, lease_ms: int, limit: int) -> Work:
        chosen = row.due(now_ms)[:limit]
        for each in chosen:
            row.deliveries[each.sequence] = msgspec.structs.replace(each, due_ms=now_ms + lease_ms)
        claimed = [Claimed(sequence=each.sequence, attempts=each.attempts, event=each.event) for each in chosen]
        return Work(
            webhook=row.webhook,
            secrets=row.secrets,
            failures=row.failures,
            claimed=tuple(sorted(claimed, key=lambda each: each.sequence)),
        )

    def _settle(self, row: _Row, verdict: Verdict) -> None:
        delivery = row.deliveries.get(verdict.sequence)
        if delivery is None or verdict.told:
            row.deliveries.pop(verdict.sequence, None)
            return
        row.deliveries[verdict.sequence] = msgspec.structs.replace(
            delivery,
            state=DeliveryState.DEAD if verdict.dead else DeliveryState.WAITING,
            attempts=delivery.attempts + 1,
            due_ms=verdict.due_ms,
            outcome=verdict.outcome,
        )


class MemoryPoster:
    """Receivers that answer what `answers` says, in turn; then 204."""

    def __init__(self) -> None:
        self.answers: list[Answer] = []
        self.received: list[tuple[str, Message]] = []

    async def post(self, url: str, messages: Sequence[Message]) -> Sequence[Answer]:
        """See `Poster.post`."""
        given: list[Answer] = []
        for message in messages:
            given.append(self.answers.pop(0) if self.answers else Answer(status=204, text=""))
            self.received.append((url, message))
            if not given[-1].is_told:
                break
        return given

    async def close(self) -> None:
        """Nothing is open."""


class Log(Protocol):
    """The half of the event store that makes deliveries."""

    async def add_events(self, events: Sequence[Event]) -> Added:
        """See `EventStore.add_events`."""
        ...


def set_event(number: int = 900) -> Event:
    """Of an administrator's change."""
    return msgspec.structs.replace(make_event(number), type=EventType.CONFIGURATION, queue_id="", domain="")


HOOK = Webhook(name="one", url="https://hooks.example/in", types=(EventType.RECEIVED,))


class WebhookStoreContract:
    """The rules of `WebhookStore`."""

    async def test_it_is_made_changed_and_listed(self, store: WebhookStore) -> None:
        """put_webhook, get_webhook, list_webhooks, find_secrets, rotate_secret."""
        assert await store.put_webhook(HOOK, b"first", set_event(1))
        assert not await store.put_webhook(HOOK, b"other", set_event(2))
        assert await store.find_secrets("one") == Secrets(current=b"first")
        changed = msgspec.structs.replace(HOOK, domain="demo.example", types=())
        assert not await store.put_webhook(changed, b"other", set_event(3))
        assert (await store.get_webhook("one")).webhook == changed
        await store.put_webhook(msgspec.structs.replace(HOOK, name="two"), b"second", set_event(4))
        assert [each.webhook.name for each in await store.list_webhooks("", 10)] == ["one", "two"]
        assert [each.webhook.name for each in await store.list_webhooks("one", 10)] == ["two"]
        await store.rotate_secret("one", b"new", 77, set_event(5))
        assert await store.find_secrets("one") == Secrets(current=b"new", former=b"first", former_until_ms=77)

    async def test_what_is_not_there(self, store: WebhookStore) -> None:
        """NOT_FOUND, naming the field."""
        for call in (
            store.get_webhook("none"),
            store.find_secrets("none"),
            store.delete_webhook("none", set_event()),
            store.rotate_secret("none", b"x", 0, set_event()),
            store.list_deliveries("none", dead=True, after=0, limit=1),
            store.change_dead("none", None, set_event(), retry=True),
        ):
            with pytest.raises(MailError, match="name: there is no webhook none") as caught:
                await call
            assert caught.value.kind is ErrorKind.NOT_FOUND

    async def test_there_is_a_most(self, store: WebhookStore) -> None:
        """put_webhook: INVALID."""
        for number in range(MAX_WEBHOOKS):
            hook = msgspec.structs.replace(HOOK, name=f"h{number}", active=False)
            await store.put_webhook(hook, b"x", set_event(number))
        with pytest.raises(MailError, match=f"name: there are {MAX_WEBHOOKS}"):
            await store.put_webhook(msgspec.structs.replace(HOOK, name="more"), b"x", set_event())

    async def test_events_are_chosen_by_type_and_domain(self, store: WebhookStore, log: Log) -> None:
        """add_events: for active ones, once an event."""
        await store.put_webhook(HOOK, b"x", set_event(1))
        await store.put_webhook(
            msgspec.structs.replace(HOOK, name="all", types=(), domain="other.example"), b"x", set_event(2)
        )
        await store.put_webhook(msgspec.structs.replace(HOOK, name="off", active=False), b"x", set_event(3))
        events = [make_event(1), make_event(2, EventType.LOGIN)]
        events.append(msgspec.structs.replace(make_event(3, EventType.LOGIN), domain="other.example"))
        assert await log.add_events(events) == Added(events=3, deliveries=2)
        assert await log.add_events(events) == Added()
        for name, wanted in (("one", [events[0]]), ("all", [events[2]]), ("off", [])):
            found = await store.list_deliveries(name, dead=False, after=0, limit=10)
            assert [each.event for each in found] == wanted
        assert await store.count_deliveries() == (2, 0)

    async def test_work_is_claimed_by_one_until_its_lease_ends(self, store: WebhookStore, log: Log) -> None:
        """claim_work."""
        await store.put_webhook(HOOK, b"key", set_event(1))
        events = [make_event(number) for number in range(3)]
        await log.add_events(events)
        (work,) = await store.claim_work(1_000, 500, 5, 2)
        assert (work.webhook, work.secrets.current, work.failures) == (HOOK, b"key", 0)
        assert [each.event for each in work.claimed] == events[:2]
        (rest,) = await store.claim_work(1_000, 500, 5, 2)
        assert [each.event for each in rest.claimed] == events[2:]
        assert await store.claim_work(1_499, 500, 5, 2) == ()
        (again,) = await store.claim_work(1_500, 500, 5, 5)
        assert [each.event for each in again.claimed] == events

    async def test_what_is_told_goes_and_a_failure_pauses(self, store: WebhookStore, log: Log) -> None:
        """settle: told, failed, unasked."""
        await store.put_webhook(HOOK, b"key", set_event(1))
        await log.add_events([make_event(number) for number in range(3)])
        (work,) = await store.claim_work(1_000, 500, 5, 5)
        told, failed, unasked = [each.sequence for each in work.claimed]
        verdicts = [
            Verdict(sequence=told, told=True, outcome="200"),
            Verdict(sequence=failed, told=False, due_ms=9_000, outcome="500", pause_until_ms=2_000),
        ]
        assert await store.settle("one", verdicts, [unasked], 1_100) == 0
        state = await store.get_webhook("one")
        assert (state.waiting, state.failures, state.paused_until_ms) == (2, 1, 2_000)
        assert (state.last_outcome, state.last_ms) == ("500", 1_100)
        assert await store.claim_work(1_999, 500, 5, 5) == ()
        (work,) = await store.claim_work(2_000, 500, 5, 5)
        assert [(each.sequence, each.attempts) for each in work.claimed] == [(unasked, 0)]
        await store.settle("one", [Verdict(sequence=unasked, told=True, outcome="204")], [], 2_100)
        state = await store.get_webhook("one")
        assert (state.failures, state.paused_until_ms, state.last_outcome) == (0, 0, "204")
        (work,) = await store.claim_work(9_000, 500, 5, 5)
        assert [(each.sequence, each.attempts) for each in work.claimed] == [(failed, 1)]

    async def test_the_dead_are_kept_retried_or_discarded(self, store: WebhookStore, log: Log) -> None:
        """settle: dead; expire; change_dead; list_deliveries."""
        await store.put_webhook(HOOK, b"key", set_event(1))
        await log.add_events([make_event(number) for number in (10, 20)])
        (work,) = await store.claim_work(1_000, 500, 5, 1)
        first = work.claimed[0].sequence
        verdict = Verdict(sequence=first, told=False, dead=True, outcome="410", pause_until_ms=1_001)
        assert await store.settle("one", [verdict], [], 1_000) == 1
        assert await store.expire(15) == 0  # the one of then is dead already
        assert await store.expire(21) == 1
        dead = await store.list_deliveries("one", dead=True, after=0, limit=10)
        assert [each.outcome for each in dead] == ["410", "could not be told in time"]
        assert await store.claim_work(9_000, 500, 5, 5) == ()
        assert await store.count_deliveries() == (0, 2)
        assert await store.change_dead("one", first, set_event(2), retry=True) == 1
        with pytest.raises(MailError, match="sequence: one has given up no event"):
            await store.change_dead("one", first, set_event(3), retry=True)
        assert await store.change_dead("one", None, set_event(4), retry=False) == 1
        assert await store.change_dead("one", None, set_event(5), retry=False) == 0
        (work,) = await store.claim_work(9_000, 500, 5, 5)
        assert [(each.sequence, each.attempts) for each in work.claimed] == [(first, 0)]

    async def test_a_deleted_one_takes_its_deliveries_along(self, store: WebhookStore, log: Log) -> None:
        """delete_webhook, settle of one that is gone."""
        await store.put_webhook(HOOK, b"key", set_event(1))
        await log.add_events([make_event(1)])
        (work,) = await store.claim_work(1_000, 500, 5, 5)
        await store.delete_webhook("one", set_event(2))
        verdict = Verdict(sequence=work.claimed[0].sequence, told=False, dead=True, outcome="x")
        assert await store.settle("one", [verdict], [], 1_000) == 0
        assert await store.count_deliveries() == (0, 0)
