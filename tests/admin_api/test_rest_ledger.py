"""The ledger and the dead letters over REST."""

import msgspec
import pytest
from litestar import Litestar
from litestar.testing import TestClient

from postbus.contracts.delivery import (
    ChangeHeldRequest,
    GetLedgerRequest,
    HeldAction,
    LedgerClash,
    MissingMessage,
    SettleLedgerRequest,
)
from postbus.testing.admin_ledger import CLASH_ALARM, CREATED_MS, make_counters, make_letter
from postbus.testing.admin_rest import ACTOR, FakeInstallation, RestClient

LEDGER = "/api/v1/ledger"
HELD = "/api/v1/held"
MISSING = MissingMessage(stream_sequence=9, queue_id="01JQZ8Y6KX4M2N3P5R7S9T0VWX", accepted_ms=CREATED_MS)
CLASH = LedgerClash(stream_sequence=3, queue_id="LATER", first_queue_id="FIRST", seen_ms=CREATED_MS)


@pytest.fixture
def client(http: TestClient[Litestar]) -> RestClient:
    """Eight messages in folders, three dead letters."""
    client = RestClient(FakeInstallation(), http)
    books = client.installation.books
    books.ended["folder"] = 8
    books.letters = [make_letter(number) for number in (4, 6, 7)]
    return client


def test_the_books_are_told_with_both_witnesses(client: RestClient) -> None:
    client.installation.edge.counters = make_counters(accepted=2, first_stream_sequence=10, last_stream_sequence=11)
    status, ledger = client.ask("GET", LEDGER)
    assert (status, ledger["balanced"], ledger["accepted"], ledger["folder"], ledger["held"]) == (200, True, 11, 8, 3)
    assert (ledger["stream_created_ms"], ledger["last_sequence"], ledger["alarms"]) == (CREATED_MS, 11, [])
    assert ledger["smtp_edge"] == {
        "checked": True,
        "reason": "",
        "instance_id": "edge-1",
        "started_ms": CREATED_MS + 500,
        "accepted": 2,
        "refused": 0,
        "deferred": 0,
        "first_stream_sequence": 10,
        "last_stream_sequence": 11,
    }


def test_what_is_wrong_is_listed_up_to_the_limit_and_counted_whole(client: RestClient) -> None:
    books = client.installation.books
    books.missing = [msgspec.structs.replace(MISSING, stream_sequence=number) for number in (9, 10, 11)]
    books.clashes = [CLASH]
    ledger = client.ask("GET", f"{LEDGER}?limit=2")[1]
    assert (ledger["balanced"], ledger["missing_count"], ledger["clash_count"]) == (False, 3, 1)
    assert ledger["missing"] == [
        {"stream_sequence": number, "queue_id": MISSING.queue_id, "accepted_ms": CREATED_MS} for number in (9, 10)
    ]
    assert ledger["clashes"] == [msgspec.to_builtins(CLASH)]
    assert ledger["alarms"] == [CLASH_ALARM]
    assert books.calls[-1] == GetLedgerRequest(limit=2)


def test_alarms_of_the_comparison_stand_beside_the_ledgers(client: RestClient) -> None:
    client.installation.edge.counters = make_counters(accepted=1, first_stream_sequence=99, last_stream_sequence=99)
    ledger = client.ask("GET", LEDGER)[1]
    assert not ledger["balanced"]
    assert any("the stream went back" in alarm for alarm in ledger["alarms"])


def test_an_absent_smtp_edge_leaves_the_books_balanced_and_unchecked(client: RestClient) -> None:
    client.installation.edge.counters = None
    ledger = client.ask("GET", LEDGER)[1]
    assert (ledger["balanced"], ledger["smtp_edge"]["checked"], ledger["smtp_edge"]["instance_id"]) == (True, False, "")
    assert "can't be reached" in ledger["smtp_edge"]["reason"]


@pytest.mark.parametrize(
    ("method", "path", "options"),
    [
        ("GET", LEDGER, {}),
        ("GET", HELD, {}),
        ("POST", f"{LEDGER}/settlements", {"json": {"reason": "x"}}),
        ("POST", f"{HELD}/actions", {"json": {"action": "retry", "all": True}}),
    ],
)
def test_an_absent_delivery_is_told_as_such(
    client: RestClient, method: str, path: str, options: dict[str, object]
) -> None:
    client.installation.books.away = True
    assert client.refusal(method, path, **options) == (503, "unavailable", None)
    assert client.refusal(method, path, token=None, **options)[0] == 401


