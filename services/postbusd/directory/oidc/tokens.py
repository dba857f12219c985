"""Signed tokens (RFC 7519): which are good, for whom. Pure: keys and time are arguments.

Only asymmetric signatures count: with `none`, or a MAC under a public key, anybody could write them.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

import jwt
import msgspec

from postbus.core.errors import ErrorKind, MailError
from postbusd.directory.oidc.ports import Claims

ALGORITHMS: Final = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
LEEWAY_SECONDS: Final = 60
MAX_TOKEN_CHARACTERS: Final = 16_384
MAX_KEYS: Final = 50


class Key(msgspec.Struct, frozen=True, kw_only=True):
    """A public key of the provider."""

    public: Any
    """As the cryptography library has it."""
    algorithm: str
    """The only one that it is for; empty: any that it can be used with."""


Keys = Mapping[str, Key]
"""By `kid`; of keys without one by their position."""


def refuse(reason: str) -> MailError:
    """The token is not good."""
    return MailError(ErrorKind.UNAUTHENTICATED, f"token: {reason}")


def read_keys(document: Claims) -> dict[str, Key]:
    """A JWK Set (RFC 7517 §5): keys for signatures that we know the kind of."""
    found = document.get("keys")
    keys: dict[str, Key] = {}
    for number, each in enumerate(found[:MAX_KEYS] if isinstance(found, list) else ()):
        if not isinstance(each, dict) or each.get("use", "sig") != "sig" or each.get("kty") == "oct":
            continue
        try:
            public = jwt.PyJWK(each).key
        except (jwt.PyJWTError, ValueError, TypeError, KeyError):
            continue
        keys[str(each.get("kid") or number)] = Key(public=public, algorithm=str(each.get("alg") or ""))
    return keys


def is_signed_form(token: str) -> bool:
    """Whether it has the form of a signed token; others are opaque."""
    try:
        return isinstance(jwt.get_unverified_header(token).get("alg"), str)
    except (jwt.PyJWTError, ValueError):
        return False


def key_id(token: str) -> str:
    """The `kid` of a token in that form; empty: none."""
    return str(jwt.get_unverified_header(token).get("kid") or "")


def candidates(keys: Keys, kid: str) -> list[Key]:
    """The keys that may have signed it."""
    if kid:
        return [keys[kid]] if kid in keys else []
    return list(keys.values())


def verify(token: str, keys: Sequence[Key], issuer: str, now: float) -> Claims:
    """The claims of a token that one of these keys has signed, which is of the issuer and in its time.

    Raises MailError: UNAUTHENTICATED.
    """
    algorithm = jwt.get_unverified_header(token).get("alg")
    if algorithm not in ALGORITHMS:
        raise refuse("is not signed, or not by a key that only its issuer has")
    for key in keys:
        if key.algorithm not in ("", algorithm):
            continue
        try:
            claims: Claims = jwt.decode(
                token,
                key=key.public,
                algorithms=[algorithm],
                options={"verify_exp": False, "verify_nbf": False, "verify_iat": False, "verify_aud": False},
            )
        except (jwt.InvalidSignatureError, jwt.InvalidKeyError):
            continue
        except (jwt.PyJWTError, ValueError, TypeError) as error:
            raise refuse(f"is malformed: {type(error).__name__}") from error
        _check_time(claims, now)
        if claims.get("iss") != issuer:
            raise refuse("is of another issuer")
        return claims
    raise refuse("is signed by none of the provider's keys")


def check_time(claims: Claims, now: float) -> None:
    """Of what introspection tells, where `exp` may be absent. Raises MailError: UNAUTHENTICATED."""
    if "exp" in claims:
        _check_time(claims, now)


def is_for(claims: Claims, accepted: Collection[str]) -> bool:
    """Whether a token is for one of these (`aud`), or was issued to one (`azp`, `client_id`)."""
    audience = claims.get("aud")
    named = [*(audience if isinstance(audience, list) else [audience]), claims.get("azp"), claims.get("client_id")]
    return any(isinstance(each, str) and each in accepted for each in named)


def is_id_token(claims: Claims) -> bool:
    """Whether it says who signed in somewhere, and opens nothing."""
    return any(name in claims for name in ("nonce", "at_hash", "c_hash")) or claims.get("typ") == "ID"


def _check_time(claims: Claims, now: float) -> None:
    expires, begins = claims.get("exp"), claims.get("nbf", 0)
    if not isinstance(expires, int | float) or not isinstance(begins, int | float):
        raise refuse("says no time")
    if expires + LEEWAY_SECONDS <= now:
        raise refuse("has expired")
    if begins - LEEWAY_SECONDS > now:
        raise refuse("is not valid yet")
