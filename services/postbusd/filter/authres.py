"""The Authentication-Results field (RFC 8601): one, ours, first in the prefix. No peer's octet gets in unquoted."""

import re
from collections.abc import Sequence
from typing import Final

import msgspec

from postbus.dmarc.evaluate import Evaluation
from postbusd.filter.dkim import DkimOutcome
from postbusd.filter.spf import SpfIdentity, SpfOutcome

MAX_VALUE_OCTETS: Final = 320
"""Of a property's value; an address has at most 64 + 1 + 255 octets (RFC 5321 §4.5.3.1)."""

_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`{|}~-]+\Z")
_ADDRESS = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]+@[A-Za-z0-9._-]+\Z")
_PRINTABLE = re.compile(r"[\x20-\x7e]*\Z")


class AuthenticationReport(msgspec.Struct, frozen=True, kw_only=True):
    """What there is to report; None: not checked."""

    authserv_id: str
    login: str | None = None
    """The address that logged in; empty: somebody did, but it is not told whom."""
    reverse_path: str = ""
    spf: SpfOutcome | None = None
    dkim: Sequence[DkimOutcome] | None = None
    dmarc: Evaluation | None = None
    author_domain: str = ""


def format_results(report: AuthenticationReport) -> bytes:
    """The field, one result a line, ending in CRLF."""
    results: list[str] = []
    if report.login is not None:
        results.append("auth=pass" + _property("smtp.auth", report.login))
    results += _format_spf(report)
    results += _format_dkim(report)
    if report.dmarc is not None:
        results.append(f"dmarc={report.dmarc.result.value}" + _property("header.from", report.author_domain))
    body = ";\r\n\t".join([report.authserv_id, *(results or ["none"])])
    return f"Authentication-Results: {body}\r\n".encode("ascii")


def _format_spf(report: AuthenticationReport) -> list[str]:
    if report.spf is None:
        return []
    if report.spf.identity is SpfIdentity.HELO:
        return [f"spf={report.spf.result.value}" + _property("smtp.helo", report.spf.domain)]
    plain = _ADDRESS.match(report.reverse_path) is not None
    return [
        f"spf={report.spf.result.value}"
        + _property("smtp.mailfrom", report.reverse_path if plain else report.spf.domain)
    ]


def _format_dkim(report: AuthenticationReport) -> list[str]:
    if report.dkim is None:
        return []
    return [_format_signature(outcome) for outcome in report.dkim] or ["dkim=none"]


def _format_signature(outcome: DkimOutcome) -> str:
    reason = f" reason={_quote(outcome.detail)}" if outcome.detail else ""
    properties = (
        _property("header.d", outcome.domain)
        + _property("header.s", outcome.selector)
        + _property("header.b", outcome.value_start)
    )
    return f"dkim={outcome.result.value}{reason}{properties}"


def _property(name: str, value: str) -> str:
    """` name=value`, or nothing for an empty value and for one that a field can't carry."""
    if not value or len(value) > MAX_VALUE_OCTETS or not _PRINTABLE.match(value):
        return ""
    plain = _TOKEN.match(value) or _ADDRESS.match(value)
    return f" {name}={value if plain else _quote(value)}"


def _quote(text: str) -> str:
    safe = text.encode("ascii", "replace").decode("ascii")
    return '"' + "".join("\\" + char if char in '"\\' else char for char in safe if " " <= char <= "~") + '"'
