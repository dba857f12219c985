"""API tokens: recognisable, checkable, random."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postbus.core.api_token import PATTERN, PREFIX, is_damaged, new_api_token

TOKEN = new_api_token(bytes(range(32)))


@given(st.binary(min_size=32, max_size=32))
def test_a_token_has_its_form_and_is_whole(entropy: bytes) -> None:
    token = new_api_token(entropy)
    assert PATTERN.fullmatch(token)
    assert not is_damaged(token)


def test_tokens_differ() -> None:
    assert len({new_api_token() for _ in range(100)}) == 100
    assert new_api_token(bytes(32)) != new_api_token(b"\xff" * 32)


@pytest.mark.parametrize("at", range(len(PREFIX), len(TOKEN)))
def test_one_wrong_character_is_found(at: int) -> None:
    other = "x" if TOKEN[at] != "x" else "y"
    assert is_damaged(TOKEN[:at] + other + TOKEN[at + 1 :])


def test_what_is_cut_or_longer_is_damaged_and_another_form_is_not() -> None:
    assert is_damaged(TOKEN[:-1])
    assert is_damaged(TOKEN + "a")
    assert is_damaged(PREFIX)
    assert not is_damaged("postbus_" + "a" * 40)
