"""The queue and a message's story over REST."""

import msgspec
import pytest
from litestar import Litestar
from litestar.testing import TestClient

from postbus.contracts.delivery import Accounted, Placement, QueueAction, QueueState
from postbus.contracts.events import EventType
from postbus.contracts.relay_test import RelayStage, RelayStep, RelayTestReply, RelayTestRequest
from postbus.contracts.relays import Relay
from postbus.core.errors import ErrorKind, MailError
from postbus.core.ids import MailboxId, QueueId
from postbus.testing.admin_api import make_event
from postbus.testing.admin_rest import ACTOR, FakeInstallation, RestClient
from postbus.testing.admin_services import make_entry, make_message

ONE = QueueId("01JQZ8Y6KX4M2N3P5R7S9T0VWX")
TWO = QueueId("01JQZ8Y6KX4M2N3P5R7S9T0VWY")


@pytest.fixture
def client(http: TestClient[Litestar]) -> RestClient:
    """Three waiting copies of two messages, one held, one sent."""
    client = RestClient(FakeInstallation(), http)
    client.installation.queue.messages[ONE] = make_message(ONE)
    client.installation.queue.entries = [
        make_entry(ONE, "a@far.example"),
        make_entry(ONE, "b@near.example"),
        make_entry(TWO, "c@far.example"),
        make_entry(TWO, "d@far.example", state=QueueState.HELD),
        make_entry(TWO, "e@far.example", state=QueueState.SENT),
    ]
    return client


def test_the_queue_is_listed_with_reasons_and_totals(client: RestClient) -> None:
    page = client.ask("GET", "/api/v1/queue")[1]
    assert (page["waiting"], page["held"], page["next_after"]) == (3, 1, "")
    first = page["entries"][0]
    assert first == {**msgspec.to_builtins(make_entry(ONE, "a@far.example")), "advice": ""}
    assert [each["recipient"][0] for each in page["entries"]] == ["a", "b", "c", "d"]


@pytest.mark.parametrize(
    ("query", "recipients"),
    [
        ("domain=FAR.example", "acd"),
        ("domain=far.example&finished=true", "acde"),
        (f"queue_id={ONE.lower()}", "ab"),
        (f"queue_id={TWO}", "cde"),
        (f"queue_id={TWO}&domain=near.example", ""),
    ],
)
def test_the_queue_is_narrowed(client: RestClient, query: str, recipients: str) -> None:
    page = client.ask("GET", f"/api/v1/queue?{query}")[1]
    assert "".join(each["recipient"][0] for each in page["entries"]) == recipients
    assert (page["waiting"], page["held"]) == (3, 1)


def test_a_refusal_that_is_known_comes_with_advice(client: RestClient) -> None:
    reply = "554 Message rejected: Email address is not verified."
    client.installation.queue.entries = [make_entry(ONE, "a@far.example", last_reply=reply)]
    (copy,) = client.ask("GET", "/api/v1/queue")[1]["entries"]
    assert copy["advice"].startswith("SES does not know the sender")


def test_pages_of_the_queue(client: RestClient) -> None:
    first = client.ask("GET", "/api/v1/queue?limit=3")[1]
    rest = client.ask("GET", "/api/v1/queue", params={"limit": 3, "after": first["next_after"]})[1]
    assert [each["recipient"][0] for each in first["entries"] + rest["entries"]] == ["a", "b", "c", "d"]
    assert rest["next_after"] == ""


def test_an_action_changes_what_it_names_and_says_who_asked(client: RestClient) -> None:
    body = {"action": "hold", "domain": "Far.example"}
    planned = client.ask("POST", "/api/v1/queue/actions", json={**body, "dry_run": True})
    assert planned == (200, {"changed": 3, "busy": 0, "dry_run": True})
    client.installation.queue.busy.add("a@far.example")
    done = client.ask("POST", "/api/v1/queue/actions", json=body)
    assert done == (200, {"changed": 2, "busy": 1, "dry_run": False})
    request = client.installation.queue.requests[-1]
    assert (request.actor, request.domain, request.action) == (ACTOR, "far.example", QueueAction.HOLD)
    assert client.ask("GET", "/api/v1/queue")[1]["held"] == 2


@pytest.mark.parametrize(
    ("body", "changed"),
    [
        ({"action": "cancel", "all": True}, 4),
        ({"action": "bounce", "queue_id": ONE.lower()}, 2),
        ({"action": "retry", "queue_id": ONE, "recipient": "a@far.example"}, 1),
        ({"action": "retry", "recipient": "nobody@far.example"}, 0),
        ({"action": "release", "all": True}, 1),
    ],
)
def test_actions_on_the_queue(client: RestClient, body: dict[str, object], changed: int) -> None:
    assert client.ask("POST", "/api/v1/queue/actions", json=body)[1]["changed"] == changed


