"""Carries a port over gRPC: one generic handler for all contracts."""

import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import grpc.aio

from postbus.core.errors import MailError
from postbus.core.trace import HEADER, parse_traceparent, use_trace
from postbus.rpc.calls import CONTRACTS, Method, methods
from postbus.rpc.codec import decode, encode
from postbus.rpc.errors import ERROR_METADATA, STATUS, pack_error
from postbus.rpc.invoke import invoke

MAX_MESSAGE_OCTETS = 4 * 1024 * 1024
"""Both ways; bigger things travel as blob ids."""

SERVER_OPTIONS = (
    ("grpc.max_receive_message_length", MAX_MESSAGE_OCTETS),
    ("grpc.max_send_message_length", MAX_MESSAGE_OCTETS),
    ("grpc.so_reuseport", 0),
)


def serve_port(server: grpc.aio.Server, service: str, implementation: object) -> None:
    """Adds `implementation`, the port of `service`, to `server`."""
    handlers: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
        method.path.rpartition("/")[2]: grpc.unary_unary_rpc_method_handler(_handler(service, method, implementation))
        for method in methods(service).values()
    }
    descriptor = CONTRACTS[service][1]
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(descriptor.full_name, handlers),))


def _handler(
    service: str, method: Method, implementation: object
) -> Callable[[bytes, grpc.aio.ServicerContext[Any, Any]], Awaitable[bytes]]:
    async def handle(data: bytes, context: grpc.aio.ServicerContext[Any, Any]) -> bytes:
        traceparent = next((str(value) for key, value in context.invocation_metadata() or () if key == HEADER), None)
        trace = parse_traceparent(traceparent)
        with use_trace(trace) if trace is not None else contextlib.nullcontext():
            try:
                request = decode(data, method.request_message, method.request)
                reply = await invoke(service, method.name, implementation, request)
                return encode(reply, method.reply_message)
            except MailError as error:
                context.set_trailing_metadata(((ERROR_METADATA, pack_error(error)),))
                await context.abort(STATUS[error.kind], error.detail)
                raise AssertionError("abort returns never") from error

    return handle
