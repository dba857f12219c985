"""/api/v1/webhooks over fakes."""

from collections.abc import Iterator

import pytest

from postbus.contracts.events import EventType
from postbus.testing.admin_api import make_event
from postbus.testing.admin_rest import FakeInstallation, RestClient, make_http
from postbusd.admin_api.webhooks.values import Answer, Verdict

BODY = {"url": "https://hooks.example/in", "types": ["received"]}
PATH = "/api/v1/webhooks/one"


@pytest.fixture
def client() -> Iterator[RestClient]:
    with make_http() as http:
        yield RestClient(FakeInstallation(), http)


def test_a_life(client: RestClient) -> None:
    status, made = client.ask("PUT", PATH, json=BODY)
    assert status == 201
    assert made["secret"].startswith("whsec_")
    status, again = client.ask("PUT", PATH, json={**BODY, "domain": "Demo.Example", "active": False})
    assert status == 200
    assert "secret" not in again
    assert (again["domain"], again["active"], again["waiting"]) == ("demo.example", False, 0)
    assert client.ask("GET", PATH) == (200, again)
    assert client.ask("GET", "/api/v1/webhooks") == (200, {"webhooks": [again], "next_after": ""})
    status, rotated = client.ask("POST", f"{PATH}/secret")
    assert (status, rotated["secret"] != made["secret"]) == (200, True)
    assert client.ask("DELETE", PATH, params={"dry_run": "true"}) == (
        200,
        {"deleted": ["webhook one"], "dry_run": True},
    )
    assert client.ask("DELETE", PATH) == (200, {"deleted": ["webhook one"], "dry_run": False})
    assert client.refusal("GET", PATH) == (404, "not_found", "name")
    told = [event.summary for event in client.installation.hooks.events]
    assert told == [
        "webhook one set by admin",
        "webhook one set by admin",
        "secret of webhook one replaced by admin",
        "webhook one deleted by admin",
    ]
    assert made["secret"] not in str(client.installation.hooks.events)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "url"),
        ({"url": "ftp://x"}, "url"),
        ({"url": "https://x/", "types": ["nonsense"]}, "types_0"),
        ({"url": "https://x/", "domain": "no domain"}, "domain"),
        ({"url": "https://x/", "secret": "mine"}, "secret"),
    ],
)
def test_what_is_refused_names_its_field(client: RestClient, body: object, field: str) -> None:
    status, code, found = client.refusal("PUT", PATH, json=body)
    assert (status, code) == (400, "invalid")
    assert (found or "").startswith(field.split("_", maxsplit=1)[0])


def test_a_test_shows_what_the_receiver_says(client: RestClient) -> None:
    client.ask("PUT", PATH, json=BODY)
    status, told = client.ask("POST", f"{PATH}/test")
    assert (status, told["told"], told["status"], told["outcome"]) == (200, True, 204, "204")
    client.installation.poster.answers = [Answer(status=0, text="certificate: has expired")]
    told = client.ask("POST", f"{PATH}/test")[1]
    assert (told["told"], told["status"], told["outcome"]) == (False, 0, "certificate: has expired")


async def test_what_is_not_told_is_listed_retried_and_discarded(client: RestClient) -> None:
    client.ask("PUT", PATH, json=BODY)
    hooks = client.installation.hooks
    await hooks.add_events([make_event(number) for number in range(3)])
    await hooks.add_events([make_event(9, EventType.LOGIN)])
    status, page = client.ask("GET", f"{PATH}/deliveries", params={"state": "waiting", "limit": "2"})
    assert (status, [each["state"] for each in page["deliveries"]]) == (200, ["waiting", "waiting"])
    rest = client.ask("GET", f"{PATH}/deliveries", params={"state": "waiting", "after": page["next_after"]})[1]
    assert (len(rest["deliveries"]), rest["next_after"]) == (1, "")
    sequences = [each["sequence"] for each in [*page["deliveries"], *rest["deliveries"]]]
    verdicts = [Verdict(sequence=each, told=False, dead=True, outcome="400 no") for each in sequences]
    await hooks.settle("one", verdicts, [], 1)
    dead = client.ask("GET", f"{PATH}/deliveries")[1]["deliveries"]
    assert [each["outcome"] for each in dead] == ["400 no"] * 3
    assert dead[0]["event"]["summary"] == "event 0"
    actions = f"{PATH}/deliveries/actions"
    assert client.ask("POST", actions, json={"retry": True, "sequence": sequences[0]}) == (200, {"changed": 1})
    assert client.ask("POST", actions, json={"retry": False, "all": True}) == (200, {"changed": 2})
    assert client.refusal("POST", actions, json={"retry": True, "sequence": 99}) == (404, "not_found", "sequence")
    assert client.refusal("POST", actions, json={"retry": True}) == (400, "invalid", "all")
    assert client.refusal("POST", actions, json={"retry": True, "all": True, "sequence": 1}) == (400, "invalid", "all")
    assert client.refusal("GET", f"{PATH}/deliveries", params={"after": "x"}) == (400, "invalid", "after")
    assert client.ask("GET", PATH)[1]["waiting"] == 1
