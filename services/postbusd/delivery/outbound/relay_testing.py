"""Tries a domain's smart host as mail would use it: address, connection, TLS, login, then two senders of the domain.

Without a recipient each sender's transaction ends before DATA and no mail leaves. Some providers judge the sender only
after the message: with a recipient each sender sends a short one.
"""

import asyncio
import os
from collections.abc import Sequence
from typing import Final, Protocol

import msgspec

from postbus.contracts.directory import FindRouteRequest, RouteFinder
from postbus.contracts.domains import DomainAdmin
from postbus.contracts.objects import ObjectRequest
from postbus.contracts.relay_test import (
    RELAY_TEST_SECONDS,
    RelayStage,
    RelayStep,
    RelayTestReply,
    RelayTestRequest,
)
from postbus.contracts.relays import Relay, RelaySecurity
from postbus.contracts.standing import ADMINISTRATOR, StandingFinder, StandingRequest
from postbus.core.address import Address, parse_address
from postbus.core.clock import Clock
from postbus.core.egress import Network, is_allowed
from postbus.core.errors import ErrorKind, MailError
from postbus.dsn.fields import format_date
from postbus.smtp.client import Content, EndOfData
from postbus.smtp.client_replies import show_reply
from postbus.smtp.commands import Mail, Rcpt, Simple, Verb
from postbus.smtp.relay_presets import advise
from postbus.smtp.replies import Reply
from postbusd.delivery.outbound.routing import Endpoint, Router
from postbusd.delivery.outbound.transmit_dialogue import Dialogue, SessionError
from postbusd.delivery.outbound.transmit_opening import Opener
from postbusd.delivery.outbound.values import NextHop

SINGLE_ADDRESS: Final = "It takes a single sender only: verify the whole domain there, not one address."
POSTMASTER: Final = "postmaster"
GO_ON: Final = 354
"""The answer to DATA (RFC 5321 §4.2.2)."""

_STAGES: Final = {
    RelaySecurity.TLS: (RelayStage.CONNECT, RelayStage.TLS, RelayStage.GREETING),
    RelaySecurity.STARTTLS: (RelayStage.CONNECT, RelayStage.GREETING, RelayStage.TLS),
    RelaySecurity.NONE: (RelayStage.CONNECT, RelayStage.GREETING),
}


class RelayDirectory(RouteFinder, DomainAdmin, StandingFinder, Protocol):
    """What directory is asked."""


class _Steps:
    """The stages that have been gone through, with their times."""

    def __init__(self, clock: Clock) -> None:
        self.done: list[RelayStep] = []
        self._clock = clock
        self._since = clock.monotonic()

    def note(self, stage: RelayStage, *, ok: bool = True, reply: str = "", advice: str = "") -> None:
        now = self._clock.monotonic()
        took = round(1000 * (now - self._since))
        self._since = now
        known = "" if ok else advice or advise(reply)
        self.done.append(RelayStep(stage=stage, ok=ok, reply=reply, advice=known, milliseconds=took))


