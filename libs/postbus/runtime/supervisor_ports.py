"""The outside listeners of an installation, their ports and the settings that carry them to the services."""

import errno
import socket

import msgspec

from postbus.runtime.layout import StartError

DEFAULT_PORT_BASE = 2000
MAX_PORT_BASE = 65535 - 995


class Listener(msgspec.Struct, frozen=True, kw_only=True):
    """One outside listener. `setting` is the service's variable; empty: no service listens there in this version."""

    name: str
    offset: int
    standard: int
    service: str
    setting: str = ""
    plain: bool = False
    """Off unless asked for: passwords would travel unencrypted without STARTTLS."""


LISTENERS = (
    Listener(name="smtp", offset=25, standard=25, service="smtp-edge", setting="POSTBUS_SMTP_EDGE_SMTP_LISTEN"),
    Listener(
        name="submission",
        offset=587,
        standard=587,
        service="smtp-edge",
        setting="POSTBUS_SMTP_EDGE_SUBMISSION_LISTEN",
    ),
    Listener(
        name="submissions",
        offset=465,
        standard=465,
        service="smtp-edge",
        setting="POSTBUS_SMTP_EDGE_SUBMISSIONS_LISTEN",
    ),
    Listener(
        name="imaps", offset=993, standard=993, service="imap-gateway", setting="POSTBUS_IMAP_GATEWAY_IMAPS_LISTEN"
    ),
    Listener(
        name="imap",
        offset=143,
        standard=143,
        service="imap-gateway",
        setting="POSTBUS_IMAP_GATEWAY_IMAP_LISTEN",
        plain=True,
    ),
    Listener(
        name="pop3s", offset=995, standard=995, service="imap-gateway", setting="POSTBUS_IMAP_GATEWAY_POP3S_LISTEN"
    ),
    Listener(
        name="pop3",
        offset=110,
        standard=110,
        service="imap-gateway",
        setting="POSTBUS_IMAP_GATEWAY_POP3_LISTEN",
        plain=True,
    ),
    Listener(name="managesieve", offset=190, standard=4190, service="imap-gateway"),
    Listener(name="api", offset=80, standard=8443, service="admin-api", setting="POSTBUS_ADMIN_API_LISTEN"),
    Listener(name="http", offset=81, standard=80, service="admin-api"),
    Listener(name="https", offset=443, standard=443, service="admin-api"),
)
"""In the order of connection.json."""


class Addresses(msgspec.Struct, frozen=True, kw_only=True):
    """Where this installation listens."""

    host: str
    ports: dict[str, int | None]
    """By listener name; None: off."""

    def settings(self) -> dict[str, str]:
        """The listen settings of all services; empty: off."""
        found = {}
        for listener in LISTENERS:
            if listener.setting:
                port = self.ports[listener.name]
                found[listener.setting] = "" if port is None else join(self.host, port)
        return found

    def ports_of(self, service: str) -> dict[str, int]:
        """The open listeners of a service."""
        of_service = (listener.name for listener in LISTENERS if listener.service == service)
        return {name: port for name in of_service if (port := self.ports[name]) is not None}


def allot_addresses(host: str, port_base: int | None, *, plain_imap: bool) -> Addresses:
    """The addresses by base (None: the standard ports). Raises StartError."""
    if port_base is not None and not 0 <= port_base <= MAX_PORT_BASE:
        raise StartError(f"--port-base must be between 0 and {MAX_PORT_BASE}")
    ports: dict[str, int | None] = {}
    for listener in LISTENERS:
        is_on = bool(listener.setting) and (plain_imap or not listener.plain)
        port = listener.standard if port_base is None else port_base + listener.offset
        ports[listener.name] = port if is_on else None
    return Addresses(host=host, ports=ports)


def join(host: str, port: int) -> str:
    """HOST:PORT, an IPv6 address in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def check_free(addresses: Addresses) -> None:
    """Raises StartError, naming every port that can't be bound now."""
    problems = []
    for name, port in addresses.ports.items():
        reason = None if port is None else _why_not(addresses.host, port)
        if reason is not None:
            problems.append(f"port {port} ({name}) on {addresses.host} {reason}")
    if problems:
        raise StartError("; ".join(problems) + " (choose other ports with --port-base N)")


def allot_loopback_ports(count: int) -> list[int]:
    """Different loopback ports that nobody listens on now."""
    probes = [socket.socket() for _ in range(count)]
    try:
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]
    finally:
        for probe in probes:
            probe.close()


def _why_not(host: str, port: int) -> str | None:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except socket.gaierror as error:
        raise StartError(f"--host {host}: {error.strerror}") from error
    with socket.socket(family, kind, protocol) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return "is in use"
            if error.errno == errno.EACCES:
                return "may be bound by root only"
            if error.errno == errno.EADDRNOTAVAIL:
                raise StartError(f"--host {host}: this machine has no such address") from error
            return f"can't be bound: {error.strerror}"
    return None
