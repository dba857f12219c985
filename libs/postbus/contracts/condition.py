"""Under which condition a change of an object is made, and what an object's state is known by."""

import hashlib

import msgspec


class Condition(msgspec.Struct, frozen=True, kw_only=True):
    """Of a request that changes an object; by itself it asks for nothing."""

    if_match: tuple[str, ...] = ()
    """`etag_of` the object as it must be before the change, or ANY: it must be there. Empty: whatever it is."""
    plan: bool = False
    """Only say what the change would lead to: everything is checked and decided as ever, and then taken back."""


ANY = "*"
"""As RFC 9110 §13.1.1 has it."""
_VOLATILE: dict[str, object] = {"used_octets": 0, "effective_quota_octets": None}
"""What changes by itself, or with another object, is no part of an object's state."""
_OCTETS = 12


def etag_of(value: msgspec.Struct) -> str:
    """What the state of an object is known by: 24 hexadecimal digits, another one after every change of it."""
    still = {name: each for name, each in _VOLATILE.items() if name in value.__struct_fields__}
    octets = msgspec.json.encode(msgspec.structs.replace(value, **still) if still else value)
    return hashlib.blake2b(octets, digest_size=_OCTETS).hexdigest()
