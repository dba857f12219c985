"""One SMTP session as questions and answers: the engine, a stream and the deadlines of RFC 5321 §4.5.3.2.

Whatever ends a session before its time (421, silence, a lost connection, nonsense) is `SessionError`, with the answer
that recipients get who have none yet.
"""

import asyncio
from typing import Final

from postbus.core.errors import LocalProtocolError, RemoteProtocolError
from postbus.smtp.client import ClientCommand, ClientEngine, ClientEvent, ReplyReceived
from postbus.smtp.client_states import ClientState
from postbus.smtp.commands import Simple, Verb
from postbus.smtp.engine import NEED_DATA
from postbus.smtp.replies import Reply
from postbusd.delivery.outbound.routing import Endpoint
from postbusd.delivery.outbound.transmit_answers import Answer, answer_of, deferred, put_off
from postbusd.delivery.outbound.transmit_ports import HandshakeError, Stream, StreamError, Trust

CONNECT_SECONDS: Final = 30.0
"""RFC 5321 §4.5.3.2 has none; the next address waits."""
HANDSHAKE_SECONDS: Final = 60.0
BANNER_SECONDS: Final = 300.0  # RFC 5321 §4.5.3.2.1
MAIL_SECONDS: Final = 300.0  # RFC 5321 §4.5.3.2.2
RCPT_SECONDS: Final = 300.0  # RFC 5321 §4.5.3.2.3
DATA_SECONDS: Final = 120.0  # RFC 5321 §4.5.3.2.4
BLOCK_SECONDS: Final = 180.0  # RFC 5321 §4.5.3.2.5: for each piece of the message
END_SECONDS: Final = 600.0  # RFC 5321 §4.5.3.2.6: shorter, and messages come twice
OTHER_SECONDS: Final = 300.0
"""EHLO, RSET, STARTTLS, AUTH: as for MAIL."""
QUIT_SECONDS: Final = 5.0
"""Nothing depends on the answer."""
LAST_WORDS_SECONDS: Final = 5.0
"""For reading why a connection broke."""

WAIT_SECONDS: Final = {
    Verb.CONNECT: BANNER_SECONDS,
    Verb.MAIL: MAIL_SECONDS,
    Verb.RCPT: RCPT_SECONDS,
    Verb.DATA: DATA_SECONDS,
    Verb.END: END_SECONDS,
    Verb.QUIT: QUIT_SECONDS,
}


class SessionError(Exception):
    """The session is over; `answer` is a deferral."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.reply)
        self.answer = answer
        self.spoke = False
        """Whether the peer has said anything."""


class NoTlsError(SessionError):
    """For want of TLS; without it there might have been one."""


class Dialogue:
    """A session with one endpoint. Every method that speaks raises SessionError."""

    def __init__(self, endpoint: Endpoint, stream: Stream) -> None:
        """The banner is awaited."""
        self.endpoint = endpoint
        self.engine = ClientEngine()
        self.spoke = False
        """Whether the peer has said anything."""
        self.transactions = 0
        """Brought to their ends."""
        self._stream = stream

    @property
    def tls(self) -> str:
        """Protocol and cipher; empty: plain text."""
        return self._stream.tls

    @property
    def where(self) -> str:
        """The peer, for people."""
        return f"{self.endpoint.host}[{self.endpoint.address}]:{self.endpoint.port}"

    async def ask(self, command: ClientCommand, verb: Verb) -> Reply:
        """Sends one command and waits for its answer."""
        await self.write(self.engine.send(command), WAIT_SECONDS.get(verb, OTHER_SECONDS))
        return await self.hear(verb)

    async def write(self, data: bytes, seconds: float = OTHER_SECONDS) -> None:
        """Writes what the engine gave."""
        try:
            async with asyncio.timeout(seconds):
                await self._stream.write(data)
        except TimeoutError:
            raise SessionError(deferred("4.4.2", f"{self.where} takes nothing any more")) from None
        except StreamError as error:
            raise SessionError(await self._last_words(error)) from error

    async def hear(self, verb: Verb) -> Reply:
        """The answer to `verb`, the next one owed."""
        try:
            event = self.engine.next_event()
            if event is NEED_DATA:
                async with asyncio.timeout(WAIT_SECONDS.get(verb, OTHER_SECONDS)):
                    event = await self._wait_event()
        except TimeoutError:
            raise SessionError(deferred("4.4.2", f"{self.where} did not answer {verb} in time")) from None
        except RemoteProtocolError as error:
            raise SessionError(deferred("4.5.0", f"{self.where} does not speak SMTP: {error}")) from error
        if not isinstance(event, ReplyReceived):
            raise SessionError(deferred("4.4.2", f"lost the connection to {self.where} before the answer to {verb}"))
        self.spoke = True
        if self.engine.state is ClientState.CLOSED and verb is not Verb.QUIT:
            raise SessionError(put_off(answer_of(event.reply)))
        return event.reply

    async def start_tls(self, trust: Trust) -> None:
        """The handshake: at once, or after STARTTLS was taken."""
        try:
            if self.engine.state is ClientState.SECURING:
                self.engine.start_again()
            async with asyncio.timeout(HANDSHAKE_SECONDS):
                await self._stream.start_tls(self.endpoint.host, trust)
        except TimeoutError:
            raise NoTlsError(deferred("4.7.5", f"no TLS with {self.where}: out of time")) from None
        except (HandshakeError, RemoteProtocolError) as error:
            raise NoTlsError(deferred("4.7.5", f"no TLS with {self.where}: {error}")) from error

    async def quit(self) -> None:
        """Says QUIT where it may be said, waits shortly, closes. Raises nothing but CancelledError."""
        try:
            if self.engine.state is not ClientState.CLOSED and not self.engine.awaits_reply:
                await self.ask(Simple(verb=Verb.QUIT), Verb.QUIT)
            await self._stream.close()
        except (SessionError, LocalProtocolError):
            self.abort()
        except BaseException:
            self.abort()
            raise

    def abort(self) -> None:
        """Ends at once."""
        self._stream.abort()

    async def _wait_event(self) -> ClientEvent:
        while True:
            self.engine.receive_data(await self._stream.read())
            event = self.engine.next_event()
            if event is not NEED_DATA:
                return event

    async def _last_words(self, error: StreamError) -> Answer:
        """Why the connection broke, if the peer said so before."""
        try:
            async with asyncio.timeout(LAST_WORDS_SECONDS):
                while isinstance(event := await self._wait_event(), ReplyReceived):
                    if event.reply.code >= 400:
                        return put_off(answer_of(event.reply))
        except (TimeoutError, RemoteProtocolError):
            pass
        return deferred("4.4.2", f"lost the connection to {self.where}: {error}")
