"""MailError over gRPC: a status for foreign tools, and the whole error in trailing metadata: the kind survives."""

import grpc

from postbus.core.errors import LATER, ErrorKind, MailError, Retry
from postbus.rpc.codec import enum_tables
from postbus.rpc.gen import common_pb2
from postbus.rpc.invoke import NO_ANSWER

ERROR_METADATA = "postbus-error-bin"
MAX_DETAIL_CHARACTERS = 1000

STATUS = {
    ErrorKind.INVALID: grpc.StatusCode.INVALID_ARGUMENT,
    ErrorKind.NOT_FOUND: grpc.StatusCode.NOT_FOUND,
    ErrorKind.ALREADY_EXISTS: grpc.StatusCode.ALREADY_EXISTS,
    ErrorKind.CONFLICT: grpc.StatusCode.ABORTED,
    ErrorKind.CHANGED: grpc.StatusCode.FAILED_PRECONDITION,
    ErrorKind.UNAUTHENTICATED: grpc.StatusCode.UNAUTHENTICATED,
    ErrorKind.FORBIDDEN: grpc.StatusCode.PERMISSION_DENIED,
    ErrorKind.INACTIVE: grpc.StatusCode.FAILED_PRECONDITION,
    ErrorKind.OVER_QUOTA: grpc.StatusCode.RESOURCE_EXHAUSTED,
    ErrorKind.TOO_LARGE: grpc.StatusCode.OUT_OF_RANGE,
    ErrorKind.LIMIT: grpc.StatusCode.RESOURCE_EXHAUSTED,
    ErrorKind.RATE_LIMITED: grpc.StatusCode.RESOURCE_EXHAUSTED,
    ErrorKind.REJECTED_POLICY: grpc.StatusCode.PERMISSION_DENIED,
    ErrorKind.UNAVAILABLE: grpc.StatusCode.UNAVAILABLE,
    ErrorKind.INTERNAL: grpc.StatusCode.INTERNAL,
}

_NUMBERS, _KINDS = enum_tables(ErrorKind, common_pb2.ErrorKind.DESCRIPTOR)

_AWAY = {  # administrators read this behind the name of the service
    grpc.StatusCode.UNAVAILABLE: "can't be reached",
    grpc.StatusCode.DEADLINE_EXCEEDED: NO_ANSWER,
    grpc.StatusCode.CANCELLED: "broke the call off",
    grpc.StatusCode.UNIMPLEMENTED: "does not know this call",
}


def pack_error(error: MailError) -> bytes:
    """The error as it travels in trailing metadata."""
    message = common_pb2.Error(
        kind=common_pb2.ErrorKind.ValueType(_NUMBERS[error.kind]),
        detail=error.detail[:MAX_DETAIL_CHARACTERS],
        retry_after_seconds=error.retry.after_seconds,
    )
    return bytes(message.SerializeToString())


def unpack_error(error: grpc.aio.AioRpcError, target: str) -> MailError:
    """The error that the other side raised; an absent, slow or older service is UNAVAILABLE."""
    for key, value in error.trailing_metadata() or ():
        if key == ERROR_METADATA and isinstance(value, bytes):
            message = common_pb2.Error.FromString(value)
            kind = _KINDS.get(message.kind, ErrorKind.INTERNAL)
            seconds = message.retry_after_seconds if message.HasField("retry_after_seconds") else None
            return MailError(kind, message.detail, Retry(after_seconds=seconds))
    why = _AWAY.get(error.code())
    if why is not None:
        return MailError(ErrorKind.UNAVAILABLE, f"{target} {why}", LATER)
    return MailError(ErrorKind.INTERNAL, f"{target} failed: {error.code().name.lower()}")
