"""What an attempt came to, for one recipient or for many, and how replies become it (RFC 5321 §4.2.1, RFC 3463)."""

from typing import Final

import msgspec

from postbus.smtp.client_replies import show_reply
from postbus.smtp.replies import Reply
from postbusd.delivery.outbound.values import Outcome

_OUTCOMES: Final = {2: Outcome.SENT, 4: Outcome.DEFERRED, 5: Outcome.FAILED}


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """An outcome with its reasons; see RecipientResult for the fields."""

    outcome: Outcome
    reply: str
    status: str
    is_reply: bool = False
    relay_failed: bool = False


def answer_of(reply: Reply) -> Answer:
    """2yz is sent, 5yz is failed, all else is deferred."""
    outcome = _OUTCOMES.get(reply.code // 100, Outcome.DEFERRED)
    # A class of its own, such as 354 in the wrong place, is nobody's status.
    status = reply.enhanced or f"{reply.code // 100 if reply.code // 100 in _OUTCOMES else 4}.0.0"
    return Answer(outcome=outcome, reply=show_reply(reply), status=status, is_reply=True)


def deferred(status: str, text: str) -> Answer:
    """Our own reason to try again later."""
    return Answer(outcome=Outcome.DEFERRED, reply=text, status=status)


def failed(status: str, text: str) -> Answer:
    """Our own reason to give up."""
    return Answer(outcome=Outcome.FAILED, reply=text, status=status)


def put_off(answer: Answer) -> Answer:
    """The same as a deferral: a refusal that says something about the host, not about the message."""
    if answer.outcome is Outcome.DEFERRED:
        return answer
    return msgspec.structs.replace(answer, outcome=Outcome.DEFERRED, status=f"4{answer.status[1:]}")


def blame_relay(answer: Answer) -> Answer:
    """A deferral that is the smart host's fault."""
    return msgspec.structs.replace(put_off(answer), relay_failed=True)
