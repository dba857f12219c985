"""In-process calls have the manners of gRPC: UNAVAILABLE before the start, own log name, MailError only."""

import asyncio

import pytest

from postbus.contracts.dns_provisioner import ListCertificatesReply, ListCertificatesRequest
from postbus.core.errors import ErrorKind, MailError
from postbus.core.trace import current_trace, new_trace, use_trace
from postbus.rpc.client import GrpcClient
from postbus.runtime.hosted import HostedPort, ProcessRpc
from postbus.runtime.log import current_service, use_service


class Certificates:
    async def list_certificates(self, request: ListCertificatesRequest) -> ListCertificatesReply:
        assert current_service() == "dns-provisioner"
        trace = current_trace()
        assert trace is not None
        if request.known_revision:
            raise ValueError("bug")
        return ListCertificatesReply(revision=1, ca_pem=trace.trace_id.encode())


def make_rpc() -> tuple[HostedPort, ProcessRpc]:
    port = HostedPort("dns-provisioner")
    return port, ProcessRpc({"dns-provisioner": port}, lambda service: f"unix:/nowhere/{service}.sock", 1.0)


async def test_a_service_of_this_process_is_called_directly_under_its_own_name() -> None:
    port, rpc = make_rpc()
    port.implementation = Certificates()
    with use_service("smtp-edge"), use_trace(new_trace()) as trace:
        reply = await rpc.dns_provisioner.list_certificates(ListCertificatesRequest())
        assert current_service() == "smtp-edge"
    assert reply.ca_pem.decode() == trace.trace_id


async def test_a_service_that_is_not_built_yet_is_unavailable() -> None:
    _, rpc = make_rpc()
    with pytest.raises(MailError) as raised:
        await rpc.dns_provisioner.list_certificates(ListCertificatesRequest())
    assert raised.value.kind is ErrorKind.UNAVAILABLE


async def test_an_unknown_exception_becomes_internal_with_an_incident(caplog: pytest.LogCaptureFixture) -> None:
    port, rpc = make_rpc()
    port.implementation = Certificates()
    with pytest.raises(MailError, match="incident") as raised:
        await rpc.dns_provisioner.list_certificates(ListCertificatesRequest(known_revision=1))
    assert raised.value.kind is ErrorKind.INTERNAL
    assert [record.getMessage() for record in caplog.records] == ["rpc.method.failed"]


async def test_any_other_service_is_called_by_grpc() -> None:
    _, rpc = make_rpc()
    assert isinstance(rpc.filter, GrpcClient)
    assert rpc.filter is rpc.client("filter")
    await rpc.close()


async def test_a_retired_port_finishes_what_is_under_way_and_takes_nothing_new() -> None:
    port, rpc = make_rpc()
    begun, may_end = asyncio.Event(), asyncio.Event()

    class Slow:
        async def list_certificates(self, _: ListCertificatesRequest) -> ListCertificatesReply:
            begun.set()
            await may_end.wait()
            return ListCertificatesReply(revision=7)

    port.implementation = Slow()
    call = asyncio.create_task(rpc.dns_provisioner.list_certificates(ListCertificatesRequest()))
    await begun.wait()
    retiring = asyncio.create_task(port.retire())
    await asyncio.sleep(0)
    assert not retiring.done()
    with pytest.raises(MailError) as raised:
        await rpc.dns_provisioner.list_certificates(ListCertificatesRequest())
    assert raised.value.kind is ErrorKind.UNAVAILABLE
    may_end.set()
    assert (await call).revision == 7
    await retiring
