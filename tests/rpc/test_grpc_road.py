"""A port over a real gRPC channel on a Unix socket, and the same port in process: same manners."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import cast

import grpc.aio
import pytest

from postbus.contracts.admin_api import AdminApi, VerifyTokenReply, VerifyTokenRequest
from postbus.core.errors import ErrorKind, MailError, after
from postbus.core.trace import current_trace, use_trace
from postbus.rpc.client import GrpcClient
from postbus.rpc.errors import STATUS
from postbus.rpc.local import LocalClient
from postbus.rpc.server import serve_port


class Tokens:
    """An AdminApi whose answer depends on the token."""

    async def verify_token(self, request: VerifyTokenRequest) -> VerifyTokenReply:
        if request.token in set(ErrorKind):
            raise MailError(ErrorKind(request.token), "the détail", after(7))
        if request.token == "hang":
            await asyncio.Event().wait()
        if request.token == "bug":
            raise ZeroDivisionError("secret")
        trace = current_trace()
        return VerifyTokenReply(actor=trace.trace_id if trace else "", scopes=("all",))


@pytest.fixture
def seconds() -> float:
    """The deadline: long, also on a busy machine, where a test does not wait for it."""
    return 60.0


@pytest.fixture(params=["grpc", "in process"])
async def port(request: pytest.FixtureRequest, tmp_path: Path, seconds: float) -> AsyncIterator[AdminApi]:
    if request.param == "in process":
        yield cast(AdminApi, LocalClient("admin-api", Tokens, seconds))
        return
    server = grpc.aio.server()
    serve_port(server, "admin-api", Tokens())
    address = f"unix:{tmp_path}/s"
    server.add_insecure_port(address)
    await server.start()
    client = GrpcClient("admin-api", address, seconds)
    yield cast(AdminApi, client)
    await client.close()
    await server.stop(0)


async def test_the_trace_crosses(port: AdminApi) -> None:
    with use_trace(None) as trace:
        reply = await port.verify_token(VerifyTokenRequest(token="ok"))
    assert reply == VerifyTokenReply(actor=trace.trace_id, scopes=("all",))


async def test_every_kind_survives(port: AdminApi) -> None:
    assert set(STATUS) == set(ErrorKind)
    for kind in ErrorKind:
        with pytest.raises(MailError) as caught:
            await port.verify_token(VerifyTokenRequest(token=kind))
        assert (caught.value.kind, caught.value.detail, caught.value.retry) == (kind, "the détail", after(7))


@pytest.mark.parametrize("seconds", [0.2])
async def test_a_deadline_ends_as_unavailable(port: AdminApi) -> None:
    with pytest.raises(MailError) as caught:
        await port.verify_token(VerifyTokenRequest(token="hang"))
    assert (caught.value.kind, caught.value.detail) == (ErrorKind.UNAVAILABLE, "admin-api gave no answer in time")


async def test_a_bug_shows_an_incident_and_nothing_else(port: AdminApi) -> None:
    with pytest.raises(MailError) as caught:
        await port.verify_token(VerifyTokenRequest(token="bug"))
    assert caught.value.kind is ErrorKind.INTERNAL
    assert caught.value.detail.startswith("incident ")
    assert "secret" not in str(caught.value)


async def test_an_absent_service_is_unavailable(tmp_path: Path) -> None:
    client = GrpcClient("admin-api", f"unix:{tmp_path}/nobody", 60.0)
    with pytest.raises(MailError) as caught:
        await cast(AdminApi, client).verify_token(VerifyTokenRequest(token="ok"))
    assert (caught.value.kind, caught.value.detail) == (ErrorKind.UNAVAILABLE, "admin-api can't be reached")
    await client.close()
    starting = LocalClient("admin-api", lambda: None, 0.2)
    with pytest.raises(MailError) as caught:
        await cast(AdminApi, starting).verify_token(VerifyTokenRequest(token="ok"))
    assert caught.value.kind is ErrorKind.UNAVAILABLE
