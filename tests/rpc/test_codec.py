"""Every contract value crosses protobuf unchanged, and both sides have the same fields."""

import enum
import types
import typing
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from postbus.contracts import events
from postbus.contracts.directory import PutMailboxRequest
from postbus.contracts.domains import Domain
from postbus.core.errors import ErrorKind, MailError
from postbus.rpc.calls import CONTRACTS, methods
from postbus.rpc.codec import ContractMismatchError, decode, encode
from postbus.rpc.gen import common_pb2, directory_pb2, events_pb2

BUS_VALUES = (
    events.MailAccepted,
    events.FolderChanged,
    events.IndexWanted,
    events.DirectoryChanged,
    events.CertificateChanged,
    events.EventBatch,
)
PAIRS = [
    *(
        pair
        for service in CONTRACTS
        for method in methods(service).values()
        for pair in ((method.request, method.request_message), (method.reply, method.reply_message))
    ),
    *((kind, getattr(events_pb2, kind.__name__)) for kind in BUS_VALUES),
]


def strategy(annotation: Any) -> st.SearchStrategy[Any]:
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return st.none() | strategy(next(a for a in typing.get_args(annotation) if a is not type(None)))
    if typing.get_origin(annotation) is tuple:
        return st.lists(strategy(typing.get_args(annotation)[0]), max_size=2).map(tuple)
    while hasattr(annotation, "__supertype__"):
        annotation = annotation.__supertype__
    if issubclass(annotation, msgspec.Struct):
        hints = typing.get_type_hints(annotation)
        return st.builds(annotation, **{name: strategy(hints[name]) for name in annotation.__struct_fields__})
    if issubclass(annotation, enum.Enum):
        return st.sampled_from(list(annotation))
    simple: dict[type, st.SearchStrategy[Any]] = {
        str: st.text(max_size=5),
        int: st.integers(-(2**63), 2**63 - 1),
        bytes: st.binary(max_size=5),
        float: st.floats(allow_nan=False),
        bool: st.booleans(),
    }
    return simple[annotation]


@pytest.mark.parametrize(("kind", "message_type"), PAIRS, ids=lambda value: value.__name__)
def test_every_value_survives_the_hop(kind: type[msgspec.Struct], message_type: Any) -> None:
    @settings(max_examples=5, deadline=None, derandomize=True)
    @given(strategy(kind))
    def check(value: msgspec.Struct) -> None:
        assert decode(encode(value, message_type), message_type, kind) == value

    check()


def test_an_unknown_enumeration_member_is_an_error_only_without_a_default() -> None:
    newer = directory_pb2.Resolution(forward_path="a@b.example")
    newer.outcome = 99  # type: ignore[assignment]
    from postbus.contracts.directory import Resolution

    with pytest.raises(MailError) as caught:
        decode(newer.SerializeToString(), directory_pb2.Resolution, Resolution)
    assert caught.value.kind is ErrorKind.INVALID


def test_who_does_not_know_a_switch_does_not_switch_it_off() -> None:
    older = directory_pb2.Domain(name="a.example")
    assert decode(older.SerializeToString(), directory_pb2.Domain, Domain).search
    off = encode(Domain(name="a.example", search=False), directory_pb2.Domain)
    assert not decode(off, directory_pb2.Domain, Domain).search


def test_octets_that_are_no_message_are_invalid() -> None:
    with pytest.raises(MailError) as caught:
        decode(b"\xff\xff\xff", events_pb2.MailAccepted, events.MailAccepted)
    assert caught.value.kind is ErrorKind.INVALID


def test_a_struct_with_other_fields_is_noticed() -> None:
    class Other(msgspec.Struct):
        nothing: int = 0

    with pytest.raises(ContractMismatchError):
        encode(Other(), common_pb2.Empty)


def test_what_protobuf_cannot_hold_is_invalid() -> None:
    for value in (2**63, 10**30):
        request = PutMailboxRequest(address="a@demo.example", actor="admin", quota_octets=value)
        with pytest.raises(MailError, match="quota_octets: out of range") as raised:
            encode(request, directory_pb2.PutMailboxRequest)
        assert raised.value.kind is ErrorKind.INVALID
