"""A session whose login stands no more reads nothing from then on (architecture §6)."""

from typing import Any

import pytest

PLAIN = b"From: bob@demo.example\r\nSubject: Plain\r\n\r\nText\r\n"
ENDED = b"* BYE [AUTHENTICATIONFAILED] This login has ended, log in again"


@pytest.mark.parametrize("folder", ["", "INBOX"])
async def test_a_waiting_session_is_told_at_once(gateway: Any, folder: str) -> None:
    wire = await gateway.log_in(folder)
    gateway.authenticator.ended = True
    assert await gateway.logins.check()
    assert await wire.read_line() == ENDED
    assert await wire.read_line() == b""
    assert gateway.views.open_views == 0


async def test_an_idling_session_is_told_at_once(gateway: Any) -> None:
    wire = await gateway.log_in("INBOX")
    wire.send(b"a IDLE\r\n")
    assert await wire.read_line() == b"+ idling"
    gateway.authenticator.ended = True
    assert await gateway.logins.check()
    assert await wire.read_line() == ENDED


async def test_commands_that_were_pipelined_are_not_carried_out(gateway: Any) -> None:
    await gateway.deliver(PLAIN)
    wire = await gateway.log_in("INBOX")
    gateway.authenticator.ended = True
    checking = gateway.logins.check()
    wire.send(b"a FETCH 1 BODY[]\r\n" * 3)
    await checking
    assert await wire.read_line() == ENDED


async def test_a_login_that_stands_goes_on_with_the_quota_of_now(gateway: Any) -> None:
    wire = await gateway.log_in("INBOX")
    gateway.authenticator.quota_octets = 10
    assert await gateway.logins.check()
    wire.send(b"a APPEND INBOX {%d+}\r\n%b\r\n" % (len(PLAIN), PLAIN))
    assert (await wire.read_line()).startswith(b"a NO [OVERQUOTA]")


async def test_who_has_logged_out_is_not_asked_about(gateway: Any) -> None:
    wire = await gateway.log_in()
    await gateway.ask(wire, "a LOGOUT")
    assert await wire.read_line() == b""
    gateway.authenticator.fail_with = AssertionError("nobody is there")
    assert await gateway.logins.check()
