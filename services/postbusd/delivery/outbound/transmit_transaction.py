"""One transaction: a message for up to a hundred recipients, MAIL to the answer after the dot (RFC 5321 §3.3).

Pipelined where the peer offers it, so that a message costs two round trips (RFC 2920). What the peer did not offer and
the message needs is a permanent failure: nothing is converted, a signature would break.
"""

from collections.abc import Sequence
from typing import Final

import msgspec

from postbus.core.address import Address, parse_address
from postbus.core.errors import MailError
from postbus.smtp.client import Content, EndOfData
from postbus.smtp.client_capabilities import Capabilities
from postbus.smtp.client_states import ClientState
from postbus.smtp.commands import Command, Mail, Rcpt, Simple, Verb
from postbus.smtp.parameters import Body
from postbus.smtp.replies import Reply
from postbusd.delivery.outbound.transmit_answers import Answer, answer_of, blame_relay, failed, put_off
from postbusd.delivery.outbound.transmit_dialogue import BLOCK_SECONDS, Dialogue, SessionError
from postbusd.delivery.outbound.values import OutgoingMessage, OutgoingRecipient

PIECE_OCTETS: Final = 256 * 1024
"""Of the message in one write."""
_TOO_MANY: Final = frozenset({452, 552})
"""Codes of RCPT that can mean: the rest in another transaction (RFC 5321 §4.5.3.1.10)."""
_TOO_MANY_STATUS: Final = frozenset({"", "4.5.3", "5.5.3"})
_LOGIN_WANTED: Final = frozenset({530, 535, 538})
"""A smart host that wants another login than it was given (RFC 4954 §6): nobody's message is at fault."""
_DATA: Final = Simple(verb=Verb.DATA)
_RSET: Final = Simple(verb=Verb.RSET)


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """The commands of a transaction; `answers` has the recipients that are not asked for."""

    mail: Mail
    recipients: tuple[tuple[OutgoingRecipient, Rcpt], ...]
    answers: dict[str, Answer]


def plan_transaction(
    message: OutgoingMessage, recipients: Sequence[OutgoingRecipient], content: bytes, offered: Capabilities
) -> Plan | Answer:
    """The commands, or why there is no transaction."""
    fault = _find_fault(content, offered)
    if fault is not None:
        return fault
    try:
        reverse_path = parse_address(message.reverse_path) if message.reverse_path else None
    except MailError:
        return failed("5.1.7", "malformed reverse path")
    # A header that was accepted as 8-bit text without SMTPUTF8 goes on as such: nobody promised that it is UTF-8.
    needed = message.smtputf8 and not content.partition(b"\r\n\r\n")[0].isascii()
    needed = needed or (reverse_path is not None and reverse_path.needs_smtputf8)
    if needed and not offered.smtputf8:
        return failed("5.6.7", "the message needs SMTPUTF8, which the remote does not offer")
    chosen: list[tuple[OutgoingRecipient, Rcpt]] = []
    answers: dict[str, Answer] = {}
    for recipient in recipients:
        address = _parse_recipient(recipient, offered)
        if isinstance(address, Answer):
            answers[recipient.address] = address
            continue
        needed = needed or address.needs_smtputf8
        chosen.append((recipient, _make_rcpt(address, recipient, offered)))
    mail = Mail(
        reverse_path=reverse_path,
        size=None if offered.size is None else len(content),
        body=Body.SEVEN_BIT if content.isascii() else Body.EIGHT_BIT,
        smtputf8=needed,
        ret=message.ret if offered.dsn else "",
        envid=message.envid if offered.dsn else "",
    )
    return Plan(mail=mail, recipients=tuple(chosen), answers=answers)


def _find_fault(content: bytes, offered: Capabilities) -> Answer | None:
    if content.count(b"\n") != (breaks := content.count(b"\r\n")) or content.count(b"\r") != breaks:
        # No two servers agree about where such a message ends (SMTP smuggling).
        return failed("5.6.0", "the message has bare line breaks")
    if offered.size and len(content) > offered.size:
        return failed("5.3.4", f"the message has {len(content)} octets, the remote takes {offered.size}")
    if not offered.eight_bit_mime and not content.isascii():
        return failed("5.6.3", "the message is 8-bit text, which the remote does not offer to take")  # RFC 6152 §3
    return None


