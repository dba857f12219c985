"""A small authoritative DNS server on loopback, UDP and TCP, that answers from records in memory.

Long answers are truncated over UDP; `silent.` names are never answered, `broken.` ones fail, `secure.` ones carry the
AD bit when asked for it.
"""

import asyncio
import contextlib
import struct
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset
import dns.zone

SOA = "ns.example. hostmaster.example. 1 3600 600 86400 60"
UDP_ANSWER_OCTETS = 512
START_SECONDS = 10.0


class LoopbackDns(asyncio.DatagramProtocol):
    """The server's records and what it was asked."""

    def __init__(self) -> None:
        self.zone: dict[tuple[str, str], list[str]] = {}
        self.asked: list[tuple[str, str, str]] = []
        self.port = 0
        self._transport: asyncio.DatagramTransport | None = None

    def add(self, name: str, record_type: str, *values: str) -> None:
        """Records in zone-file text."""
        self.zone.setdefault((name, record_type), []).extend(values)

    def add_zone(self, text: str, origin: str) -> None:
        """The records of a zone file (RFC 1035 §5)."""
        zone = dns.zone.from_text(text, origin=origin, relativize=False, check_origin=False)
        for name, _, data in zone.iterate_rdatas():
            self.add(name.to_text(omit_final_dot=True).lower(), dns.rdatatype.to_text(data.rdtype), data.to_text())

    def connection_made(self, transport: Any) -> None:
        """The UDP side is open."""
        self._transport = transport

    def datagram_received(self, data: bytes, address: Any) -> None:
        """A query over UDP."""
        answer = self.answer(data, "udp")
        if answer is not None and self._transport is not None:
            self._transport.sendto(answer, address)

    async def serve_tcp(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """A query over TCP."""
        (length,) = struct.unpack("!H", await reader.readexactly(2))
        answer = self.answer(await reader.readexactly(length), "tcp")
        if answer is not None:
            writer.write(struct.pack("!H", len(answer)) + answer)
            await writer.drain()
        writer.close()
        await writer.wait_closed()

    def answer(self, data: bytes, transport: str) -> bytes | None:
        """The response to a query; None: silence."""
        query = dns.message.from_wire(data)
        question = query.question[0]
        name = question.name.to_text(omit_final_dot=True).lower()
        kind = dns.rdatatype.to_text(question.rdtype)
        self.asked.append((name, kind, transport))
        if name.startswith("silent."):
            return None
        response = dns.message.make_response(query)
        values = self.zone.get((name, kind))
        if name.startswith("broken."):
            response.set_rcode(dns.rcode.SERVFAIL)
        elif values:
            response.answer.append(dns.rrset.from_text(question.name, 300, "IN", kind, *values))
            if name.startswith("secure.") and query.flags & dns.flags.AD:
                response.flags |= dns.flags.AD
        else:
            if not any(known == name or known.endswith("." + name) for known, _ in self.zone):
                response.set_rcode(dns.rcode.NXDOMAIN)
            response.authority.append(dns.rrset.from_text(dns.name.from_text("example."), 300, "IN", "SOA", SOA))
        wire = response.to_wire(max_size=65535)
        if transport == "udp" and len(wire) > UDP_ANSWER_OCTETS:
            response.answer.clear()
            response.flags |= dns.flags.TC
            wire = response.to_wire(max_size=65535)
        return wire


@contextlib.asynccontextmanager
async def serving_dns() -> AsyncIterator[LoopbackDns]:
    """A server on a free port of this loop."""
    loop = asyncio.get_running_loop()
    server = LoopbackDns()
    stream = await asyncio.start_server(server.serve_tcp, "127.0.0.1", 0)
    server.port = stream.sockets[0].getsockname()[1]
    transport, _ = await loop.create_datagram_endpoint(lambda: server, local_addr=("127.0.0.1", server.port))
    try:
        yield server
    finally:
        transport.close()
        stream.close()
        await stream.wait_closed()


@contextlib.contextmanager
def running_dns() -> Iterator[LoopbackDns]:
    """The same on a thread of its own, for tests that talk to whole installations."""
    made: list[LoopbackDns] = []
    started, ended = threading.Event(), asyncio.Event()
    loop = asyncio.new_event_loop()

    async def serve() -> None:
        async with serving_dns() as server:
            made.append(server)
            started.set()
            await ended.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),), name="dns")
    thread.start()
    try:
        assert started.wait(START_SECONDS), "the DNS server did not start"
        yield made[0]
    finally:
        loop.call_soon_threadsafe(ended.set)
        thread.join()
        loop.close()
