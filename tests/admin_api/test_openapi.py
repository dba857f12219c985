"""The API's description of itself: whole, in words, true (RestClient checks each answer's status against it)."""

from collections.abc import Iterator
from typing import Any

import pytest

from postbus.testing.admin_rest import FakeInstallation, RestClient, make_http
from postbusd.admin_api.rest.application import ROOT, ROUTES
from postbusd.admin_api.rest.problems import HTTP_STATUS

METHODS = {"get", "put", "patch", "post", "delete"}


@pytest.fixture(scope="module")
def document() -> Iterator[dict[str, Any]]:
    with make_http() as http:
        yield RestClient(FakeInstallation(), http).ask("GET", "/api/v1/openapi.json", token=None)[1]


def test_it_is_openapi_31_with_the_token(document: dict[str, Any]) -> None:
    assert document["openapi"].startswith("3.1")
    assert document["components"]["securitySchemes"]["token"] == {
        "type": "http",
        "scheme": "bearer",
        "description": "An API token.",
    }


def test_each_route_is_documented(document: dict[str, Any]) -> None:
    told = {operation["operationId"] for item in document["paths"].values() for operation in item.values()}
    assert told == {route.handler_name for route in ROUTES if route.include_in_schema is not False}
    assert all(path.startswith(f"{ROOT}/") for path in document["paths"])


def test_operations_parameters_and_answers_are_described(document: dict[str, Any]) -> None:
    for path, item in document["paths"].items():
        assert set(item) <= METHODS
        for method, operation in item.items():
            where = f"{method} {path}"
            assert operation["summary"], where
            assert operation["description"], where
            assert operation["tags"], where
            for parameter in operation.get("parameters", []):
                assert parameter.get("description"), f"{where} {parameter['name']}"
            for status, answer in operation["responses"].items():
                assert answer["description"], f"{where} {status}"
                schemas = [content["schema"] for content in answer["content"].values()]
                assert schemas, f"{where} {status}"
                assert all(schemas), f"{where} {status}"


def test_every_refusal_stands_at_every_operation(document: dict[str, Any]) -> None:
    wanted = {str(status) for status in HTTP_STATUS.values()}
    for path, item in document["paths"].items():
        for method, operation in item.items():
            for status in wanted | ({"415"} if "requestBody" in operation else set()):
                assert "application/problem+json" in operation["responses"][status]["content"], f"{method} {path}"


def test_every_field_is_described(document: dict[str, Any]) -> None:
    for name, schema in document["components"]["schemas"].items():
        for field, value in schema.get("properties", {}).items():
            assert value.get("description"), f"{name}.{field}"


def test_secrets_are_write_only_and_in_no_answer_but_a_credential(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    for name in ("MailboxBody", "UserBody", "RelayBody"):
        assert schemas[name]["properties"]["password"]["writeOnly"] is True
    for name, schema in schemas.items():
        if not name.endswith("Body"):
            assert "password" not in schema.get("properties", {}), name
    assert [name for name, schema in schemas.items() if "credential" in schema.get("properties", {})] == [
        "AppWithCredential"
    ]
    with_text = sorted(name for name, schema in schemas.items() if "token" in schema.get("properties", {}))
    assert with_text == ["SessionWithText", "TokenWithText"]


def test_numbers_with_limits_say_so(document: dict[str, Any]) -> None:
    port = document["components"]["schemas"]["RelayBody"]["properties"]["port"]
    assert (port["minimum"], port["maximum"], port["default"]) == (1, 65535, 587)
    limit = next(each for each in document["paths"]["/api/v1/queue"]["get"]["parameters"] if each["name"] == "limit")
    assert (limit["schema"]["minimum"], limit["schema"]["maximum"]) == (1, 1000)
