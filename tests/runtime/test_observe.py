"""Metrics, liveness and readiness pages; checks within a bound; gRPC health."""

import asyncio
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2
from prometheus_client import CollectorRegistry, Counter

from postbus.core.errors import ErrorKind, MailError
from postbus.runtime import health as health_module
from postbus.runtime.health import Health, HealthService, run_checks
from postbus.runtime.observe import ObservabilityListener, Observed, parse_listen


def observed(service: str, ready: bool = True) -> Observed:
    registry = CollectorRegistry()
    Counter(f"postbus_{service}_things", "Things.", registry=registry).inc()

    async def ask() -> Health:
        return Health(service=service, ready=ready, checks={})

    return Observed(registry=lambda: registry, health=ask)


async def test_pages_of_one_service_stand_at_the_top_too() -> None:
    listener = ObservabilityListener({"filter": observed("filter")})
    for path in ("/metrics", "/filter/metrics", "/metrics?x=1"):
        answer = await listener.answer(f"GET {path} HTTP/1.1")
        assert answer.status == "200 OK"
        assert b"postbus_filter_things_total 1.0" in answer.body
    assert (await listener.answer("GET /readyz HTTP/1.1")).body == b'{"service":"filter","ready":true,"checks":{}}\n'


async def test_of_several_services_each_has_its_pages_and_readiness_is_of_all() -> None:
    listener = ObservabilityListener({"filter": observed("filter"), "delivery": observed("delivery", ready=False)})
    assert (await listener.answer("GET /filter/readyz HTTP/1.1")).status == "200 OK"
    assert (await listener.answer("GET /delivery/readyz HTTP/1.1")).status == "503 Service Unavailable"
    assert (await listener.answer("GET /readyz HTTP/1.1")).status == "503 Service Unavailable"
    assert (await listener.answer("GET /delivery/healthz HTTP/1.1")).status == "200 OK"
    assert (await listener.answer("GET /metrics HTTP/1.1")).status == "404 Not Found"
    assert b"postbus_filter" not in (await listener.answer("GET /delivery/metrics HTTP/1.1")).body


@pytest.mark.parametrize("path", ["/", "/nobody/metrics", "/filter/secret", "/../etc/passwd", "x", ""])
async def test_other_paths_are_not_found(path: str) -> None:
    listener = ObservabilityListener({"filter": observed("filter"), "delivery": observed("delivery")})
    assert (await listener.answer(f"GET {path} HTTP/1.1")).status == "404 Not Found"


async def test_only_get_is_allowed() -> None:
    listener = ObservabilityListener({"filter": observed("filter")})
    assert (await listener.answer("POST /metrics HTTP/1.1")).status.startswith("405")


async def test_it_speaks_http_and_bears_garbage() -> None:
    listener = ObservabilityListener({"filter": observed("filter")})
    await listener.start("127.0.0.1:0")
    port = int(listener.url.rpartition(":")[2])
    for sent, expected in (
        (b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n", b"HTTP/1.1 200 OK"),
        (b"\x00\xff\r\n\r\n", b"HTTP/1.1 405"),
        (b"x" * 20000, b""),
    ):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(sent)
        writer.write_eof()
        try:
            answer = await reader.read()
        except ConnectionResetError:
            answer = b""
        assert answer.startswith(expected)
        writer.close()
    await listener.close()


def test_listen_addresses() -> None:
    assert parse_listen("127.0.0.1:80") == ("127.0.0.1", 80)
    assert parse_listen("[::1]:0") == ("::1", 0)
    for wrong in ("", "80", "a:b", "a:70000"):
        with pytest.raises(ValueError, match="HOST:PORT"):
            parse_listen(wrong)


async def test_checks_tell_what_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health_module, "CHECK_SECONDS", 0.01)

    async def fine() -> None:
        pass

    async def away() -> None:
        raise MailError(ErrorKind.UNAVAILABLE, "database: away")

    async def broken() -> None:
        raise ValueError("secret")

    async def stuck() -> None:
        await asyncio.Event().wait()

    checks = {"fine": fine, "away": away, "broken": broken, "stuck": stuck}
    found = await run_checks("filter", checks, {"relay": "ended"}, started=False)
    assert not found.ready
    assert found.checks == {
        "start": "starting",
        "fine": "ok",
        "away": "unavailable: database: away",
        "broken": "failed",
        "stuck": "no answer in 0.01 s",
        "loop relay": "ended",
    }
    assert (await run_checks("filter", {"fine": fine}, {}, started=True)).ready


class AbortedError(Exception):
    pass


class FakeContext:
    async def abort(self, code: grpc.StatusCode, details: str) -> None:
        raise AbortedError(code)


async def test_grpc_health_is_by_full_service_name() -> None:
    services = {"filter": observed("filter").health, "delivery": observed("delivery", ready=False).health}
    service, context = HealthService(services), FakeContext()

    async def check(name: str) -> int:
        rim: Any = context
        return int((await service.Check(health_pb2.HealthCheckRequest(service=name), rim)).status)

    assert await check("postbus.filter.v1.Filter") == health_pb2.HealthCheckResponse.SERVING
    assert await check("postbus.delivery.v1.Delivery") == health_pb2.HealthCheckResponse.NOT_SERVING
    assert await check("") == health_pb2.HealthCheckResponse.NOT_SERVING
    with pytest.raises(AbortedError):
        await check("postbus.indexer.v1.Indexer")


async def test_a_check_that_is_added_while_others_run_is_no_fault() -> None:
    checks: dict[str, Any] = {}

    async def adding() -> None:
        checks["late"] = adding

    checks["early"] = adding
    found = await run_checks("filter", checks, {}, started=True)
    assert found.checks == {"start": "ok", "early": "ok"}


@pytest.mark.parametrize("sent", [b"", b"GET /filter/readyz HTTP/1.1\r\n\r\n"])
async def test_what_is_open_at_the_end_is_closed_and_no_fault(caplog: pytest.LogCaptureFixture, sent: bytes) -> None:
    """Before its request has come, and while its answer is being made."""
    asked, go_on = asyncio.Event(), asyncio.Event()

    async def ask() -> Health:
        asked.set()
        await go_on.wait()
        return Health(service="filter", ready=True, checks={})

    listener = ObservabilityListener({"filter": Observed(registry=CollectorRegistry, health=ask)})
    await listener.start("127.0.0.1:0")
    reader, writer = await asyncio.open_connection("127.0.0.1", int(listener.url.rpartition(":")[2]))
    writer.write(sent)
    if sent:
        await asked.wait()
    else:
        while not listener._open:
            await asyncio.sleep(0)
    closing = asyncio.get_running_loop().create_task(listener.close())
    await asyncio.sleep(0)
    go_on.set()
    await closing
    assert await reader.read() == b""
    writer.close()
    assert not listener._open
    assert caplog.records == []
