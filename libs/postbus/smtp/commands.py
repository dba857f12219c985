"""Commands as values, parsed from one line (RFC 5321 §4.1).

Grammar is strict where a loose reading could mean two things (paths, parameters, line ends); blanks after `FROM:` and
`TO:` and at the end of a line are borne, because printers and scanners send them. Raises CommandError only.
"""

import enum
import re
from collections.abc import Callable

import msgspec

from postbus.core.address import Address
from postbus.smtp.limits import MAX_HELO_OCTETS
from postbus.smtp.parameters import (
    Body,
    parse_auth,
    parse_body,
    parse_envid,
    parse_notify,
    parse_orcpt,
    parse_ret,
    parse_size,
    split_parameters,
)
from postbus.smtp.paths import POSTMASTER, parse_forward_path, parse_reverse_path, split_path
from postbus.smtp.replies import (
    AUTH_SYNTAX,
    BAD_CHARACTERS,
    BAD_PARAMETER,
    HELO_SYNTAX,
    MAIL_SYNTAX,
    NO_ARGUMENTS,
    NOT_IMPLEMENTED,
    NOT_SMTP,
    PARAMETERS_NEED_EHLO,
    RCPT_SYNTAX,
    UNKNOWN_COMMAND,
    VRFY_SYNTAX,
    CommandError,
)


class Verb(enum.StrEnum):
    """Commands that we know; CONNECT, RESPONSE and END stand for what is no command line but needs a reply too."""

    EHLO = "EHLO"
    HELO = "HELO"
    MAIL = "MAIL"
    RCPT = "RCPT"
    DATA = "DATA"
    RSET = "RSET"
    NOOP = "NOOP"
    VRFY = "VRFY"
    EXPN = "EXPN"
    HELP = "HELP"
    QUIT = "QUIT"
    STARTTLS = "STARTTLS"
    AUTH = "AUTH"
    CONNECT = "(connect)"
    RESPONSE = "(response)"
    END = "(end of data)"


class Hello(msgspec.Struct, frozen=True, kw_only=True):
    """EHLO or HELO (RFC 5321 §4.1.1.1); `domain` is what the client calls itself, unproven."""

    extended: bool
    domain: str


class Mail(msgspec.Struct, frozen=True, kw_only=True):
    """MAIL (RFC 5321 §4.1.1.2); reverse_path None is the null path."""

    reverse_path: Address | None
    size: int | None = None
    body: Body = Body.SEVEN_BIT
    smtputf8: bool = False
    ret: str = ""
    envid: str = ""
    auth: str = ""


class Rcpt(msgspec.Struct, frozen=True, kw_only=True):
    """RCPT (RFC 5321 §4.1.1.3); forward_path None is the bare <postmaster>."""

    forward_path: Address | None
    notify: tuple[str, ...] = ()
    orcpt: str = ""

    @property
    def address(self) -> str:
        """The forward_path without brackets."""
        return POSTMASTER if self.forward_path is None else self.forward_path.format()

    @property
    def is_postmaster(self) -> bool:
        """Whether it is a postmaster of any domain: what no policy may refuse (RFC 5321 §4.5.1)."""
        return self.forward_path is None or self.forward_path.local_part.lower() == POSTMASTER


class Auth(msgspec.Struct, frozen=True, kw_only=True):
    """AUTH (RFC 4954 §4): mechanism in upper case; initial response in base64, None when there is none."""

    mechanism: str
    initial: bytes | None = None


class Simple(msgspec.Struct, frozen=True, kw_only=True):
    """A command without arguments that matter: DATA, RSET, NOOP, VRFY, EXPN, HELP, QUIT, STARTTLS."""

    verb: Verb


Command = Hello | Mail | Rcpt | Auth | Simple

_LINE = re.compile(r"([A-Za-z0-9]{1,16})(?: +|\Z)")
_HELO = re.compile(r"[!-~]+\Z")
_MECHANISM = re.compile(r"[A-Za-z0-9_-]{1,20}\Z")
_FROM = re.compile(r"FROM: *", re.IGNORECASE)
_TO = re.compile(r"TO: *", re.IGNORECASE)
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_BARE = frozenset({Verb.DATA, Verb.RSET, Verb.QUIT, Verb.STARTTLS})
_UNIMPLEMENTED = frozenset({"TURN", "ETRN", "ATRN", "SEND", "SOML", "SAML", "BDAT", "BURL", "XCLIENT", "XFORWARD"})
_FOREIGN = frozenset({"GET", "POST", "PUT", "HEAD", "CONNECT", "OPTIONS"})
"""HTTP aimed at a mail server by a page in a browser: end it before a body can hold commands."""
_MAIL_PARAMETERS = frozenset({"SIZE", "BODY", "SMTPUTF8", "RET", "ENVID", "AUTH"})
_RCPT_PARAMETERS = frozenset({"NOTIFY", "ORCPT"})
_VERBS = {verb.value: verb for verb in Verb}


