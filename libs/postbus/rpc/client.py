"""Typed clients: a channel per service, connected at the first call and kept."""

import grpc
import grpc.aio
import msgspec

from postbus.core.trace import HEADER, current_trace
from postbus.rpc.calls import Method, methods
from postbus.rpc.codec import decode, encode
from postbus.rpc.errors import unpack_error
from postbus.rpc.server import MAX_MESSAGE_OCTETS

CHANNEL_OPTIONS = (
    ("grpc.max_receive_message_length", MAX_MESSAGE_OCTETS),
    ("grpc.max_send_message_length", MAX_MESSAGE_OCTETS),
    ("grpc.enable_http_proxy", 0),
    ("grpc.initial_reconnect_backoff_ms", 50),
    # gRPC's name for the time that one attempt to connect may take: enough on a busy machine, short for a hung peer.
    ("grpc.min_reconnect_backoff_ms", 2000),
    ("grpc.max_reconnect_backoff_ms", 250),
    # A container that was started again may have another address; the default is half a minute.
    ("grpc.dns_min_time_between_resolutions_ms", 1000),
)


class GrpcClient:
    """Calls one service; has every method of its port (the caller casts). Raises MailError only."""

    def __init__(self, service: str, address: str, deadline_seconds: float) -> None:
        """`address` is a gRPC target, as `unix:/run/postbus/directory.sock` or `directory:7100`."""
        self._service = service
        self._address = address
        self._deadline_seconds = deadline_seconds
        self._channel: grpc.aio.Channel | None = None
        for method in methods(service).values():
            setattr(self, method.name, self._bind(method))

    def _bind(self, method: Method) -> object:
        async def call(request: msgspec.Struct) -> msgspec.Struct:
            if self._channel is None:
                self._channel = grpc.aio.insecure_channel(self._address, options=CHANNEL_OPTIONS)
            trace = current_trace()
            metadata = ((HEADER, trace.format()),) if trace else ()
            send: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = self._channel.unary_unary(method.path)
            seconds = method.seconds or self._deadline_seconds
            try:
                data = await send(encode(request, method.request_message), timeout=seconds, metadata=metadata)
            except grpc.aio.AioRpcError as error:
                raise unpack_error(error, self._service) from error
            return decode(data, method.reply_message, method.reply)

        return call

    async def close(self) -> None:
        """Closes the channel; a later call opens it again."""
        channel, self._channel = self._channel, None
        if channel is not None:
            await channel.close()
