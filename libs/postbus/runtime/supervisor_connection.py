"""connection.json: how scripts, tests and the command line reach a running installation. Mode 600: it holds secrets."""

import secrets

import msgspec

from postbus.runtime.embedded.secrets import ADMIN_TOKEN, read_secret
from postbus.runtime.layout import Layout, StartError, write_private
from postbus.runtime.supervisor_ports import Addresses, join

DEMO_DOMAIN = "demo.example"
DEMO_MAILBOXES = ("alice", "bob")
DEMO_FILE = "demo-mailboxes.json"
DONE_FILE = "first-start-done"
"""Is there when the first domain and mailboxes were made: from then on they are the administrator's."""
PASSWORD_OCTETS = 12


class Tls(msgspec.Struct, frozen=True, kw_only=True):
    """What clients trust."""

    ca_file: str


class Admin(msgspec.Struct, frozen=True, kw_only=True):
    """The API and the administrator's token."""

    url: str
    token: str


class MailboxLogin(msgspec.Struct, frozen=True, kw_only=True):
    """A mailbox made at the first start."""

    address: str
    password: str


class Connection(msgspec.Struct, frozen=True, kw_only=True):
    """All of connection.json; a listener that is off is null."""

    host: str
    ports: dict[str, int | None]
    metrics: dict[str, str]
    tls: Tls
    admin: Admin
    mailboxes: tuple[MailboxLogin, ...]


def make_demo_mailboxes(layout: Layout) -> tuple[MailboxLogin, ...]:
    """The first mailboxes and their passwords: made up once, before the mailboxes exist, and kept."""
    path = layout.secrets / DEMO_FILE
    if path.exists():
        try:
            return msgspec.json.decode(path.read_bytes(), type=tuple[MailboxLogin, ...])
        except msgspec.DecodeError as error:
            raise StartError(f"{path} is damaged: {error}") from error
    made = tuple(
        MailboxLogin(address=f"{name}@{DEMO_DOMAIN}", password=secrets.token_urlsafe(PASSWORD_OCTETS))
        for name in DEMO_MAILBOXES
    )
    write_private(path, msgspec.json.encode(made))
    return made


def describe_connection(layout: Layout, addresses: Addresses, metrics: dict[str, str]) -> Connection:
    """The connection of an installation that is ready."""
    api_port = addresses.ports["api"]
    return Connection(
        host=addresses.host,
        ports=addresses.ports,
        metrics=metrics,
        tls=Tls(ca_file=str(layout.ca_file)),
        admin=Admin(
            url="" if api_port is None else f"https://{join(addresses.host, api_port)}",
            token=read_secret(layout.secrets, ADMIN_TOKEN),
        ),
        mailboxes=make_demo_mailboxes(layout),
    )


def write_connection(layout: Layout, connection: Connection) -> None:
    """Writes connection.json in one step."""
    write_private(layout.connection_file, msgspec.json.format(msgspec.json.encode(connection)) + b"\n")


def read_connection(layout: Layout) -> Connection:
    """Reads connection.json. Raises StartError with one clear line."""
    path = layout.connection_file
    try:
        return msgspec.json.decode(path.read_bytes(), type=Connection)
    except FileNotFoundError as error:
        raise StartError(f"Postbus is not up in {layout.root} (no connection.json): run `postbus up`") from error
    except OSError as error:
        raise StartError(f"{path}: {error.strerror}") from error
    except msgspec.DecodeError as error:
        raise StartError(f"{path} is damaged: {error}") from error
