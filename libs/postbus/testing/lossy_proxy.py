"""A TCP connection through which answers get lost: what the client sends arrives, what comes back is dropped."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

CHUNK_OCTETS = 65536


class LossyProxy:
    """On a loopback port of its own."""

    def __init__(self, target_port: int) -> None:
        """Everything goes to `target_port` of this host."""
        self.port = 0
        self.loses_answers = False
        self.lost_octets = 0
        self._target_port = target_port

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        target_reader, target_writer = await asyncio.open_connection("127.0.0.1", self._target_port)
        async with asyncio.TaskGroup() as group:
            group.create_task(_pump(reader, target_writer))
            group.create_task(self._pump_answers(target_reader, writer))

    async def _pump_answers(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(CHUNK_OCTETS):
            if self.loses_answers:
                self.lost_octets += len(data)
                continue
            writer.write(data)
            await writer.drain()
        writer.close()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(CHUNK_OCTETS):
        writer.write(data)
        await writer.drain()
    writer.close()


@contextlib.asynccontextmanager
async def lossy_proxy(target_port: int) -> AsyncIterator[LossyProxy]:
    """A proxy while the block runs; connections end with their clients."""
    proxy = LossyProxy(target_port)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, ExceptionGroup):
            await proxy._serve(reader, writer)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        await server.wait_closed()
