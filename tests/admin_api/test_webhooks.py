"""Webhooks: names, signatures, patience, and the loop that tells receivers."""

import base64
import hashlib
import hmac
import json

import msgspec
import pytest
from prometheus_client import CollectorRegistry

from postbus.contracts.events import EventType
from postbus.core.errors import ErrorKind, MailError
from postbus.runtime.sealing import Sealer
from postbus.testing.admin_api import make_event
from postbus.testing.webhooks import HOOK, MemoryPoster, MemoryWebhookStore, WebhookStoreContract, set_event
from postbusd.admin_api.webhooks.desk import WebhookDesk
from postbusd.admin_api.webhooks.rules import (
    DELAYS,
    FORMER_SECRET_MS,
    MAX_AGE_MS,
    MAX_ATTEMPTS,
    MAX_OUTCOME_CHARACTERS,
    PAUSES,
    check_webhook,
    compose,
    describe,
    describe_answer,
    judge,
    tell_secret,
)
from postbusd.admin_api.webhooks.teller import CLAIMED, LANES, WebhookTeller, owner_of
from postbusd.admin_api.webhooks.values import Answer, Claimed, Secrets, Webhook

NOW_MS = 1_790_000_000_000
SEALER = Sealer(b"k" * 32)
KEYS = Secrets(current=b"new", former=b"old", former_until_ms=NOW_MS)


class FixedClock:
    """Stands still."""

    def __init__(self) -> None:
        self.ms = NOW_MS

    def now_ms(self) -> int:
        return self.ms

    def monotonic(self) -> float:
        return self.ms / 1000


class TestMemoryWebhookStore(WebhookStoreContract):
    @pytest.fixture
    def store(self) -> MemoryWebhookStore:
        return MemoryWebhookStore()

    @pytest.fixture
    def log(self, store: MemoryWebhookStore) -> MemoryWebhookStore:
        return store


@pytest.mark.parametrize(
    ("url", "fault"),
    [
        ("ftp://hooks.example/", "url: https://HOST"),
        ("https:///in", "url: https://HOST"),
        ("https://hooks.example:0/", "url: https://HOST"),
        ("https://hooks.example:99999/", "url: https://HOST"),
        ("https://[::1/", "url: https://HOST"),
        ("https://me:word@hooks.example/", "url: no user name"),
        ("https://hooks.example/#part", "url: no user name"),
        ("https://hooks.example/a b", "url: at most"),
        ("https://hooks.example/\r\nX: y", "url: at most"),
        ("https://höoks.example/", "url: at most"),
        ("https://hooks.example/" + "a" * 2_000, "url: at most"),
    ],
)
def test_a_wrong_url_is_refused(url: str, fault: str) -> None:
    with pytest.raises(MailError, match=fault) as caught:
        check_webhook(Webhook(name="one", url=url))
    assert caught.value.kind is ErrorKind.INVALID


@pytest.mark.parametrize("name", ["", "-a", "a/b", "a" * 61, "a b", "é"])
def test_a_wrong_name_is_refused(name: str) -> None:
    with pytest.raises(MailError, match="name: letters"):
        check_webhook(Webhook(name=name, url="https://hooks.example/"))


def test_there_is_one_form() -> None:
    given = Webhook(
        name="On-Call",
        url="https://[2001:db8::1]:8443/in?x=1",
        types=(EventType.RECEIVED, EventType.BOUNCED, EventType.RECEIVED),
        domain="BÜCHER.example",
    )
    found = check_webhook(given)
    assert (found.name, found.domain) == ("on-call", "xn--bcher-kva.example")
    assert found.types == (EventType.BOUNCED, EventType.RECEIVED)
    with pytest.raises(MailError, match="domain: "):
        check_webhook(msgspec.structs.replace(given, domain="no domain"))


