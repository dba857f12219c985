"""Imports and exports of mailboxes by API."""

import csv
import io
import json

import pytest
from litestar import Litestar
from litestar.testing import TestClient

from postbus.testing.admin_rest import FakeInstallation, RestClient
from postbusd.admin_api.rest.mailbox_tables import MAX_TABLE_OCTETS

IMPORT, EXPORT = "/api/v1/mailboxes/import", "/api/v1/mailboxes/export"
CSV = {"Content-Type": "text/csv; charset=utf-8"}
JSON = {"Content-Type": "application/json"}
TABLE = "kim,a.example,kim,user,info sales@b.example,true\r\nteam,b.example,staff,group,,false\r\n"
ROWS = [
    {
        "name": "kim",
        "domain": "a.example",
        "owner": "kim",
        "ownerType": "user",
        "aliases": [{"name": "info", "domain": "a.example"}, {"name": "sales", "domain": "b.example"}],
        "active": True,
    },
    {"name": "team", "domain": "b.example", "owner": "staff", "ownerType": "group", "aliases": [], "active": False},
]


@pytest.fixture
def client(http: TestClient[Litestar]) -> RestClient:
    client = RestClient(FakeInstallation(), http)
    for path in ("domains/a.example", "domains/b.example", "users/kim", "groups/staff"):
        assert client.ask("PUT", f"/api/v1/{path}", json={})[0] == 201
    return client


def test_an_import_in_either_form_and_the_export_of_it(client: RestClient) -> None:
    status, report = client.ask("POST", IMPORT, content=TABLE.encode(), headers=CSV)
    assert status == 200
    assert report == {
        "written": True,
        "created": 2,
        "changed": 0,
        "unchanged": 0,
        "refused": 0,
        "rows": [
            {"number": 1, "address": "kim@a.example", "action": "created", "code": None, "detail": ""},
            {"number": 2, "address": "team@b.example", "action": "created", "code": None, "detail": ""},
        ],
    }
    assert client.ask("GET", f"{EXPORT}?format=json") == (200, ROWS)
    status, text = client.ask("GET", EXPORT)
    assert [tuple(row.values()) for row in csv.DictReader(io.StringIO(text))] == [
        ("kim", "a.example", "kim", "user", "info@a.example sales@b.example", "true"),
        ("team", "b.example", "staff", "group", "", "false"),
    ]
    for content, headers in ((text.encode(), CSV), (json.dumps(ROWS).encode(), JSON)):
        status, report = client.ask("POST", IMPORT, content=content, headers=headers)
        assert (status, report["unchanged"], len(report["rows"])) == (200, 2, 2)
    assert client.ask("GET", f"{EXPORT}?format=json&domain=b.example") == (200, ROWS[1:])
    assert client.ask("GET", f"{EXPORT}?format=json&domain=b.example")[1] == ROWS[1:]


def test_refused_rows_are_told_and_atomic_writes_none(client: RestClient) -> None:
    table = f"{TABLE}x,a.example,nobody,user\ny,a.example\nKIM,a.example,kim,user\n".encode()
    for query in ("?atomic=true", "?plan=true", "?atomic=true&plan=true"):
        status, report = client.ask("POST", IMPORT + query, content=table, headers=CSV)
        assert (status, report["written"], report["created"], report["refused"]) == (200, False, 2, 3)
        assert client.ask("GET", f"{EXPORT}?format=json") == (200, [])
    status, report = client.ask("POST", IMPORT, content=table, headers=CSV)
    assert (status, report["written"], report["created"], report["refused"]) == (200, True, 2, 3)
    assert [(each["number"], each["code"], each["detail"]) for each in report["rows"][2:]] == [
        (3, "not_found", "owner: there is no user nobody here"),
        (4, "invalid", "row: 4 or 6 columns, not 2"),
        (5, "invalid", "address: row 1 has it too"),
    ]


def test_what_is_no_table_writes_nothing(client: RestClient) -> None:
    assert client.refusal("POST", IMPORT, content=TABLE.encode() + b'x,"', headers=CSV) == (400, "invalid", "row")
    assert client.refusal("POST", IMPORT, content=b"", headers=CSV) == (400, "invalid", None)
    assert client.refusal("POST", IMPORT, content=b"[]", headers=JSON) == (400, "invalid", None)
    assert client.refusal("POST", IMPORT, content=b"{}", headers=JSON) == (400, "invalid", "row")
    assert client.ask("POST", IMPORT, content=b"a", headers={"Content-Type": "text/plain"})[0] == 415
    assert client.ask("POST", IMPORT, content=b"a,b,c,user\n" * 20_001, headers=CSV)[0] == 422
    assert client.ask("POST", IMPORT, content=b"\n" * (MAX_TABLE_OCTETS + 1), headers=CSV)[0] == 413
    assert client.ask("POST", f"{IMPORT}?atmoic=true", content=TABLE.encode(), headers=CSV)[0] == 400
    assert client.ask("GET", f"{EXPORT}?format=xml")[0] == 400
    assert client.ask("GET", f"{EXPORT}?format=json") == (200, [])
    assert client.ask("POST", IMPORT, content=TABLE.encode(), headers=CSV)[1]["created"] == 2


def test_a_directory_that_is_away_is_told(client: RestClient) -> None:
    client.installation.directory.away = True
    assert client.ask("POST", IMPORT, content=TABLE.encode(), headers=CSV)[0] == 503
    assert client.ask("GET", EXPORT)[0] == 503
    client.installation.directory.away = False
    assert client.ask("POST", IMPORT, content=TABLE.encode(), headers=CSV)[1]["created"] == 2


def test_the_document_tells_of_the_body(client: RestClient) -> None:
    document = client.ask("GET", "/api/v1/openapi.json")[1]
    body = document["paths"]["/api/v1/mailboxes/import"]["post"]["requestBody"]
    assert (body["required"], sorted(body["content"])) == (True, ["application/json", "text/csv"])
