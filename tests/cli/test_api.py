"""The API's client: connections kept, replaced when they have gone, nothing sent twice that must not be."""

import http.client
import ssl
from typing import Any

import pytest

from postbus.runtime.layout import StartError
from postbusd.cli import api
from postbusd.cli.api import ApiClient, ApiError, HttpsWire


class FakeConnection:
    """A connection that answers, or breaks after some requests."""

    def __init__(self, answers: list[Any]) -> None:
        self.answers = answers
        self.asked: list[tuple[str, str]] = []
        self.keys: list[str] = []
        self.closed = False

    def request(self, method: str, path: str, body: bytes | None, headers: dict[str, str]) -> None:
        self.asked.append((method, path))
        self.keys.append(headers.get("Idempotency-Key", ""))

    def getresponse(self) -> Any:
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return FakeResponse(answer)

    def close(self) -> None:
        self.closed = True


class FakeResponse:
    """An answer, read at once."""

    status = 200

    def __init__(self, text: bytes) -> None:
        self._rest = text

    def read(self, limit: int) -> bytes:
        read, self._rest = self._rest[:limit], self._rest[limit:]
        return read

    def isclosed(self) -> bool:
        return not self._rest


class Net:
    """Connections in the order they are opened."""

    def __init__(self, *connections: list[Any]) -> None:
        self.waiting = [FakeConnection(answers) for answers in connections]
        self.opened: list[FakeConnection] = []

    def connect(self, url: object, context: object, seconds: float) -> FakeConnection:
        self.opened.append(self.waiting.pop(0))
        return self.opened[-1]


def make_client(net: Net, monkeypatch: pytest.MonkeyPatch, token: str = "token") -> ApiClient:
    monkeypatch.setattr(api, "_connect", net.connect)
    monkeypatch.setattr(ssl, "create_default_context", lambda cafile: None)
    return ApiClient(HttpsWire("https://127.0.0.1:2080", "ca.pem"), token)


def test_a_connection_is_used_again(monkeypatch: pytest.MonkeyPatch) -> None:
    net = Net([b"1", b"2", b"3"])
    client = make_client(net, monkeypatch)
    assert [client.get("/a", {"b": "c d"}), client.put("/b", {}), client.delete("/c")] == [1, 2, 3]
    assert net.opened[0].asked == [("GET", "/a?b=c+d"), ("PUT", "/b"), ("DELETE", "/c")]


def test_a_kept_connection_that_has_gone_is_replaced_once(monkeypatch: pytest.MonkeyPatch) -> None:
    net = Net([b"1", http.client.RemoteDisconnected("gone")], [b"2", BrokenPipeError()], [ConnectionResetError("no")])
    client = make_client(net, monkeypatch)
    assert [client.get("/a"), client.delete("/b")] == [1, 2]
    with pytest.raises(StartError, match="can't be reached: no"):
        client.get("/c")
    assert [connection.closed for connection in net.opened] == [True, True, True]


def test_a_post_that_comes_twice_has_one_key(monkeypatch: pytest.MonkeyPatch) -> None:
    net = Net([b"1", ConnectionResetError("gone")], [b"2", b"3"])
    client = make_client(net, monkeypatch)
    assert [client.get("/a"), client.post("/b", {}), client.post("/c")] == [1, 2, 3]
    assert [each.asked for each in net.opened] == [[("GET", "/a"), ("POST", "/b")], [("POST", "/b"), ("POST", "/c")]]
    first, again, other = net.opened[0].keys[1], *net.opened[1].keys
    assert net.opened[0].keys[0] == ""
    assert first == again != other
    assert len(first) == 36


def test_a_post_of_nobody_is_never_sent_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    net = Net([b"1"], [ConnectionResetError("gone")], [b"3"])
    client = make_client(net, monkeypatch, token="")
    client.get("/a")
    with pytest.raises(StartError):
        client.post("/b", {})
    assert client.post("/c") == 3
    assert [connection.asked for connection in net.opened] == [[("GET", "/a")], [("POST", "/b")], [("POST", "/c")]]


def test_an_endless_answer_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api, "MAX_ANSWER_OCTETS", 10)
    client = make_client(Net([b"x" * 11]), monkeypatch)
    with pytest.raises(StartError, match="larger"):
        client.get("/a")


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (b'{"title": "T", "detail": "name: no"}', "name: no"),
        (b'{"title": "T"}', "T"),
        (b"<html>", "HTTP 502"),
        (b"", "HTTP 502"),
    ],
)
def test_refusals_are_one_line(answer: bytes, text: str) -> None:
    assert str(ApiError(502, answer)) == text


def test_what_is_no_json_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(StartError, match="not JSON"):
        make_client(Net([b"{"]), monkeypatch).get("/a")


def test_an_api_that_is_off_is_told() -> None:
    with pytest.raises(StartError, match="off"):
        HttpsWire("", "ca.pem")
