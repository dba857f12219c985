"""From an endpoint to a session that takes mail: connection, banner, EHLO, TLS, login.

To an MX, TLS is opportunistic: any certificate will do (RFC 7435 §3), and where the handshake fails a new connection
goes without. To a smart host TLS is what the administrator said, with a valid certificate, and a password never
travels without it. What goes wrong here says nothing about a message: every refusal is a deferral.
"""

import asyncio
from collections.abc import Awaitable, Callable

from postbus.contracts.relay_test import RelayStage
from postbus.contracts.relays import Relay, RelaySecurity
from postbus.core.errors import ProtocolError
from postbus.smtp.client_sasl import ClientSasl, choose_mechanism
from postbus.smtp.commands import Hello, Simple, Verb
from postbus.smtp.replies import Reply
from postbus.smtp.sasl import Credentials
from postbusd.delivery.outbound.routing import Endpoint
from postbusd.delivery.outbound.transmit_answers import answer_of, blame_relay, deferred, failed, put_off
from postbusd.delivery.outbound.transmit_dialogue import (
    CONNECT_SECONDS,
    Dialogue,
    NoTlsError,
    SessionError,
)
from postbusd.delivery.outbound.transmit_ports import Connector, StreamError, Trust

Tell = Callable[[RelayStage], None]
"""Called when a stage has gone well."""


class LoopError(SessionError):
    """The peer is this installation; `answer` is final."""


class Opener:
    """Opens sessions."""

    def __init__(self, connector: Connector, mail_host: str) -> None:
        """`mail_host` is what we call ourselves in EHLO."""
        self._connector = connector
        self._mail_host = mail_host

    async def open(self, endpoint: Endpoint, relay: Relay | None, tell: Tell = lambda stage: None) -> Dialogue:
        """A session that is ready for MAIL. Raises SessionError; nothing stays open then. `tell`: of a smart host."""
        if relay is None:
            try:
                return await self._connect(endpoint, self._begin_mx)
            except NoTlsError:
                return await self._connect(endpoint, self._greet)
        try:
            if relay.username and relay.security is RelaySecurity.NONE:
                raise SessionError(deferred("4.7.4", f"{relay.host} would get a password without TLS: not tried"))
            return await self._connect(endpoint, lambda dialogue: self._begin_relay(dialogue, relay, tell))
        except SessionError as error:
            error.answer = blame_relay(error.answer)
            raise

    async def _connect(self, endpoint: Endpoint, begin: Callable[[Dialogue], Awaitable[None]]) -> Dialogue:
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                stream = await self._connector.connect(endpoint.address, endpoint.port)
        except (StreamError, TimeoutError) as error:
            where = f"{endpoint.host}[{endpoint.address}]:{endpoint.port}"
            raise SessionError(deferred("4.4.1", f"no connection to {where}: {str(error) or 'out of time'}")) from error
        dialogue = Dialogue(endpoint, stream)
        try:
            await begin(dialogue)
        except SessionError as error:
            error.spoke = dialogue.spoke
            if isinstance(error, NoTlsError):
                dialogue.abort()  # nobody knows what the peer would take a QUIT for
            else:
                await dialogue.quit()
            raise
        except BaseException:
            dialogue.abort()
            raise
        return dialogue

    async def _greet(self, dialogue: Dialogue) -> None:
        """Banner and EHLO, HELO for a peer that knows no EHLO (RFC 5321 §3.2)."""
        _check(await dialogue.hear(Verb.CONNECT))
        reply = await dialogue.ask(Hello(extended=True, domain=self._mail_host), Verb.EHLO)
        if reply.is_permanent:
            reply = await dialogue.ask(Hello(extended=False, domain=self._mail_host), Verb.HELO)
        _check(reply)
        if reply.text.partition(" ")[0].lower() == self._mail_host.lower():
            raise LoopError(failed("5.4.6", f"{dialogue.where} is this host itself: mail loops back"))

    async def _begin_mx(self, dialogue: Dialogue) -> None:
        await self._greet(dialogue)
        if not dialogue.engine.capabilities.starttls:
            return
        reply = await dialogue.ask(Simple(verb=Verb.STARTTLS), Verb.STARTTLS)
        if not reply.is_positive:
            return  # in plain text, then: who offers TLS and has none today still takes mail
        await dialogue.start_tls(Trust.ANYBODY)
        try:
            await self._greet_again(dialogue)
        except SessionError as error:
            # With TLS 1.3 a peer that dislikes the handshake says so after it.
            raise error if error.answer.is_reply else NoTlsError(error.answer) from error

    async def _begin_relay(self, dialogue: Dialogue, relay: Relay, tell: Tell) -> None:
        tell(RelayStage.CONNECT)
        if relay.security is RelaySecurity.TLS:
            await dialogue.start_tls(Trust.VERIFIED)
            tell(RelayStage.TLS)
        await self._greet(dialogue)
        tell(RelayStage.GREETING)
        if relay.security is RelaySecurity.STARTTLS:
            if not dialogue.engine.capabilities.starttls:
                raise SessionError(deferred("4.7.4", f"{dialogue.where} offers no STARTTLS"))
            _check(await dialogue.ask(Simple(verb=Verb.STARTTLS), Verb.STARTTLS))
            await dialogue.start_tls(Trust.VERIFIED)
            await self._greet_again(dialogue)
            tell(RelayStage.TLS)
        if relay.username:
            await _login(dialogue, Credentials(username=relay.username, password=relay.password))
            tell(RelayStage.LOGIN)

    async def _greet_again(self, dialogue: Dialogue) -> None:
        """What was offered in plain text counts no more (RFC 3207 §4.2)."""
        _check(await dialogue.ask(Hello(extended=True, domain=self._mail_host), Verb.EHLO))


async def _login(dialogue: Dialogue, credentials: Credentials) -> None:
    mechanism = choose_mechanism(dialogue.engine.capabilities.auth)
    if mechanism is None:
        raise SessionError(deferred("4.7.4", f"{dialogue.where} offers neither AUTH PLAIN nor LOGIN"))
    try:
        sasl = ClientSasl(mechanism, credentials)
        reply = await dialogue.ask(sasl.start(), Verb.AUTH)
        while reply.code < 400 and not reply.is_positive:
            reply = await dialogue.ask(sasl.respond(), Verb.RESPONSE)
    except ProtocolError as error:
        raise SessionError(deferred("4.7.0", f"no login at {dialogue.where}: {error}")) from error
    _check(reply)


def _check(reply: Reply) -> None:
    """Raises SessionError for a refusal: deferred, because it says nothing about a message."""
    if not reply.is_positive:
        raise SessionError(put_off(answer_of(reply)))
