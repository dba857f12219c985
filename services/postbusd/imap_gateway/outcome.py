"""Learns the outcome of a change whose answer got lost, before the client is answered (architecture §4).

A change is repeated with the same operation key, or is one that changes nothing the second time; so the answer to the
repetition is the answer to the change. When none is to be had in time, OutcomeUnknownError goes on to the session,
which says BYE: a NO would be a lie about something that may have happened.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

from postbus.core.errors import ErrorKind, MailError
from postbus.mailstore.database import OutcomeUnknownError
from postbusd.imap_gateway.state import SessionState

log = logging.getLogger(__name__)

FIRST_PAUSE_SECONDS = 0.1
LAST_PAUSE_SECONDS = 2.0

Result = TypeVar("Result")


async def settle(session: SessionState, change: Callable[[], Awaitable[Result]]) -> Result:
    """Runs `change`, again and again for `outcome_seconds` when its outcome is unknown.

    Raises OutcomeUnknownError when it stays so; any other MailError is an answer.
    """
    try:
        return await change()
    except OutcomeUnknownError as error:
        log.warning("imap.outcome.unknown", extra={"session_id": session.session_id, "reason": error.detail})
        lost = error
    try:
        async with asyncio.timeout(session.deps.settings.outcome_seconds):
            return await _repeat(change)
    except TimeoutError:
        raise lost from None


async def _repeat(change: Callable[[], Awaitable[Result]]) -> Result:
    pause = FIRST_PAUSE_SECONDS
    while True:
        try:
            return await change()
        except MailError as error:
            if error.kind is not ErrorKind.UNAVAILABLE:
                raise
        await asyncio.sleep(pause)
        pause = min(2 * pause, LAST_PAUSE_SECONDS)
