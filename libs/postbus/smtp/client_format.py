"""Commands as octets: the other direction of `postbus.smtp.commands` (RFC 5321 §4.1).

A command that would not be one line raises LocalProtocolError: nothing of a message or an address becomes a command.
"""

import re
from typing import Final

from postbus.core.errors import LocalProtocolError
from postbus.smtp.commands import Auth, Command, Hello, Mail, Rcpt, Verb
from postbus.smtp.limits import MAX_AUTH_LINE_OCTETS, MAX_COMMAND_LINE_OCTETS
from postbus.smtp.parameters import Body

_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
_NO_WORD: Final = re.compile(r"[^!-~]")
_NO_ORCPT: Final = re.compile(r"[^!-~\x80-\U0010ffff]")


def verb_of(command: Command) -> Verb:
    """What a command is answered as."""
    match command:
        case Hello():
            return Verb.EHLO if command.extended else Verb.HELO
        case Mail():
            return Verb.MAIL
        case Rcpt():
            return Verb.RCPT
        case Auth():
            return Verb.AUTH
    return command.verb


def format_command(command: Command) -> bytes:
    """The line with its CRLF. Raises LocalProtocolError."""
    match command:
        case Hello():
            text = f"{verb_of(command)} {_word(command.domain)}"
        case Mail():
            text = _format_mail(command)
        case Rcpt():
            text = _format_rcpt(command)
        case Auth():
            initial = "" if command.initial is None else " " + _word(command.initial.decode("ascii", "replace"))
            text = f"AUTH {_word(command.mechanism)}{initial}"
        case _:
            text = command.verb.value
    if _CONTROL.search(text):
        raise LocalProtocolError(f"{verb_of(command)} with control characters")
    line = text.encode("utf-8", "surrogatepass") + b"\r\n"
    if len(line) > (MAX_AUTH_LINE_OCTETS if isinstance(command, Auth) else MAX_COMMAND_LINE_OCTETS):
        raise LocalProtocolError(f"{verb_of(command)} is too long")
    return line


def _format_mail(command: Mail) -> str:
    text = f"MAIL FROM:<{'' if command.reverse_path is None else command.reverse_path.format()}>"
    if command.size is not None:
        text += f" SIZE={command.size}"
    if command.body is not Body.SEVEN_BIT:
        text += f" BODY={command.body.value}"
    if command.smtputf8:
        text += " SMTPUTF8"
    if command.ret:
        text += f" RET={_word(command.ret)}"
    if command.envid:
        text += f" ENVID={_word(command.envid)}"
    return f"{text} AUTH={_word(command.auth)}" if command.auth else text


def _format_rcpt(command: Rcpt) -> str:
    text = f"RCPT TO:<{command.address}>"
    if command.notify:
        text += f" NOTIFY={_word(','.join(command.notify))}"
    if command.orcpt:
        if _NO_ORCPT.search(command.orcpt):
            raise LocalProtocolError("ORCPT is not one word")
        text += f" ORCPT={command.orcpt}"
    return text


def _word(text: str) -> str:
    if not text or _NO_WORD.search(text):
        raise LocalProtocolError("an argument is not one word")
    return text