def _parse_recipient(recipient: OutgoingRecipient, offered: Capabilities) -> Address | Answer:
    try:
        address = parse_address(recipient.address)
    except MailError:
        return failed("5.1.3", "malformed address")
    if address.needs_smtputf8 and not offered.smtputf8:  # RFC 6531 §3.2, §3.5
        return failed("5.6.7", "the address needs SMTPUTF8, which the remote does not offer")
    return address


def _make_rcpt(address: Address, recipient: OutgoingRecipient, offered: Capabilities) -> Rcpt:
    if not offered.dsn:
        return Rcpt(forward_path=address)
    # A UTF-8 ORCPT needs SMTPUTF8 (RFC 6533 §3); without it the address is what it was before.
    orcpt = recipient.orcpt if offered.smtputf8 or recipient.orcpt.isascii() else ""
    return Rcpt(forward_path=address, notify=recipient.notify, orcpt=orcpt)


class Transaction:
    """Runs once; `answers` then has every recipient but those of `again`."""

    def __init__(self, dialogue: Dialogue, plan: Plan, content: bytes, *, to_relay: bool) -> None:
        self.answers = dict(plan.answers)
        self.dot_is_out = False
        """From here on a lost connection leaves the outcome unknown."""
        self.again = False
        """Whether some recipients want another transaction."""
        self._dialogue = dialogue
        self._engine = dialogue.engine
        self._plan = plan
        self._content = content
        self._to_relay = to_relay
        self._accepted: list[str] = []

    async def run(self) -> None:
        """To the end. Raises SessionError; `answers` then has what was answered before."""
        if not self._plan.recipients:
            return
        if self._engine.state is not ClientState.GREETED:
            reply = await self._dialogue.ask(_RSET, Verb.RSET)
            if not reply.is_positive:
                raise SessionError(put_off(answer_of(reply)))
        together = self._engine.capabilities.pipelining
        data = await (self._ask_together() if together else self._ask_singly())
        if data is not None:
            await self._finish(data)
        self._dialogue.transactions += 1

    async def _ask_together(self) -> Reply | None:
        group: tuple[Command, ...] = (self._plan.mail, *(rcpt for _, rcpt in self._plan.recipients), _DATA)
        await self._dialogue.write(b"".join([self._engine.send(command) for command in group]))
        mail = await self._dialogue.hear(Verb.MAIL)
        for recipient, _ in self._plan.recipients:
            reply = await self._dialogue.hear(Verb.RCPT)
            self._note(recipient, reply if mail.is_positive else mail)
        return await self._dialogue.hear(Verb.DATA)

    async def _ask_singly(self) -> Reply | None:
        mail = await self._dialogue.ask(self._plan.mail, Verb.MAIL)
        for recipient, rcpt in self._plan.recipients:
            reply = await self._dialogue.ask(rcpt, Verb.RCPT) if mail.is_positive else mail
            self._note(recipient, reply)
        return await self._dialogue.ask(_DATA, Verb.DATA) if self._accepted else None

    def _note(self, recipient: OutgoingRecipient, reply: Reply) -> None:
        if reply.is_positive:
            self._accepted.append(recipient.address)
        elif reply.code in _TOO_MANY and reply.enhanced in _TOO_MANY_STATUS and self._accepted:
            self.again = True
        else:
            answer = answer_of(reply)
            blamed = self._to_relay and reply.code in _LOGIN_WANTED
            self.answers[recipient.address] = blame_relay(answer) if blamed else answer

    async def _finish(self, data: Reply) -> None:
        if self._engine.state is ClientState.EMPTY_DATA:
            await self._dialogue.ask(EndOfData(), Verb.END)  # whatever it says, nobody was to get it (RFC 2920 §3.1)
        elif self._engine.state is ClientState.DATA:
            self._settle(await self._send_content())
        else:
            self._settle(data)

    async def _send_content(self) -> Reply:
        content = self._content
        for start in range(0, len(content) or 1, PIECE_OCTETS):
            piece = self._engine.send(Content(content[start : start + PIECE_OCTETS]))
            if start + PIECE_OCTETS >= len(content):
                piece += self._engine.send(EndOfData())
                self.dot_is_out = True
            await self._dialogue.write(piece, BLOCK_SECONDS)
        return await self._dialogue.hear(Verb.END)

    def _settle(self, reply: Reply) -> None:
        answer = answer_of(reply)
        for address in self._accepted:
            self.answers[address] = answer
