"""The smart host of a domain: options of `postbus domain set`."""

import argparse
from typing import Any

from postbusd.cli.objects import UsageError
from postbusd.cli.secrets_options import STDIN_HELP, read_password_line

PORTS = {"starttls": 587, "tls": 465, "none": 25}
_NEED_A_RELAY = ("relay_security", "relay_username", "relay_password_stdin")


def add_relay_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options."""
    group = parser.add_argument_group("smart host of outgoing mail")
    which = group.add_mutually_exclusive_group()
    which.add_argument("--relay", metavar="HOST[:PORT]", help="send its outgoing mail there")
    which.add_argument("--no-relay", action="store_true", help="send it to the recipients' MX")
    group.add_argument(
        "--relay-security", choices=tuple(PORTS), help="starttls (587), tls (465), none (25, never with a password)"
    )
    group.add_argument("--relay-username", metavar="NAME", help="log in with this name; '' for no login")
    group.add_argument("--relay-password-stdin", action="store_true", help=f"{STDIN_HELP}; without it, it is kept")


def relay_change(args: argparse.Namespace, present: Any) -> dict[str, object]:  # Any: the API's relay or None
    """The field `relay` as the options want it; empty: leave it as it is. Raises UsageError, StartError."""
    if args.no_relay:
        if any(getattr(args, name) for name in _NEED_A_RELAY):
            raise UsageError("--no-relay goes with no other relay option")
        return {"relay": None}
    wanted = args.relay is not None or args.relay_username is not None
    if not wanted and not any(getattr(args, name) for name in _NEED_A_RELAY):
        return {}
    if args.relay is None and present is None:
        raise UsageError("the domain has no relay: say --relay HOST[:PORT]")
    relay: dict[str, object] = _same_or_new(args, dict(present or {}))
    if args.relay_security is not None:
        relay["security"] = args.relay_security
    if args.relay_username is not None:
        relay["username"] = args.relay_username
    if args.relay_password_stdin:
        relay["password"] = read_password_line()
    elif relay.get("username") and not _is_same_login(relay, present):
        raise UsageError("a new relay login needs its password: --relay-password-stdin")
    return {"relay": relay}


def _same_or_new(args: argparse.Namespace, relay: dict[str, object]) -> dict[str, object]:
    """The relay that --relay names; the login of another host is not carried over."""
    if args.relay is None:
        return relay
    security = args.relay_security or "starttls"
    host, port = split_relay(args.relay)
    username = relay["username"] if relay and relay["host"] == host else ""
    return {"host": host, "port": port or PORTS[security], "security": security, "username": username}


def _is_same_login(relay: dict[str, object], present: Any) -> bool:
    """Whether directory keeps the password: it does for the same host and username."""
    return present is not None and all(relay[name] == present[name] for name in ("host", "username"))


def split_relay(text: str) -> tuple[str, int]:
    """HOST and PORT, 0 where none is given; an IPv6 address stands in brackets. Raises UsageError."""
    host, found, port = text.rpartition(":")
    if not found or text.endswith("]"):
        host, port = text, "0"
    if not host or not port.isascii() or not port.isdigit() or int(port) > 65_535 or (":" in host and host[0] != "["):
        raise UsageError("--relay: HOST or HOST:PORT")
    return host.strip("[]"), int(port)


def format_relay(relay: Any) -> str:  # Any: the API's relay or None
    """The way out for people."""
    if relay is None:
        return "by MX"
    user = f" as {relay['username']}" if relay["username"] else ""
    host = f"[{relay['host']}]" if ":" in relay["host"] else relay["host"]
    return f"by {host}:{relay['port']} ({relay['security']}){user}"
