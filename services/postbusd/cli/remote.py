"""The command line without a data folder: an installation that variables or a session name (containers, elsewhere).

POSTBUS_API_URL is its API; POSTBUS_API_TOKEN_FILE holds an administrator's token; POSTBUS_API_CA_FILE the certificates
to trust, without it the system's. With POSTBUS_API_TRUST_LOOPBACK=true an API on the loopback address says itself whom
to trust: for containers, where nobody else can listen.
"""

import argparse
import urllib.parse
from collections.abc import Mapping
from pathlib import Path

import msgspec

from postbus.runtime.layout import StartError
from postbus.runtime.supervisor_connection import Admin, Connection, Tls
from postbus.runtime.supervisor_ports import LISTENERS
from postbusd.cli.api import HttpsWire, fetch_ca
from postbusd.cli.signed_in import read_signed_in

URL = "POSTBUS_API_URL"
TOKEN_FILE = "POSTBUS_API_TOKEN_FILE"  # noqa: S105 (a variable's name)
CA_FILE = "POSTBUS_API_CA_FILE"
TRUST_LOOPBACK = "POSTBUS_API_TRUST_LOOPBACK"
MAIL_HOST = "POSTBUS_RUNTIME_MAIL_HOST"
NAMES = frozenset({URL, TOKEN_FILE, CA_FILE, TRUST_LOOPBACK})
LOOPBACKS = frozenset({"localhost", "127.0.0.1", "::1"})


class Remote(msgspec.Struct, frozen=True, kw_only=True):
    """What the variables say."""

    url: str
    token: str
    ca_file: str
    """Empty: the system's certificates."""
    trusts_itself: bool
    """Whether the API says whom to trust."""
    mail_host: str


def find_remote(args: argparse.Namespace, environment: Mapping[str, str]) -> Remote | None:
    """The installation that the variables name, else that of `postbus login`. Raises StartError.

    None: neither does, or the command line names a data folder.
    """
    url = environment.get(URL, "")
    if getattr(args, "data_dir", None) is not None:
        return None
    if not url:
        return _signed_in(environment)
    parts = urllib.parse.urlsplit(url)
    if parts.scheme != "https" or not parts.hostname:
        raise StartError(f"{URL} must be https://HOST[:PORT]")
    ca_file = environment.get(CA_FILE, "")
    wants_trust = environment.get(TRUST_LOOPBACK, "").strip().lower() in ("true", "yes", "on", "1")
    return Remote(
        url=url,
        token=_read_token(environment.get(TOKEN_FILE, "")),
        ca_file=ca_file,
        trusts_itself=wants_trust and not ca_file and parts.hostname in LOOPBACKS,
        mail_host=environment.get(MAIL_HOST, "") or parts.hostname,
    )


def _signed_in(environment: Mapping[str, str]) -> Remote | None:
    found = read_signed_in(environment)
    if found is None:
        return None
    return Remote(
        url=found.url,
        token=found.token,
        ca_file=found.ca_file,
        trusts_itself=False,
        mail_host=environment.get(MAIL_HOST, "") or urllib.parse.urlsplit(found.url).hostname or "",
    )


def _read_token(name: str) -> str:
    if not name:
        raise StartError(f"{TOKEN_FILE} must name the file of an administrator's token")
    try:
        return Path(name).read_text(encoding="ascii").strip()
    except OSError as error:
        raise StartError(f"{name}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise StartError(f"{name} holds no token") from error


def open_wire(remote: Remote, seconds: float) -> HttpsWire:
    """How requests travel there. Raises StartError."""
    ca_pem = fetch_ca(remote.url).decode("ascii") if remote.trusts_itself else ""
    return HttpsWire(remote.url, remote.ca_file, seconds, ca_pem)


def describe(remote: Remote) -> Connection:
    """What commands show of it: the standard ports, as nobody here knows which ones are published."""
    open_ports = {each.name: each.standard for each in LISTENERS if each.setting and not each.plain}
    return Connection(
        host=remote.mail_host,
        ports={each.name: open_ports.get(each.name) for each in LISTENERS},
        metrics={},
        tls=Tls(ca_file=remote.ca_file),
        admin=Admin(url=remote.url, token=remote.token),
        mailboxes=(),
    )
