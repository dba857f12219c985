"""Reply values and the one table of all replies that smtp-edge can give (RFC 5321 §4.2, RFC 2034, RFC 3463).

Constants name the situation. Replies to HELO and EHLO, the banner and 3yz carry no enhanced code (RFC 2034 §4).
"""

from typing import Final

import msgspec

from postbus.core.errors import RemoteProtocolError
from postbus.smtp.limits import MAX_REPLY_TEXT_OCTETS


class Reply(msgspec.Struct, frozen=True):
    """A reply: three-digit code, enhanced code (empty: none) and lines of ASCII text."""

    code: int
    enhanced: str
    lines: tuple[str, ...]

    @property
    def is_positive(self) -> bool:
        """2yz: done."""
        return 200 <= self.code < 300

    @property
    def is_permanent(self) -> bool:
        """5yz."""
        return self.code >= 500

    @property
    def text(self) -> str:
        """The first line, for logs."""
        return self.lines[0] if self.lines else ""

    def format(self) -> bytes:
        """The octets for the wire (RFC 5321 §4.2.1: all lines but the last have a hyphen)."""
        enhanced = f"{self.enhanced} " if self.enhanced else ""
        last = len(self.lines) - 1
        return "".join(
            f"{self.code}{' ' if number == last else '-'}{enhanced}{line}\r\n" for number, line in enumerate(self.lines)
        ).encode("ascii", "replace")


class CommandError(RemoteProtocolError):
    """A command that can't be carried out as sent; `reply` says why."""

    def __init__(self, reply: Reply) -> None:
        """The reply is what the peer gets."""
        super().__init__(reply.text)
        self.reply = reply


def make_reply(code: int, enhanced: str, *lines: str) -> Reply:
    """A reply from texts of any origin: printable ASCII, each line bounded."""
    return Reply(code, enhanced, tuple(clean_text(line) for line in lines) or ("",))


def clean_text(text: str) -> str:
    """One line of printable ASCII, at most MAX_REPLY_TEXT_OCTETS."""
    if not (text.isascii() and text.isprintable()):
        text = "".join(char if " " <= char <= "~" else " " if char.isspace() else "?" for char in text)
    return text[:MAX_REPLY_TEXT_OCTETS]


def _reply(code: int, enhanced: str, text: str) -> Reply:
    return Reply(code, enhanced, (text,))


# The session (RFC 5321 §3.1, §3.8, §4.2; RFC 3207 §4)
BYE: Final = _reply(221, "2.0.0", "bye")
READY_FOR_TLS: Final = _reply(220, "2.0.0", "ready to start TLS")
TLS_NOT_AVAILABLE: Final = _reply(454, "4.7.0", "TLS is not available now")
TLS_ALREADY_ACTIVE: Final = _reply(503, "5.5.1", "TLS is active already")
OK: Final = _reply(250, "2.0.0", "OK")
HELP: Final = _reply(
    214, "2.0.0", "commands: EHLO HELO MAIL RCPT DATA RSET NOOP VRFY STARTTLS AUTH HELP QUIT (RFC 5321)"
)
VRFY_UNCERTAIN: Final = _reply(252, "2.1.5", "not verified here; send the message and it will be tried")
SHUTTING_DOWN: Final = _reply(421, "4.3.2", "service is shutting down, try again")
IDLE: Final = _reply(421, "4.4.2", "idle for too long, closing the connection")
TOO_SLOW: Final = _reply(421, "4.4.2", "the message takes too long, closing the connection")
TOO_MANY_ERRORS: Final = _reply(421, "4.7.0", "too many errors, closing the connection")
TOO_MANY_SESSIONS: Final = _reply(421, "4.3.2", "too many sessions, try again later")
TOO_MANY_FROM_ADDRESS: Final = _reply(421, "4.7.0", "too many sessions from your address")
NOT_SMTP: Final = _reply(421, "4.7.0", "this is not your protocol, closing the connection")
EARLY_TALKER: Final = _reply(554, "5.5.0", "you spoke before the greeting")

# Commands (RFC 5321 §4.2.4, §4.3.2; RFC 5248)
UNKNOWN_COMMAND: Final = _reply(500, "5.5.1", "command not recognized")
NOT_IMPLEMENTED: Final = _reply(502, "5.5.1", "command not implemented")
LINE_TOO_LONG: Final = _reply(500, "5.5.2", "command line is too long")
BARE_LINE_BREAK: Final = _reply(500, "5.5.2", "command lines end in CRLF, bare CR and LF are refused")
BAD_CHARACTERS: Final = _reply(500, "5.5.2", "command line has control characters or is no UTF-8")
NO_ARGUMENTS: Final = _reply(501, "5.5.4", "command takes no arguments")
HELO_SYNTAX: Final = _reply(501, "5.5.4", "syntax: EHLO domain")
VRFY_SYNTAX: Final = _reply(501, "5.5.4", "syntax: VRFY address")
SEND_EHLO_FIRST: Final = _reply(503, "5.5.1", "send EHLO first")
BAD_SEQUENCE: Final = _reply(503, "5.5.1", "bad sequence of commands")
NEED_MAIL: Final = _reply(503, "5.5.1", "send MAIL first")
NESTED_MAIL: Final = _reply(503, "5.5.1", "a transaction is open already")
NO_RECIPIENTS: Final = _reply(554, "5.5.1", "no valid recipients")

