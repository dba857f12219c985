"""The client's side of one SMTP session, sans-I/O (RFC 5321; RFC 2920 pipelining).

The shell sends commands (`send` gives the octets), feeds what comes (`receive_data`) and takes events (`next_event`)
until NEED_DATA: one `ReplyReceived` for the banner and for each command, in order. Commands are pipelined when the peer
offers it; sending what the peer can't be ready for is LocalProtocolError, an answer that fits nowhere is
RemoteProtocolError and ends the session. 421, and any refusal that nobody asked for, closes it.
"""

from collections import deque

import msgspec

from postbus.core.errors import LocalProtocolError, RemoteProtocolError
from postbus.smtp.client_capabilities import Capabilities, parse_capabilities
from postbus.smtp.client_format import format_command, verb_of
from postbus.smtp.client_replies import ReplyReader, split_enhanced
from postbus.smtp.client_states import (
    LAST_OF_GROUP,
    PIPELINED,
    ClientState,
    hoped_client_state,
    next_client_state,
)
from postbus.smtp.commands import Command, Verb
from postbus.smtp.engine import NEED_DATA, NeedData, SaslResponse
from postbus.smtp.replies import Reply

_PLAIN_REPLIES = frozenset({Verb.CONNECT, Verb.EHLO, Verb.HELO})
"""Their replies carry no enhanced code (RFC 2034 §4); refusals do all the same."""


class Content(msgspec.Struct, frozen=True):
    """A piece of the message with CRLF line ends, cut anywhere; transparency dots are added (RFC 5321 §4.5.2)."""

    octets: bytes


class EndOfData(msgspec.Struct, frozen=True):
    """The dot; a last line without CRLF gets one."""


class ReplyReceived(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to a command; `verb` CONNECT is the banner, None what nobody asked for."""

    verb: Verb | None
    reply: Reply


class ConnectionClosed(msgspec.Struct, frozen=True):
    """The peer is gone, perhaps with answers that it owed."""


ClientEvent = ReplyReceived | ConnectionClosed
ClientCommand = Command | SaslResponse | Content | EndOfData


class ClientEngine:
    """See the module's text; `state` and `capabilities` are for reading."""

    def __init__(self) -> None:
        """A connection that has just been made: the banner is awaited."""
        self.state = ClientState.START
        self.capabilities = Capabilities()
        self._hoped = ClientState.CONNECTED
        """Where the session stands if all that is under way goes well: what may be sent depends on it."""
        self._pending: deque[Verb] = deque([Verb.CONNECT])
        self._reader = ReplyReader()
        self._tail = b"\r\n"
        self._ended = False

    @property
    def awaits_reply(self) -> bool:
        """Whether an answer is owed."""
        return bool(self._pending)

    @property
    def has_buffered_data(self) -> bool:
        """Whether octets wait that no event has used."""
        return self._reader.has_data

    def receive_data(self, data: bytes) -> None:
        """Takes octets of the connection; none: it has ended."""
        if self.state is ClientState.CLOSED:
            return
        if data:
            self._reader.feed(data)
        else:
            self._ended = True

    def next_event(self) -> ClientEvent | NeedData:
        """The next event. Raises RemoteProtocolError; the session is over then."""
        if self.state is ClientState.CLOSED:
            return NEED_DATA
        try:
            reply = self._reader.next_reply()
            if reply is not None:
                return self._take(reply)
        except RemoteProtocolError:
            self.state = ClientState.CLOSED
            raise
        if not self._ended:
            return NEED_DATA
        self.state = ClientState.CLOSED
        return ConnectionClosed()

    def send(self, command: ClientCommand) -> bytes:
        """The octets to write. Raises LocalProtocolError."""
        match command:
            case Content():
                return self._send_content(command.octets)
            case EndOfData():
                line = b".\r\n" if self._tail == b"\r\n" else b"\r\n.\r\n"
                self._expect(Verb.END)
                self._tail = b"\r\n"
                return line
            case SaslResponse():
                self._expect(Verb.RESPONSE)
                return command.line + b"\r\n"
        line = format_command(command)
        self._expect(verb_of(command))
        return line

    def start_again(self) -> None:
        """TLS has begun: what was said before counts no more (RFC 3207 §4.2). Raises RemoteProtocolError when plain

        text lies behind the reply to STARTTLS: somebody may have put it there.
        """
        if self.state is not ClientState.SECURING:
            raise LocalProtocolError("TLS begins after STARTTLS")
        if self._reader.has_data:
            self.state = ClientState.CLOSED
            raise RemoteProtocolError("plain text behind the reply to STARTTLS")
        self.state = self._hoped = next_client_state(self.state, Verb.CONNECT, 220)
        self.capabilities = Capabilities()

    def _expect(self, verb: Verb) -> None:
        """Notes that an answer is owed; raises LocalProtocolError when the command may not be sent now."""
        hoped = hoped_client_state(self._hoped, verb)
        if hoped is None or self.state is ClientState.CLOSED:
            raise LocalProtocolError(f"{verb} in state {self._hoped.value}")
        if self._pending and not (
            self.capabilities.pipelining
            and PIPELINED.issuperset(self._pending)
            and (verb in PIPELINED or verb in LAST_OF_GROUP)
        ):
            raise LocalProtocolError(f"{verb} before the answer to {self._pending[-1]}")
        self._hoped = hoped
        self._pending.append(verb)

    def _send_content(self, octets: bytes) -> bytes:
        if self.state is not ClientState.DATA or self._pending:
            raise LocalProtocolError(f"content in state {self.state.value}")
        joined = self._tail + octets
        self._tail = joined[-2:]
        return joined.replace(b"\r\n.", b"\r\n..")[2:]

    def _take(self, reply: Reply) -> ReplyReceived:
        if not self._pending:
            if reply.code < 400:
                raise RemoteProtocolError("an answer that nobody asked for")
            self.state = ClientState.CLOSED
            return ReplyReceived(verb=None, reply=split_enhanced(reply))
        verb = self._pending.popleft()
        self.state = next_client_state(self.state, verb, reply.code)
        if not self._pending:
            self._hoped = self.state
        if verb not in _PLAIN_REPLIES or reply.code >= 400:
            reply = split_enhanced(reply)
        elif verb is not Verb.CONNECT and reply.is_positive:
            self.capabilities = parse_capabilities(reply) if verb is Verb.EHLO else Capabilities()
        return ReplyReceived(verb=verb, reply=reply)