def test_requests_are_those_of_standard_webhooks() -> None:
    """Checked as the specification tells receivers to; the secret as they take it."""
    event = make_event(1_700_000_000_123)
    keys = Secrets(current=b"s" * 32)
    message = compose(event.event_id, event.type, event.at_ms, describe(event), keys, NOW_MS)
    headers = dict(message.headers)
    assert set(headers) == {"webhook-id", "webhook-timestamp", "webhook-signature"}
    assert headers["webhook-id"] == event.event_id
    assert headers["webhook-timestamp"] == str(NOW_MS // 1000)
    key = base64.b64decode(tell_secret(b"s" * 32).removeprefix("whsec_"))
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.{message.body.decode()}".encode()
    wanted = base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()
    assert headers["webhook-signature"] == f"v1,{wanted}"
    body = json.loads(message.body)
    assert (body["type"], body["timestamp"]) == ("received", "2023-11-14T22:13:20.123Z")
    assert body["data"]["queue_id"] == event.queue_id
    assert "mailbox" not in body["data"]  # empty


def test_the_former_secret_signs_too_until_its_end() -> None:
    for now_ms, number in ((NOW_MS - 1, 2), (NOW_MS, 1)):
        message = compose("id", "ping", 0, {}, KEYS, now_ms)
        assert len(dict(message.headers)["webhook-signature"].split(" ")) == number


def claimed(attempts: int = 0, at_ms: int = NOW_MS) -> Claimed:
    return Claimed(sequence=7, attempts=attempts, event=make_event(at_ms))


def test_patience_grows_and_ends() -> None:
    answer = Answer(status=500, text="later")
    assert judge(claimed(), Answer(status=204, text=""), 3, NOW_MS).told
    waits = [(judge(claimed(number), answer, number, NOW_MS)) for number in range(MAX_ATTEMPTS)]
    seconds = [(verdict.due_ms - NOW_MS) // 1000 for verdict in waits]
    assert seconds == [*DELAYS, *[DELAYS[-1]] * (MAX_ATTEMPTS - len(DELAYS))]
    pauses = [(verdict.pause_until_ms - NOW_MS) // 1000 for verdict in waits]
    assert pauses == [*PAUSES, *[PAUSES[-1]] * (MAX_ATTEMPTS - len(PAUSES))]
    assert [verdict.dead for verdict in waits] == [*[False] * (MAX_ATTEMPTS - 1), True]
    assert judge(claimed(0, NOW_MS - MAX_AGE_MS - 1), answer, 0, NOW_MS).dead


def test_a_receiver_may_ask_for_patience_up_to_a_bound() -> None:
    for asked, seconds in ((100.0, 100), (1.0, DELAYS[0]), (1e9, 3_600)):
        answer = Answer(status=429, text="", retry_after_seconds=asked)
        verdict = judge(claimed(), answer, 0, NOW_MS)
        assert verdict.due_ms == verdict.pause_until_ms == NOW_MS + seconds * 1000


def test_what_a_receiver_says_is_one_short_line() -> None:
    assert describe_answer(Answer(status=500, text="a\r\n\x1b[2Jb  c\0")) == "500 a [2Jb c"
    assert len(describe_answer(Answer(status=0, text="x" * 9_999))) == MAX_OUTCOME_CHARACTERS


class Trial:
    """The loop over fakes."""

    def __init__(self) -> None:
        self.clock = FixedClock()
        self.store = MemoryWebhookStore()
        self.poster = MemoryPoster()
        self.registry = CollectorRegistry()
        self.teller = WebhookTeller(self.store, self.poster, SEALER, self.clock, self.registry)
        self.desk = WebhookDesk(self.store, self.poster, self.teller, SEALER, self.clock)

    async def set_up(self, events: int) -> None:
        await self.store.put_webhook(HOOK, SEALER.seal(b"key", owner_of(HOOK.name)), set_event())
        await self.store.add_events([make_event(NOW_MS + number) for number in range(events)])

    def count(self, outcome: str) -> float | None:
        return self.registry.get_sample_value("postbus_admin_api_webhook_attempts_total", {"outcome": outcome})


async def test_all_is_told_once_and_in_order_on_each_lane() -> None:
    trial = Trial()
    await trial.set_up(CLAIMED + 3)
    assert await trial.teller.tell_due()
    assert await trial.teller.tell_due()
    assert not await trial.teller.tell_due()
    told = [dict(message.headers)["webhook-id"] for _, message in trial.poster.received]
    wanted = [event.event_id for event in trial.store.events if event.type is EventType.RECEIVED]
    assert sorted(told) == sorted(wanted)
    first = [wanted.index(each) for each in told[: CLAIMED // LANES]]
    assert first == sorted(first)
    assert {url for url, _ in trial.poster.received} == {HOOK.url}
    assert (trial.count("told"), trial.count("failed")) == (CLAIMED + 3, 0)


async def test_a_receiver_that_fails_is_left_alone_for_a_while_and_nothing_is_lost() -> None:
    trial = Trial()
    await trial.set_up(3)
    trial.poster.answers = [Answer(status=0, text="no answer")] * 3
    assert await trial.teller.tell_due()
    assert not await trial.teller.tell_due()
    state = await trial.desk.get("one")
    assert (state.waiting, state.failures, state.last_outcome) == (3, 1, "no answer")
    trial.clock.ms = state.paused_until_ms
    while await trial.teller.tell_due():
        pass
    state = await trial.desk.get("one")
    assert (state.waiting, state.failures) == (0, 0)
    assert trial.count("failed") == 3


async def test_an_event_that_is_refused_for_ever_is_given_up_and_keeps_no_other() -> None:
    trial = Trial()
    await trial.set_up(1)
    for _ in range(MAX_ATTEMPTS):
        trial.poster.answers = [Answer(status=400, text="no")]
        assert await trial.teller.tell_due()
        trial.clock.ms += 7_200_000 if trial.clock.ms < NOW_MS + 7_200_000 else 1_800_000
        while not (due := trial.store.rows["one"].due(trial.clock.ms)) and not trial.store.rows["one"].state().dead:
            trial.clock.ms += 60_000
        if not due:
            break
    (dead,) = await trial.desk.list_deliveries("one", dead=True, after=0, limit=10)
    assert dead.outcome == "400 no"
    assert trial.count("given_up") == 1
    await trial.store.add_events([make_event(trial.clock.ms)])
    trial.clock.ms += 3_600_000
    assert await trial.teller.tell_due()
    assert (await trial.desk.get("one")).waiting == 0


async def test_another_master_key_is_told_and_breaks_nothing(caplog: pytest.LogCaptureFixture) -> None:
    trial = Trial()
    await trial.store.put_webhook(HOOK, Sealer(b"o" * 32).seal(b"key", owner_of("one")), set_event())
    await trial.store.add_events([make_event(NOW_MS)])
    assert await trial.teller.tell_due()
    assert trial.poster.received == []
    assert [record.message for record in caplog.records] == ["admin_api.webhook.unreadable"]
    assert (await trial.desk.get("one")).waiting == 1


async def test_a_rotated_secret_overlaps() -> None:
    trial = Trial()
    _, first = await trial.desk.put(HOOK, "admin")
    _, second = await trial.desk.rotate("one", "admin")
    assert first.startswith("whsec_")
    assert second not in (first, "")
    answer, _ = await trial.desk.test("one")
    assert answer.is_told
    trial.clock.ms += FORMER_SECRET_MS
    await trial.desk.test("one")
    signatures = [dict(message.headers)["webhook-signature"].split(" ") for _, message in trial.poster.received]
    assert list(map(len, signatures)) == [2, 1]
    assert json.loads(trial.poster.received[0][1].body)["type"] == "ping"
