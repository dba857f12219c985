"""A scan as octets: MessagePack arrays, as they travel in `mail.accepted` and rest in the store.

Fields that a newer version appended are passed over, missing ones take their defaults (promise 9).
"""

import msgspec

from postbus.core.errors import ErrorKind, MailError
from postbus.mime.values import Scan

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Scan)


def encode_scan(scan: Scan) -> bytes:
    """The stored form."""
    return _encoder.encode(scan)


def decode_scan(data: bytes) -> Scan:
    """The scan of a stored form. Raises MailError INTERNAL for anything else."""
    try:
        return _decoder.decode(data)
    except (msgspec.DecodeError, RecursionError) as error:
        raise MailError(ErrorKind.INTERNAL, "malformed MIME scan") from error