def test_settling_writes_off_with_who_and_why(client: RestClient) -> None:
    books = client.installation.books
    books.missing, books.clashes = [MISSING], [CLASH]
    body = {"reason": "  disk of bus-2 was lost, see ticket 7 "}
    told = {"missing": 1, "clashes": 1, "alarms": [CLASH_ALARM]}
    planned = client.ask("POST", f"{LEDGER}/settlements", json={**body, "dry_run": True})
    assert planned == (200, {**told, "dry_run": True})
    assert not client.ask("GET", LEDGER)[1]["balanced"]
    assert client.ask("POST", f"{LEDGER}/settlements", json=body) == (200, {**told, "dry_run": False})
    request = SettleLedgerRequest(actor=ACTOR, reason="disk of bus-2 was lost, see ticket 7")
    assert books.calls[-1] == request
    ledger = client.ask("GET", LEDGER)[1]
    assert (ledger["balanced"], ledger["written_off"]) == (True, 1)


@pytest.mark.parametrize("reason", ["", "   ", "x" * 501, "two\nlines", "\x1b[2J", "right\u202eleft"])
def test_a_reason_is_one_printable_line(client: RestClient, reason: str) -> None:
    assert client.refusal("POST", f"{LEDGER}/settlements", json={"reason": reason}) == (400, "invalid", "reason")
    discard = {"action": "discard", "stream_sequence": 4, "reason": reason}
    assert client.refusal("POST", f"{HELD}/actions", json=discard) == (400, "invalid", "reason")
    assert client.installation.books.calls == []


def test_dead_letters_are_listed_page_by_page(client: RestClient) -> None:
    first = client.ask("GET", f"{HELD}?limit=2")[1]
    rest = client.ask("GET", HELD, params={"limit": 2, "after": first["next_after"]})[1]
    assert [each["stream_sequence"] for each in first["messages"] + rest["messages"]] == [4, 6, 7]
    assert (first["next_after"], rest["next_after"], first["total"], rest["total"]) == ("6", "", 3, 3)
    assert first["messages"][0] == {
        **msgspec.to_builtins(make_letter(4)),
        "forward_paths": ["a@demo.example", "b@demo.example"],
    }


@pytest.mark.parametrize("after", ["x", "-1", "1.0", "9" * 19, "٣"])
def test_a_page_begins_where_an_answer_said(client: RestClient, after: str) -> None:
    assert client.refusal("GET", HELD, params={"after": after}) == (400, "invalid", "after")


def test_one_dead_letter_is_retried(client: RestClient) -> None:
    body = {"action": "retry", "stream_sequence": 6}
    assert client.ask("POST", f"{HELD}/actions", json={**body, "dry_run": True}) == (
        200,
        {"changed": 1, "failed": [], "dry_run": True},
    )
    assert client.ask("GET", HELD)[1]["total"] == 3
    assert client.ask("POST", f"{HELD}/actions", json=body)[1]["changed"] == 1
    assert client.ask("GET", HELD)[1]["total"] == 2
    assert client.installation.books.calls[-2] == ChangeHeldRequest(
        action=HeldAction.RETRY, actor=ACTOR, stream_sequence=6
    )
    assert client.refusal("POST", f"{HELD}/actions", json=body) == (404, "not_found", "stream_sequence")


def test_all_are_retried_and_those_that_stay_are_told(client: RestClient) -> None:
    client.installation.books.stubborn[6] = "no recipient is left"
    done = client.ask("POST", f"{HELD}/actions", json={"action": "retry", "all": True})[1]
    assert done == {
        "changed": 2,
        "failed": [{"stream_sequence": 6, "reason": "no recipient is left"}],
        "dry_run": False,
    }


def test_discarding_keeps_the_reason(client: RestClient) -> None:
    body = {"action": "discard", "all": True, "reason": "spam run"}
    assert client.ask("POST", f"{HELD}/actions", json=body)[1]["changed"] == 3
    request = client.installation.books.calls[-1]
    assert isinstance(request, ChangeHeldRequest)
    assert (request.reason, request.actor, request.stream_sequence) == ("spam run", ACTOR, 0)
    assert client.ask("GET", LEDGER)[1]["written_off"] == 3


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"action": "retry"}, "all"),
        ({"action": "retry", "all": True, "stream_sequence": 4}, "all"),
        ({"action": "retry", "stream_sequence": 0}, "stream_sequence"),
        ({"action": "retry", "stream_sequence": -4}, "stream_sequence"),
        ({"action": "retry", "stream_sequence": 1 << 63}, "stream_sequence"),
        ({"action": "retry", "stream_sequence": "4"}, "stream_sequence"),
        ({"action": "retry", "stream_sequence": 4.5}, "stream_sequence"),
        ({"action": "release", "all": True}, "action"),
        ({"all": True}, "action"),
        ({"action": "retry", "all": True, "queue_id": "x"}, "queue_id"),
    ],
)
def test_an_action_names_one_or_all(client: RestClient, body: dict[str, object], field: str) -> None:
    assert client.refusal("POST", f"{HELD}/actions", json=body) == (400, "invalid", field)
    assert client.installation.books.calls == []
