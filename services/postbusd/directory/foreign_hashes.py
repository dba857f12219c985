"""Password hashes of other systems: which are taken over, and how they are checked until the first login replaces them.

Taken are bcrypt, SHA-512-crypt (Ulrich Drepper, "Unix crypt using SHA-256 and SHA-512", 0.6), salted SHA-1 and SHA-512
(RFC 2307 §5.3) and Argon2 in PHC form, also with Dovecot's scheme in braces before them. Their costs are bounded, as
each login with one pays them. Pure functions; slow ones are for the hasher's threads.
"""

import base64
import binascii
import hashlib
import hmac
import re

import bcrypt

from postbus.core.errors import ErrorKind, MailError

MAX_HASH_CHARACTERS = 512
MAX_BCRYPT_COST = 15
MAX_ROUNDS = 700_000
MAX_ARGON2_KIB = 256 * 1024
MAX_ARGON2_PASSES = 10
MAX_ARGON2_LANES = 8
BCRYPT_OCTETS = 72
"""Of a password: what follows never counted."""
_DEFAULT_ROUNDS = 5_000
_MIN_ROUNDS = 1_000
_SALT_CHARACTERS = 16
_SHA1_OCTETS = 20
_SHA512_OCTETS = 64

_FORMS = "bcrypt ($2b$), SHA-512-crypt ($6$), {SSHA}, {SSHA512} or Argon2 ($argon2id$)"
_SCHEME = re.compile(r"\{(BLF-CRYPT|SHA512-CRYPT|CRYPT|ARGON2I|ARGON2ID|SSHA|SSHA512)(?:\.b64)?\}", re.IGNORECASE)
_BCRYPT = re.compile(r"\$2[aby]\$(\d\d)\$[./A-Za-z0-9]{53}\Z")
_SHA512_CRYPT = re.compile(r"\$6\$(?:rounds=(\d{1,9})\$)?([^$:\s]{0,16})\$([./0-9A-Za-z]{86})\Z")
_ARGON2 = re.compile(
    r"\$argon2id?\$v=19\$m=(\d{1,7}),t=(\d{1,3}),p=(\d{1,2})\$[A-Za-z0-9+/]{11,86}\$[A-Za-z0-9+/]{22,86}\Z"
)
_ITOA64 = "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def read_foreign_hash(field: str, text: str) -> str:
    """The hash in the form that is kept: Dovecot's scheme only where nothing else says it.

    Raises MailError: INVALID, naming the field and what is taken.
    """
    if len(text) > MAX_HASH_CHARACTERS:
        raise _invalid(field)
    found = _SCHEME.match(text)
    scheme, bare = (found[1].upper(), text[found.end() :]) if found is not None else ("", text)
    if scheme in ("SSHA", "SSHA512"):
        _read_salted(field, scheme, bare)
        return f"{{{scheme}}}{bare}"
    match = _BCRYPT.match(bare)
    if match is not None:
        _bound(field, "cost", int(match[1]), 4, MAX_BCRYPT_COST)
        return bare
    match = _SHA512_CRYPT.match(bare)
    if match is not None:
        _bound(field, "rounds", int(match[1] or _DEFAULT_ROUNDS), _MIN_ROUNDS, MAX_ROUNDS)
        return bare
    match = _ARGON2.match(bare)
    if match is not None:
        _bound(field, "memory (KiB)", int(match[1]), 8, MAX_ARGON2_KIB)
        _bound(field, "passes", int(match[2]), 1, MAX_ARGON2_PASSES)
        _bound(field, "lanes", int(match[3]), 1, MAX_ARGON2_LANES)
        return bare
    raise _invalid(field)


def is_foreign(password_hash: str) -> bool:
    """Whether `verify_foreign` knows it: everything but Argon2."""
    return password_hash.startswith(("$2", "$6$", "{SSHA"))


def verify_foreign(password_hash: str, password: str) -> bool:
    """Whether the password belongs to a hash that `read_foreign_hash` took. Slow."""
    octets = password.encode()
    if password_hash.startswith("$2"):
        return bcrypt.checkpw(octets[:BCRYPT_OCTETS], b"$2b$" + password_hash.encode()[4:])
    if password_hash.startswith("$6$"):
        return hmac.compare_digest(sha512_crypt(octets, password_hash), password_hash)
    scheme, _, encoded = password_hash.partition("}")
    digest, salt = _read_salted("password_hash", scheme[1:], encoded)
    algorithm = "sha1" if scheme == "{SSHA" else "sha512"
    return hmac.compare_digest(hashlib.new(algorithm, octets + salt, usedforsecurity=False).digest(), digest)


def sha512_crypt(password: bytes, setting: str) -> str:
    """The hash of a password, with the salt and rounds of `setting` (steps 1 to 22 of the specification)."""
    match = re.match(r"\$6\$(?:rounds=(\d+)\$)?([^$]*)", setting)
    assert match is not None
    rounds = min(max(int(match[1] or _DEFAULT_ROUNDS), _MIN_ROUNDS), 999_999_999)
    salt = match[2][:_SALT_CHARACTERS].encode()
    mixed = _start_digest(password, salt)
    of_password = _stretch(hashlib.sha512(password * len(password)).digest(), len(password))
    of_salt = _stretch(hashlib.sha512(salt * (16 + mixed[0])).digest(), len(salt))
    for number in range(rounds):
        parts = [of_password if number % 2 else mixed]
        parts += [of_salt] if number % 3 else []
        parts += [of_password] if number % 7 else []
        parts += [mixed if number % 2 else of_password]
        mixed = hashlib.sha512(b"".join(parts)).digest()
    told = f"rounds={rounds}$" if match[1] is not None else ""
    return f"$6${told}{salt.decode()}${_encode(mixed)}"


def _start_digest(password: bytes, salt: bytes) -> bytes:
    """Steps 1 to 12."""
    other = hashlib.sha512(password + salt + password).digest()
    digest = hashlib.sha512(password + salt + _stretch(other, len(password)))
    count = len(password)
    while count:
        digest.update(other if count & 1 else password)
        count >>= 1
    return digest.digest()


def _stretch(digest: bytes, octets: int) -> bytes:
    return (digest * (octets // _SHA512_OCTETS + 1))[:octets]


def _encode(digest: bytes) -> str:
    """Step 22: three octets to four characters, in the order that rotates through the digest's thirds."""
    text = []
    for number in range(21):
        triple = (number, number + 21, number + 42)
        shift = number % 3
        first, second, third = (digest[each] for each in triple[shift:] + triple[:shift])
        text.append(_to_64(first << 16 | second << 8 | third, 4))
    return "".join(text) + _to_64(digest[63], 2)


def _to_64(value: int, characters: int) -> str:
    return "".join(_ITOA64[value >> 6 * place & 63] for place in range(characters))


def _read_salted(field: str, scheme: str, encoded: str) -> tuple[bytes, bytes]:
    """Digest and salt of {SSHA} and {SSHA512}. Raises MailError: INVALID."""
    try:
        octets = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        raise _invalid(field) from None
    length = _SHA1_OCTETS if scheme == "SSHA" else _SHA512_OCTETS
    if len(octets) <= length:
        raise _invalid(field)
    return octets[:length], octets[length:]


def _bound(field: str, what: str, value: int, least: int, most: int) -> None:
    if not least <= value <= most:
        raise MailError(ErrorKind.INVALID, f"{field}: its {what} must be {least} to {most}, not {value}")


def _invalid(field: str) -> MailError:
    return MailError(ErrorKind.INVALID, f"{field}: a hash of {_FORMS}")
