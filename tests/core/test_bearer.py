"""OAUTHBEARER (RFC 7628) and XOAUTH2: what clients send."""

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postbus.core.bearer import MECHANISMS, BearerError, BearerResponse, format_refusal, read_bearer


@pytest.mark.parametrize(
    ("mechanism", "response", "mailbox"),
    [
        (
            "OAUTHBEARER",
            b"n,a=user@example.com,\x01host=server.example.com\x01port=143\x01auth=Bearer vF9.t\x01\x01",
            None,
        ),
        ("OAUTHBEARER", b"y,,\x01auth=BEARER   vF9.t\x01\x01", ""),
        ("OAUTHBEARER", b"n,a=a=2Cb=3Dc@example.com,\x01auth=Bearer vF9.t\x01\x01", "a,b=c@example.com"),
        ("XOAUTH2", b"user=user@example.com\x01auth=Bearer vF9.t\x01\x01", None),
        ("XOAUTH2", b"user=\x01auth=Bearer vF9.t\x01\x01", ""),
    ],
)
def test_what_is_read(mechanism: str, response: bytes, mailbox: str | None) -> None:
    wanted = "user@example.com" if mailbox is None else mailbox
    assert read_bearer(mechanism, response) == BearerResponse(mailbox=wanted, token="vF9.t")


@pytest.mark.parametrize(
    ("mechanism", "response"),
    [
        ("OAUTHBEARER", b""),
        ("OAUTHBEARER", b"\x01"),
        ("OAUTHBEARER", b"n,,\x01auth=Bearer x\x01"),
        ("OAUTHBEARER", b"n,,\x01auth=Basic x\x01\x01"),
        ("OAUTHBEARER", b"n,,\x01auth=Bearer \x01\x01"),
        ("OAUTHBEARER", b"n,,\x01host=x\x01\x01"),
        ("OAUTHBEARER", b"p=tls-unique,,\x01auth=Bearer x\x01\x01"),
        ("OAUTHBEARER", b"n\x01auth=Bearer x\x01\x01"),
        ("OAUTHBEARER", b"n,b=x,\x01auth=Bearer x\x01\x01"),
        ("OAUTHBEARER", b"n,a=x=41,\x01auth=Bearer x\x01\x01"),
        ("OAUTHBEARER", b"n,a=x,y\x01auth=Bearer x\x01\x01"),
        ("OAUTHBEARER", b"n,a=\xff,\x01auth=Bearer x\x01\x01"),
        ("XOAUTH2", b"n,,\x01auth=Bearer x\x01\x01"),
        ("XOAUTH2", b"user=a@b.example\x01\x01"),
    ],
)
def test_what_is_refused(mechanism: str, response: bytes) -> None:
    with pytest.raises(BearerError):
        read_bearer(mechanism, response)


@given(st.sampled_from(MECHANISMS), st.binary(max_size=100))
def test_any_octets_are_answered(mechanism: str, response: bytes) -> None:
    with contextlib.suppress(BearerError):
        assert read_bearer(mechanism, response).token


def test_what_a_refused_client_is_told() -> None:
    told = json.loads(format_refusal("OAUTHBEARER", "https://id.example/x"))
    assert told == {"status": "invalid_token", "openid-configuration": "https://id.example/x"}
    assert json.loads(format_refusal("XOAUTH2", "https://id.example/x"))["status"] == "401"