# Paths and parameters (RFC 5321 §4.1.1.11, §4.1.2; RFC 1870; RFC 3461; RFC 6531 §3.5)
MAIL_SYNTAX: Final = _reply(501, "5.5.4", "syntax: MAIL FROM:<reverse-path> [parameters]")
RCPT_SYNTAX: Final = _reply(501, "5.5.4", "syntax: RCPT TO:<forward-path> [parameters]")
BAD_REVERSE_PATH: Final = _reply(501, "5.1.7", "malformed reverse path")
BAD_FORWARD_PATH: Final = _reply(501, "5.1.3", "malformed forward path")
NULL_FORWARD_PATH: Final = _reply(501, "5.1.3", "the null path is no recipient")
NEED_SMTPUTF8: Final = _reply(553, "5.6.7", "non-ASCII addresses need the SMTPUTF8 parameter")
PARAMETERS_NEED_EHLO: Final = _reply(555, "5.5.4", "parameters need EHLO")
UNKNOWN_PARAMETER: Final = _reply(555, "5.5.4", "parameter not recognized or not implemented")
BAD_PARAMETER: Final = _reply(501, "5.5.4", "malformed or repeated parameter")
MESSAGE_TOO_BIG: Final = _reply(552, "5.3.4", "message size exceeds the limit")

# The transaction (RFC 5321 §4.1.1, §4.5.3.1.10)
REVERSE_PATH_OK: Final = _reply(250, "2.1.0", "reverse path accepted")
FORWARD_PATH_OK: Final = _reply(250, "2.1.5", "recipient accepted")
TOO_MANY_RECIPIENTS: Final = _reply(452, "4.5.3", "too many recipients, send the rest in another transaction")
START_MAIL_INPUT: Final = _reply(354, "", "end data with <CR><LF>.<CR><LF>")
DISK_FULL: Final = _reply(452, "4.3.1", "insufficient system storage, try again later")
TRY_LATER: Final = _reply(451, "4.3.0", "temporary failure, try again later")
FILTER_AWAY: Final = _reply(451, "4.3.0", "message can't be checked now, try again later")
RELAY_DENIED: Final = _reply(550, "5.7.1", "relaying denied: the domain is not served here")
LITERAL_REFUSED: Final = _reply(550, "5.1.2", "address literals are not served here")
CLIENT_REJECTED: Final = _reply(550, "5.7.1", "mail from your address is refused")
CONTENT_REJECTED: Final = _reply(550, "5.7.1", "message refused")
CONTENT_DEFERRED: Final = _reply(451, "4.7.1", "message deferred, try again later")

# Message text (RFC 5321 §2.3.8, §4.5.2, §4.5.3.1.6, §6.3)
BARE_LINE_BREAK_IN_TEXT: Final = _reply(550, "5.6.11", "message has bare CR or LF (RFC 5321 2.3.8)")
NUL_IN_TEXT: Final = _reply(550, "5.6.0", "message has NUL octets (RFC 5321 4.5.2)")
TEXT_LINE_TOO_LONG: Final = _reply(550, "5.6.0", "message has an over-long line")
TOO_MANY_HOPS: Final = _reply(554, "5.4.6", "too many hops: the message loops")
LIST_LOOP: Final = _reply(554, "5.4.6", "this list has distributed the message before: it loops")

# AUTH (RFC 4954 §4, §6)
AUTH_SYNTAX: Final = _reply(501, "5.5.4", "syntax: AUTH mechanism [initial-response]")
AUTH_BAD_BASE64: Final = _reply(501, "5.5.2", "malformed response")
AUTH_CANCELLED: Final = _reply(501, "5.7.0", "authentication cancelled")
AUTH_LINE_TOO_LONG: Final = _reply(500, "5.5.6", "authentication exchange line is too long")
AUTH_UNKNOWN_MECHANISM: Final = _reply(504, "5.5.4", "authentication mechanism not supported")
AUTH_SUCCEEDED: Final = _reply(235, "2.7.0", "authentication succeeded")
AUTH_FAILED: Final = _reply(535, "5.7.8", "authentication credentials invalid")
AUTH_UNAVAILABLE: Final = _reply(454, "4.7.0", "temporary authentication failure, try again later")
AUTH_TWICE: Final = _reply(503, "5.5.1", "already authenticated")
AUTH_NEEDS_TLS: Final = _reply(538, "5.7.11", "encryption is required: send STARTTLS first")
LOGIN_ENDED: Final = _reply(421, "4.7.0", "this login has ended, log in again")
AUTH_REQUIRED: Final = _reply(530, "5.7.0", "authentication required")
TLS_REQUIRED: Final = _reply(530, "5.7.0", "send STARTTLS first")
