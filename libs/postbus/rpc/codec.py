"""Our values to protobuf messages and back, by field name.

One pair of compiled functions per type, made at first use from the struct's annotations and the message's descriptor;
a difference between the two is found then (and by a test that walks every contract). Enumerations are matched by member
name, so that their order may differ. A member or field that this version does not know takes the field's default; it is
an error only where there is none (promise 9). A field whose default is not protobuf's zero is `optional` in the
message: who does not know it does not say zero.
"""

import enum
import types
import typing
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec
from google.protobuf.descriptor import EnumDescriptor
from google.protobuf.message import DecodeError, Message

from postbus.core.errors import ErrorKind, MailError

Value = TypeVar("Value", bound=msgspec.Struct)
_MISSING = object()


class ContractMismatchError(TypeError):
    """A struct and its message do not have the same fields."""


def encode(value: msgspec.Struct, message_type: type[Message]) -> bytes:
    """The protobuf form of `value`."""
    return to_message(value, message_type).SerializeToString()


def decode(data: bytes, message_type: type[Message], kind: type[Value]) -> Value:
    """The value of a protobuf form. Raises MailError: INVALID for octets that are no such message."""
    message = message_type()
    try:
        message.ParseFromString(data)
    except DecodeError as error:
        raise MailError(ErrorKind.INVALID, f"not a {message_type.DESCRIPTOR.full_name}") from error
    return from_message(message, kind)


def to_message(value: msgspec.Struct, message_type: type[Message]) -> Message:
    """`value` as a message. Raises MailError: INVALID for a number or text that has no form in protobuf."""
    message = message_type()
    for write in _plan(type(value), message_type).writers:
        write(value, message)
    return message


def from_message(message: Message, kind: type[Value]) -> Value:
    """A message as a value of `kind`."""
    known: dict[str, Any] = {}
    for name, read in _plan(kind, type(message)).readers:
        found = read(message)
        if found is not _MISSING:
            known[name] = found
    try:
        return kind(**known)
    except TypeError as error:
        raise MailError(ErrorKind.INVALID, f"{message.DESCRIPTOR.full_name}: {error}") from error


class _Plan(msgspec.Struct, frozen=True):
    writers: tuple[Callable[[Any, Any], None], ...]
    readers: tuple[tuple[str, Callable[[Any], Any]], ...]


_plans: dict[tuple[type, type], _Plan] = {}


def _plan(kind: type[msgspec.Struct], message_type: type[Message]) -> _Plan:
    plan = _plans.get((kind, message_type))
    if plan is None:
        plan = _plans[kind, message_type] = _make_plan(kind, message_type)
    return plan


def _make_plan(kind: type[msgspec.Struct], message_type: type[Message]) -> _Plan:
    hints = typing.get_type_hints(kind)
    fields = message_type.DESCRIPTOR.fields_by_name
    if set(fields) != set(kind.__struct_fields__):
        difference = sorted(set(fields) ^ set(kind.__struct_fields__))
        raise ContractMismatchError(f"{kind.__name__}: {', '.join(difference)}")
    pairs = [(name, _field(name, hints[name], fields[name])) for name in kind.__struct_fields__]
    return _Plan(tuple(pair[0] for _, pair in pairs), tuple((name, pair[1]) for name, pair in pairs))


def _bare(annotation: Any) -> tuple[Any, bool, bool]:
    """The type below NewType, Optional and tuple[T, ...]; whether it is optional; whether it is a tuple."""
    optional = repeated = False
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        annotation = next(part for part in typing.get_args(annotation) if part is not type(None))
        optional = True
    if typing.get_origin(annotation) is tuple:
        annotation = typing.get_args(annotation)[0]
        repeated = True
    while hasattr(annotation, "__supertype__"):
        annotation = annotation.__supertype__
    return annotation, optional, repeated


def _field(name: str, annotation: Any, field: Any) -> tuple[Callable[..., None], Callable[..., Any]]:
    bare, optional, repeated = _bare(annotation)
    if repeated != field.is_repeated:
        raise ContractMismatchError(f"{field.full_name}: repeated on one side only")
    if isinstance(bare, type) and issubclass(bare, msgspec.Struct):
        return _struct_field(name, bare, repeated, optional)
    if optional and not field.has_presence:
        raise ContractMismatchError(f"{field.full_name}: optional on one side only")
    pack, unpack = _converters(bare, field)
    if repeated:
        return _repeated_field(name, pack, unpack)
    return _single_field(name, pack, unpack, has_presence=field.has_presence, absent=None if optional else _MISSING)


def _same(value: Any) -> Any:
    return value


def _converters(bare: Any, field: Any) -> tuple[Callable[[Any], Any], Callable[[Any], Any]]:
    if not (isinstance(bare, type) and issubclass(bare, enum.Enum)):
        return _same, _same
    numbers, members = enum_tables(bare, field.enum_type)
    return numbers.__getitem__, lambda number: members.get(number, _MISSING)


def enum_tables(kind: type[enum.Enum], descriptor: EnumDescriptor) -> tuple[dict[Any, int], dict[int, Any]]:
    """Member → number and number → member; members are matched by name below the enumeration's prefix."""
    zero = descriptor.values_by_number[0].name
    prefix = zero.removesuffix("UNSPECIFIED")
    numbers = {value.name.removeprefix(prefix): value.number for value in descriptor.values if value.number}
    missing = {member.name for member in kind} ^ set(numbers)
    if missing:
        raise ContractMismatchError(f"{kind.__name__}: {', '.join(sorted(missing))}")
    return {member: numbers[member.name] for member in kind}, {numbers[member.name]: member for member in kind}


def _struct_field(
    name: str, kind: type[msgspec.Struct], repeated: bool, optional: bool
) -> tuple[Callable[..., None], Callable[..., Any]]:
    def write_into(value: msgspec.Struct, target: Message) -> None:
        for write in _plan(type(value), type(target)).writers:
            write(value, target)

    def write(owner: Any, message: Any) -> None:
        value = getattr(owner, name)
        if value is not None:
            target = getattr(message, name)
            target.SetInParent()
            write_into(value, target)

    def write_all(owner: Any, message: Any) -> None:
        target = getattr(message, name)
        for value in getattr(owner, name):
            write_into(value, target.add())

    def read(message: Any) -> Any:
        if message.HasField(name):
            return from_message(getattr(message, name), kind)
        return None if optional else _MISSING

    def read_all(message: Any) -> Any:
        return tuple(from_message(part, kind) for part in getattr(message, name))

    return (write_all, read_all) if repeated else (write, read)


def _repeated_field(
    name: str, pack: Callable[[Any], Any], unpack: Callable[[Any], Any]
) -> tuple[Callable[..., None], Callable[..., Any]]:
    def write(owner: Any, message: Any) -> None:
        getattr(message, name).extend(map(pack, getattr(owner, name)))

    def read(message: Any) -> Any:
        return tuple(value for value in map(unpack, getattr(message, name)) if value is not _MISSING)

    return write, read


def _single_field(
    name: str, pack: Callable[[Any], Any], unpack: Callable[[Any], Any], *, has_presence: bool, absent: Any
) -> tuple[Callable[..., None], Callable[..., Any]]:
    def write(owner: Any, message: Any) -> None:
        value = getattr(owner, name)
        if value is None:
            return
        try:
            setattr(message, name, pack(value))
        except ValueError as error:  # a number of too many bits, or text that is no Unicode
            raise MailError(ErrorKind.INVALID, f"{name}: out of range") from error

    def read(message: Any) -> Any:
        return absent if has_presence and not message.HasField(name) else unpack(getattr(message, name))

    return write, read
