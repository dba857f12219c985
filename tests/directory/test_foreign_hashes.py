"""Password hashes of other systems: published vectors, what is taken and what is not."""

import base64
import hashlib

import argon2
import bcrypt
import pytest

from postbus.core.errors import ErrorKind, MailError
from postbusd.directory.foreign_hashes import is_foreign, read_foreign_hash, sha512_crypt, verify_foreign

DREPPER = [
    (
        "$6$rounds=10000$saltstringsaltstring",
        "Hello world!",
        "$6$rounds=10000$saltstringsaltst$OW1/O6BYHV6BcXZu8QVeXbDWra3Oeqh0sbHbbMCVNSnCM/UrjmM0Dp8vOuZeHBy/YTBmSK6H9qs/y3RnOaw5v.",
    ),
    (
        "$6$rounds=1400$anotherlongsaltstring",
        "a very much longer text to encrypt.  This one even stretches over morethan one line.",
        "$6$rounds=1400$anotherlongsalts$POfYwTEok97VWcjxIiSOjiykti.o/pQs.wPvMxQ6Fm7I6IoYN3CmLs66x9t0oSwbtEW7o7UmJEiDwGqd8p4ur1",
    ),
    (
        "$6$rounds=10$roundstoolow",
        "the minimum number is still observed",
        "$6$rounds=1000$roundstoolow$kUMsbe306n21p9R.FRkW3IGn.S9NPN0x50YhH1xhLsPuWGsUSklZt58jaTfF4ZEQpyUNGc0dqbpBYYBaHHrsX.",
    ),
]
"""Of "Unix crypt using SHA-256 and SHA-512", 0.6."""


def salted(scheme: str, password: str) -> str:
    digest = hashlib.new("sha1" if scheme == "SSHA" else "sha512", password.encode() + b"salt").digest()
    return f"{{{scheme}}}" + base64.b64encode(digest + b"salt").decode()


BCRYPT = bcrypt.hashpw(b"secret", bcrypt.gensalt(4)).decode()
ARGON2 = argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash("secret")
SHA512 = sha512_crypt(b"secret", "$6$saltstring")


@pytest.mark.parametrize(("setting", "password", "expected"), DREPPER)
def test_the_published_vectors(setting: str, password: str, expected: str) -> None:
    assert sha512_crypt(password.encode(), setting) == expected


@pytest.mark.parametrize(
    "text",
    [
        BCRYPT,
        BCRYPT.replace("$2b$", "$2y$"),
        BCRYPT.replace("$2b$", "$2a$"),
        f"{{BLF-CRYPT}}{BCRYPT}",
        SHA512,
        f"{{SHA512-CRYPT}}{SHA512}",
        f"{{crypt}}{SHA512}",
        salted("SSHA", "secret"),
        salted("SSHA512", "secret"),
    ],
)
def test_a_hash_that_is_taken_is_checked(text: str) -> None:
    kept = read_foreign_hash("password_hash", text)
    assert is_foreign(kept)
    assert verify_foreign(kept, "secret")
    assert not verify_foreign(kept, "Secret")
    assert read_foreign_hash("password_hash", kept) == kept


def test_argon2_is_kept_for_our_own_check() -> None:
    for text in (ARGON2, f"{{ARGON2ID}}{ARGON2}"):
        assert read_foreign_hash("password_hash", text) == ARGON2
        assert not is_foreign(ARGON2)


def test_bcrypt_counts_72_octets() -> None:
    kept = bcrypt.hashpw(b"x" * 72, bcrypt.gensalt(4)).decode()
    assert verify_foreign(kept, "x" * 100)
    assert not verify_foreign(kept, "x" * 71)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "secret",
        "5ebe2294ecd0e0f08eab7690d2a6ee69",
        "$1$abc$0123456789012345678901",
        "{MD5}abc",
        "{SSHA}",
        "{SSHA}!!!!",
        "{SSHA}" + base64.b64encode(b"x" * 20).decode(),
        BCRYPT[:-1],
        BCRYPT.replace("$04$", "$31$"),
        BCRYPT.replace("$04$", "$03$"),
        "$6$rounds=700001$x$" + "x" * 86,
        "$6$rounds=999$x$" + "x" * 86,
        SHA512[:-1],
        ARGON2.replace("m=8,", "m=9999999,"),
        ARGON2.replace("t=1,", "t=11,"),
        ARGON2.replace("p=1$", "p=9$"),
        ARGON2.replace("$argon2id$", "$argon2d$"),
        "$2b$04$" + "x" * 600,
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(MailError) as caught:
        read_foreign_hash("password_hash", text)
    assert caught.value.kind is ErrorKind.INVALID
    assert caught.value.detail.startswith("password_hash: ")
    assert len(text) < 10 or text not in caught.value.detail