def split_command(line: bytes) -> tuple[Verb, str]:
    """The verb and the rest of a line without its CRLF. Raises CommandError."""
    try:
        text = line.decode("utf-8").rstrip(" ")
    except UnicodeDecodeError:
        raise CommandError(BAD_CHARACTERS) from None
    if _CONTROL.search(text):
        raise CommandError(BAD_CHARACTERS)
    match = _LINE.match(text)
    word = match[1].upper() if match else ""
    verb = _VERBS.get(word)
    if match is not None and verb is not None:
        return verb, text[match.end() :]
    if word in _FOREIGN:
        raise CommandError(NOT_SMTP)
    raise CommandError(NOT_IMPLEMENTED if word in _UNIMPLEMENTED else UNKNOWN_COMMAND)


def parse_command(verb: Verb, rest: str, *, extended: bool, smtputf8: bool) -> Command:
    """The command; `extended`: EHLO was given, `smtputf8`: of the open transaction. Raises CommandError."""
    if verb is Verb.MAIL:
        return _parse_mail(rest, extended)
    if verb is Verb.RCPT:
        return _parse_rcpt(rest, extended, smtputf8)
    parse = _PARSERS.get(verb)
    if parse is not None:
        return parse(verb, rest)
    if verb in _BARE and rest:
        raise CommandError(NO_ARGUMENTS)
    if verb in {Verb.VRFY, Verb.EXPN} and not rest:
        raise CommandError(VRFY_SYNTAX)
    return Simple(verb=verb)


def _parse_hello(verb: Verb, rest: str) -> Hello:
    if len(rest) > MAX_HELO_OCTETS or not _HELO.match(rest):
        raise CommandError(HELO_SYNTAX)
    return Hello(extended=verb is Verb.EHLO, domain=rest)


def _parse_auth_command(verb: Verb, rest: str) -> Auth:
    words = rest.split(" ")
    if len(words) > 2 or not _MECHANISM.match(words[0]) or not rest.isascii():
        raise CommandError(AUTH_SYNTAX)
    return Auth(mechanism=words[0].upper(), initial=words[1].encode() if len(words) == 2 else None)


def _parse_mail(rest: str, extended: bool) -> Mail:
    start = _FROM.match(rest)
    if start is None:
        raise CommandError(MAIL_SYNTAX)
    path, tail = split_path(rest[start.end() :], MAIL_SYNTAX)
    given = _given(tail, _MAIL_PARAMETERS, extended)
    if given.get("SMTPUTF8") is not None:
        raise CommandError(BAD_PARAMETER)
    smtputf8 = "SMTPUTF8" in given
    return Mail(
        reverse_path=parse_reverse_path(path, smtputf8),
        size=parse_size(given["SIZE"]) if "SIZE" in given else None,
        body=parse_body(given["BODY"]) if "BODY" in given else Body.SEVEN_BIT,
        smtputf8=smtputf8,
        ret=parse_ret(given["RET"]) if "RET" in given else "",
        envid=parse_envid(given["ENVID"]) if "ENVID" in given else "",
        auth=parse_auth(given["AUTH"]) if "AUTH" in given else "",
    )


def _parse_rcpt(rest: str, extended: bool, smtputf8: bool) -> Rcpt:
    start = _TO.match(rest)
    if start is None:
        raise CommandError(RCPT_SYNTAX)
    path, tail = split_path(rest[start.end() :], RCPT_SYNTAX)
    given = _given(tail, _RCPT_PARAMETERS, extended)
    return Rcpt(
        forward_path=parse_forward_path(path, smtputf8),
        notify=parse_notify(given["NOTIFY"]) if "NOTIFY" in given else (),
        orcpt=parse_orcpt(given["ORCPT"], smtputf8) if "ORCPT" in given else "",
    )


def _given(tail: str, known: frozenset[str], extended: bool) -> dict[str, str | None]:
    if not tail:
        return {}
    if not extended:
        raise CommandError(PARAMETERS_NEED_EHLO)
    return split_parameters(tail, known)


_PARSERS: dict[Verb, Callable[[Verb, str], Command]] = {
    Verb.EHLO: _parse_hello,
    Verb.HELO: _parse_hello,
    Verb.AUTH: _parse_auth_command,
}
