"""Other addresses, usage and the archive of mailboxes by API and command line."""

import pytest
from litestar import Litestar
from litestar.testing import TestClient

from postbus.testing.admin_rest import FakeInstallation, RestClient


@pytest.fixture
def client(http: TestClient[Litestar]) -> RestClient:
    client = RestClient(FakeInstallation(), http)
    client.ask("PUT", "/api/v1/domains/a.example", json={})
    client.ask("PUT", "/api/v1/mailboxes/kim@a.example", json={"password": "a pass phrase"})
    return client


def test_a_mailbox_gets_another_address(client: RestClient) -> None:
    path = "/api/v1/mailboxes/kim@a.example/rename"
    status, mailbox = client.ask("POST", path, json={"address": "lee@a.example", "keep_alias": True})
    assert (status, mailbox["address"], mailbox["owner"]["name"]) == (200, "lee@a.example", "kim@a.example")
    assert client.ask("GET", "/api/v1/aliases/kim@a.example")[1]["mailbox"] == "lee@a.example"
    assert client.refusal("POST", path, json={"address": "x@a.example"}) == (404, "not_found", "address")
    path = "/api/v1/mailboxes/lee@a.example/rename"
    headers = {"If-Match": '"0a1b"'}
    assert client.refusal("POST", path, json={"address": "x@a.example"}, headers=headers)[0] == 412
    assert client.refusal("POST", path, json={"address": "kim@a.example"}) == (409, "conflict", "address")


def test_what_a_mailbox_holds(client: RestClient) -> None:
    status, usage = client.ask("GET", "/api/v1/mailboxes/kim@a.example/usage")
    assert (status, usage["messages"], usage["octets"], usage["quota_octets"]) == (200, 0, 0, None)
    assert client.ask("GET", "/api/v1/mailboxes/none@a.example/usage")[0] == 404


def test_a_deleted_mailbox_is_archived_restored_and_purged(client: RestClient) -> None:
    mailbox_id = client.ask("GET", "/api/v1/mailboxes/kim@a.example")[1]["mailbox_id"]
    client.ask("PUT", "/api/v1/users/lee", json={})
    assert client.ask("DELETE", "/api/v1/mailboxes/kim@a.example")[0] == 200
    status, page = client.ask("GET", "/api/v1/archived-mailboxes?domain=a.example")
    assert (status, page["next_after"]) == (200, "")
    (found,) = page["archived_mailboxes"]
    assert (found["mailbox_id"], found["address"], found["purging"]) == (mailbox_id, "kim@a.example", False)
    assert found["owner"] == {"kind": "user", "name": "kim@a.example"}
    path = f"/api/v1/archived-mailboxes/{mailbox_id}"
    assert client.refusal("POST", f"{path}/restore", json={}) == (404, "not_found", "owner")
    body = {"address": "lee@a.example", "owner": {"kind": "user", "name": "lee"}}
    status, mailbox = client.ask("POST", f"{path}/restore", json=body)
    assert (status, mailbox["mailbox_id"], mailbox["address"]) == (201, mailbox_id, "lee@a.example")
    assert client.ask("DELETE", "/api/v1/mailboxes/lee@a.example?content=purge&dry_run=true")[0] == 200
    assert client.ask("DELETE", "/api/v1/mailboxes/lee@a.example?content=archive")[0] == 200
    line = "mail of deleted mailbox lee@a.example: 0 messages of 0 octets"
    assert client.ask("DELETE", f"{path}?dry_run=true") == (200, {"deleted": [line], "dry_run": True})
    assert client.ask("DELETE", path) == (200, {"deleted": [line], "dry_run": False})
    assert client.refusal("POST", f"{path}/restore", json=body) == (409, "conflict", "mailbox_id")
    assert client.ask("GET", "/api/v1/archived-mailboxes")[1]["archived_mailboxes"][0]["purging"]
    assert client.refusal("DELETE", "/api/v1/archived-mailboxes/x") == (400, "invalid", "mailbox_id")
    assert client.ask("DELETE", "/api/v1/mailboxes/lee@a.example?content=other")[0] == 400
