"""SASL with bearer tokens: OAUTHBEARER (RFC 7628) and XOAUTH2, the form before it that mail programs still speak."""

import json
from typing import Final

import msgspec

MECHANISMS: Final = ("OAUTHBEARER", "XOAUTH2")
_SEPARATOR: Final = b"\x01"
_ESCAPES: Final = {"2C": ",", "3D": "="}


class BearerResponse(msgspec.Struct, frozen=True, kw_only=True):
    """What the client proves itself with; never logged."""

    mailbox: str
    """The address that it wants to open; empty: the user's own."""
    token: str


class BearerError(ValueError):
    """A response that is none of the mechanism's; the text says why."""


def read_bearer(mechanism: str, response: bytes) -> BearerResponse:
    """The client's response, base64 undone. Raises BearerError."""
    try:
        pairs = [piece.decode("utf-8") for piece in response.split(_SEPARATOR)]
    except UnicodeDecodeError as error:
        raise BearerError("the response is not UTF-8") from error
    if len(pairs) < 3 or pairs[-2:] != ["", ""]:
        raise BearerError(f"the response is not {mechanism}'s")
    mailbox = _read_gs2(pairs[0]) if mechanism == "OAUTHBEARER" else _read_user(pairs[0])
    values = dict(pair.partition("=")[::2] for pair in pairs[1:-2])
    scheme, _, token = values.get("auth", "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise BearerError("the response has no bearer token")
    return BearerResponse(mailbox=mailbox, token=token.strip())


def format_refusal(mechanism: str, configuration_url: str) -> bytes:
    """What a refused client is told before the exchange fails (RFC 7628 §3.2.2)."""
    if mechanism == "OAUTHBEARER":
        told = {"status": "invalid_token", "openid-configuration": configuration_url}
    else:
        told = {"status": "401", "schemes": "bearer", "scope": "openid"}
    return json.dumps(told).encode()


def _read_gs2(header: str) -> str:
    """`n,a=user@example.org,` (RFC 5801 §4); channels are not bound."""
    flag, _, rest = header.partition(",")
    name, end, more = rest.partition(",")
    if flag not in ("n", "y") or not end or more:
        raise BearerError("the response is not OAUTHBEARER's")
    if not name:
        return ""
    if not name.startswith("a="):
        raise BearerError("the response is not OAUTHBEARER's")
    first, *others = name[2:].split("=")
    if any(each[:2] not in _ESCAPES for each in others):
        raise BearerError("the response is not OAUTHBEARER's")
    return first + "".join(_ESCAPES[each[:2]] + each[2:] for each in others)


def _read_user(pair: str) -> str:
    if not pair.startswith("user="):
        raise BearerError("the response is not XOAUTH2's")
    return pair.removeprefix("user=")