async def test_a_message_is_traced_with_its_story_by_time(client: RestClient) -> None:
    placement = Placement(mailbox_id=MailboxId("m"), address="kim@demo.example", folder="INBOX", uid=7)
    client.installation.queue.messages[ONE] = msgspec.structs.replace(make_message(ONE), placements=(placement,))
    events = [msgspec.structs.replace(make_event(number), queue_id=ONE) for number in (30, 10, 20)]
    await client.installation.store.add_events([*events, make_event(5)])
    status, message = client.ask("GET", f"/api/v1/messages/{ONE.lower()}")
    assert (status, message["accounted"], message["accepted_ms"]) == (200, "queued", 1_790_000_000_000)
    assert message["placements"] == [{"mailbox_id": "m", "address": "kim@demo.example", "folder": "INBOX", "uid": 7}]
    assert [each["recipient"] for each in message["outgoing"]] == ["a@far.example", "b@near.example"]
    assert message["outgoing"][0]["last_reply"] == "451 4.7.1 come back later"
    assert [each["summary"] for each in message["story"]] == ["event 10", "event 20", "event 30"]
    assert message["story_cut"] is False


async def test_a_message_that_delivery_has_not_seen_yet_has_a_story(client: RestClient) -> None:
    await client.installation.store.add_events([msgspec.structs.replace(make_event(1), queue_id=TWO)])
    message = client.ask("GET", f"/api/v1/messages/{TWO}")[1]
    assert (message["accounted"], message["placements"], len(message["story"])) == (None, [], 1)


def test_an_absent_delivery_is_no_unknown_message(client: RestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    async def away(request: object) -> None:
        raise MailError(ErrorKind.UNAVAILABLE, "delivery is away")

    monkeypatch.setattr(client.installation.queue, "get_message", away)
    assert client.refusal("GET", f"/api/v1/messages/{ONE}")[:2] == (503, "unavailable")


def test_every_accounted_state_is_shown(client: RestClient) -> None:
    for accounted in Accounted:
        client.installation.queue.messages[ONE] = msgspec.structs.replace(make_message(ONE), accounted=accounted)
        assert client.ask("GET", f"/api/v1/messages/{ONE}")[1]["accounted"] == accounted.value


def test_every_event_type_can_be_asked_for(client: RestClient) -> None:
    for kind in EventType:
        assert client.ask("GET", f"/api/v1/events?type={kind.value}")[0] == 200


async def test_messages_are_found_page_by_page(client: RestClient) -> None:
    events = [
        msgspec.structs.replace(make_event(number), reverse_path="Ann@x.example") for number in range(1_000, 1_005)
    ]
    await client.installation.store.add_events(events)
    found: list[str] = []
    after = ""
    while True:
        query = {"address": "ANN@x.example", "limit": "2", **({"after": after} if after else {})}
        status, page = client.ask("GET", "/api/v1/messages", params=query)
        assert status == 200
        found += [each["queue_id"] for each in page["messages"]]
        after = page["next_after"]
        if not after:
            break
    assert found == [event.queue_id for event in reversed(events)]
    window = {"address": "ann@x.example", "since": "1970-01-01T00:00:01.001Z", "until": "1970-01-01T00:00:01.003Z"}
    messages = client.ask("GET", "/api/v1/messages", params=window)[1]["messages"]
    assert [each["first_ms"] for each in messages] == [1_002, 1_001]
    for query, field in (
        ({}, "address"),
        ({"address": "a@b", "message_id": "x"}, "address"),
        ({"address": "a@b", "since": "soon"}, "since"),
        ({"address": "a@b", "after": "x"}, "queue_id"),
    ):
        assert client.refusal("GET", "/api/v1/messages", params=query) == (400, "invalid", field)


def test_presets_and_the_test_of_a_relay(client: RestClient) -> None:
    status, found = client.ask("GET", "/api/v1/relay-presets")
    assert status == 200
    assert {each["name"] for each in found["relay_presets"]} >= {"ses", "sendgrid", "postmark", "mailgun", "office365"}
    client.ask("PUT", "/api/v1/domains/demo.example", json={})
    step = RelayStep(stage=RelayStage.LOGIN, ok=False, reply="535 no", advice="try again", milliseconds=7)
    client.installation.relays.reply = RelayTestReply(host="smtp.example.net", port=587, steps=(step,))
    path = "/api/v1/domains/demo.example/relay/test"
    status, report = client.ask("POST", path, json={})
    assert (status, report) == (
        200,
        {
            "ok": False,
            "host": "smtp.example.net",
            "port": 587,
            "sent": 0,
            "steps": [
                {"stage": "login", "ok": False, "reply": "535 no", "advice": "try again", "milliseconds": 7},
            ],
        },
    )
    relay = {"host": "smtp.example.org", "username": "me", "password": "x"}
    assert client.ask("POST", path, json={"relay": relay, "recipient": "friend@example.org"})[0] == 200
    assert client.installation.relays.requests == [
        RelayTestRequest(domain="demo.example", actor="admin"),
        RelayTestRequest(
            domain="demo.example",
            actor="admin",
            relay=Relay(host="smtp.example.org", username="me", password="x"),
            recipient="friend@example.org",
        ),
    ]
    assert client.refusal("POST", "/api/v1/domains/none.example/relay/test", json={})[0] == 404
    assert client.refusal("POST", path, json={"relay": {"host": ""}})[:2] == (400, "invalid")
