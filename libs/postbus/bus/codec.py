"""Bus payloads: the values of `postbus.contracts.events` as messages of proto/postbus/events/v1."""

from typing import TypeVar

import msgspec
from google.protobuf.message import Message

from postbus.contracts.events import (
    CertificateChanged,
    DirectoryChanged,
    EventBatch,
    FolderChanged,
    IndexWanted,
    MailAccepted,
)
from postbus.rpc.codec import decode, encode
from postbus.rpc.gen import events_pb2

Value = TypeVar("Value", bound=msgspec.Struct)

MESSAGES: dict[type[msgspec.Struct], type[Message]] = {
    MailAccepted: events_pb2.MailAccepted,
    FolderChanged: events_pb2.FolderChanged,
    IndexWanted: events_pb2.IndexWanted,
    DirectoryChanged: events_pb2.DirectoryChanged,
    CertificateChanged: events_pb2.CertificateChanged,
    EventBatch: events_pb2.EventBatch,
}


def encode_value(value: msgspec.Struct) -> bytes:
    """The payload of a bus value. Raises KeyError for a type that does not travel on the bus."""
    return encode(value, MESSAGES[type(value)])


def decode_value(payload: bytes, kind: type[Value]) -> Value:
    """The bus value of a payload. Raises MailError: INVALID."""
    return decode(payload, MESSAGES[kind], kind)