class RelayTrials:
    """The RelayTester; one test of a domain at a time."""

    def __init__(
        self,
        *,
        directory: RelayDirectory,
        router: Router,
        opener: Opener,
        clock: Clock,
        egress_allow: Sequence[Network],
    ) -> None:
        self._directory = directory
        self._router = router
        self._opener = opener
        self._clock = clock
        self._egress_allow = egress_allow
        self._under_way: set[str] = set()

    async def test_relay(self, request: RelayTestRequest) -> RelayTestReply:
        """Within RELAY_TEST_SECONDS."""
        domain = (await self._directory.get_domain(ObjectRequest(name=request.domain, actor=request.actor))).name
        recipient = _read_recipient(request.recipient) if request.recipient else None
        relay = await self._choose(domain, request.relay)
        if domain in self._under_way:
            raise MailError(ErrorKind.CONFLICT, f"the relay of {domain} is being tested")
        self._under_way.add(domain)
        try:
            return await self._test(domain, relay, recipient, may_go_inside=await self._is_superadmin(request.actor))
        finally:
            self._under_way.discard(domain)

    async def _choose(self, domain: str, wanted: Relay | None) -> Relay:
        """With the stored password where it is of the same host and username."""
        stored = (await self._directory.find_route(FindRouteRequest(domain=domain))).relay
        if wanted is None:
            if stored is None:
                raise MailError(ErrorKind.NOT_FOUND, f"relay: {domain} has none")
            return stored
        if wanted.username and wanted.security is RelaySecurity.NONE:
            raise MailError(ErrorKind.INVALID, "relay.security: a password is never sent in plain text")
        if wanted.username and not wanted.password:
            same = stored is not None and (stored.host, stored.username) == (wanted.host, wanted.username)
            if stored is None or not same:
                raise MailError(ErrorKind.INVALID, "relay.password: a username needs one")
            return msgspec.structs.replace(wanted, password=stored.password)
        return wanted

    async def _is_superadmin(self, actor: str) -> bool:
        if actor == ADMINISTRATOR:
            return True
        return (await self._directory.find_standing(StandingRequest(actor=actor))).superadmin

    async def _test(
        self, domain: str, relay: Relay, recipient: Address | None, *, may_go_inside: bool
    ) -> RelayTestReply:
        steps = _Steps(self._clock)
        sent = 0
        try:
            async with asyncio.timeout(RELAY_TEST_SECONDS):
                endpoint = await self._find(domain, relay, steps, may_go_inside=may_go_inside)
                dialogue = await self._open(endpoint, relay, steps) if endpoint is not None else None
                if dialogue is not None:
                    sent = await self._try_senders(dialogue, domain, recipient, steps)
        except TimeoutError:
            stage = _next_stage(relay, steps.done)
            steps.note(stage, ok=False, reply=f"no answer within {RELAY_TEST_SECONDS:.0f} s: given up")
        return RelayTestReply(host=relay.host, port=relay.port, steps=tuple(steps.done), sent=sent)

    async def _find(self, domain: str, relay: Relay, steps: _Steps, *, may_go_inside: bool) -> Endpoint | None:
        road = await self._router.find(NextHop(domain=domain, relay=relay))
        if road.answer is not None:
            steps.note(RelayStage.ADDRESS, ok=False, reply=road.answer.reply)
            return None
        # What an answer tells of the network inside is for those who rule the installation.
        allowed = [each for each in road.endpoints if may_go_inside or is_allowed(each.address, self._egress_allow)]
        if not allowed:
            reason = f"{relay.host} has a private address, which only a superadmin may test"
            steps.note(RelayStage.ADDRESS, ok=False, reply=reason)
            return None
        steps.note(RelayStage.ADDRESS, reply=allowed[0].address)
        return allowed[0]

    async def _open(self, endpoint: Endpoint, relay: Relay, steps: _Steps) -> Dialogue | None:
        try:
            return await self._opener.open(endpoint, relay, steps.note)
        except SessionError as error:
            steps.note(_next_stage(relay, steps.done), ok=False, reply=error.answer.reply)
            return None

    async def _try_senders(self, dialogue: Dialogue, domain: str, recipient: Address | None, steps: _Steps) -> int:
        """The number of messages that were taken."""
        senders = {
            RelayStage.ANY_SENDER: Address(local_part=f"postbus-test-{os.urandom(4).hex()}", domain=domain),
            RelayStage.POSTMASTER: Address(local_part=POSTMASTER, domain=domain),
        }
        sent = 0
        try:
            for stage, sender in senders.items():
                reply = await self._transact(dialogue, sender, recipient)
                advice = advise(show_reply(reply)) or SINGLE_ADDRESS
                steps.note(stage, ok=reply.is_positive, reply=show_reply(reply), advice=advice)
                sent += reply.is_positive and recipient is not None
            await dialogue.quit()
        except SessionError as error:
            steps.note(_next_sender(steps.done), ok=False, reply=error.answer.reply)
            dialogue.abort()
        except BaseException:
            dialogue.abort()
            raise
        return sent

    async def _transact(self, dialogue: Dialogue, sender: Address, recipient: Address | None) -> Reply:
        """The first refusal, or the last answer. Raises SessionError."""
        target = recipient or Address(local_part=POSTMASTER, domain=sender.domain)
        reply = await dialogue.ask(Mail(reverse_path=sender), Verb.MAIL)
        if reply.is_positive:
            reply = await dialogue.ask(Rcpt(forward_path=target), Verb.RCPT)
        if recipient is not None and reply.is_positive:
            reply = await dialogue.ask(Simple(verb=Verb.DATA), Verb.DATA)
        if recipient is None or reply.code != GO_ON:
            await dialogue.ask(Simple(verb=Verb.RSET), Verb.RSET)
            return reply
        await dialogue.write(dialogue.engine.send(Content(self._message(sender, recipient))))
        return await dialogue.ask(EndOfData(), Verb.END)

    def _message(self, sender: Address, recipient: Address) -> bytes:
        header = {
            "From": str(sender),
            "To": str(recipient),
            "Subject": "Test of the outgoing relay",
            "Date": format_date(self._clock.now_ms()),
            "Message-ID": f"<{os.urandom(12).hex()}@{sender.domain}>",
            "Auto-Submitted": "auto-generated",
        }
        lines = [*(f"{name}: {value}" for name, value in header.items()), "", f"{sender} may send by this relay.", ""]
        return "\r\n".join(lines).encode()


def _next_stage(relay: Relay, done: Sequence[RelayStep]) -> RelayStage:
    """The one that was under way when all before it had gone well."""
    stages = [RelayStage.ADDRESS, *_STAGES[relay.security], *([RelayStage.LOGIN] if relay.username else [])]
    noted = {step.stage for step in done}
    return next((stage for stage in stages if stage not in noted), _next_sender(done))


def _next_sender(done: Sequence[RelayStep]) -> RelayStage:
    return RelayStage.POSTMASTER if any(step.stage is RelayStage.ANY_SENDER for step in done) else RelayStage.ANY_SENDER


def _read_recipient(text: str) -> Address:
    try:
        address = parse_address(text)
    except MailError as error:
        raise MailError(ErrorKind.INVALID, f"recipient: {error.detail}") from error
    if address.needs_smtputf8:
        raise MailError(ErrorKind.INVALID, "recipient: an address in ASCII")
    return address
