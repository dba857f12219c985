"""`postbus probe`: whether the services that run on this host (in this container) are ready: for health checks.

Asks the readiness page where the image's POSTBUS_RUNTIME_OBSERVE_LISTEN has it. It runs every few seconds in every
container, so it imports next to nothing, not even the settings.
"""

import argparse
import socket
import sys

DEFAULT = "127.0.0.1:9100"
SECONDS = 7.0
MAX_ANSWER_OCTETS = 65_536


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Registers the command."""
    parser = subparsers.add_parser("probe", help="whether the services here are ready", description=__doc__)
    parser.add_argument("address", nargs="?", default=DEFAULT, metavar="HOST:PORT", help=f"default: {DEFAULT}")
    parser.set_defaults(handler=run_probe)


def run_probe(args: argparse.Namespace) -> int:
    """0 when all are ready; 1, with what is not, otherwise."""
    host, separator, port = args.address.rpartition(":")
    if not separator or not host or not port.isdecimal() or not 0 < int(port) < 65536:
        return _fail(f"{args.address}: must be HOST:PORT")
    try:
        status, body = ask(host.removeprefix("[").removesuffix("]"), int(port))
    except OSError as error:
        return _fail(f"{args.address}: {error.strerror or error}")
    if status != "200":
        return _fail(body.strip() or f"the answer is {status or 'none'}")
    return 0


def ask(host: str, port: int) -> tuple[str, str]:
    """Status code and body of the readiness page. Raises OSError."""
    with socket.create_connection((host, port), SECONDS) as connection:
        connection.sendall(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        answer = b""
        while len(answer) < MAX_ANSWER_OCTETS:
            part = connection.recv(MAX_ANSWER_OCTETS)
            if not part:
                break
            answer += part
    head, _, body = answer.partition(b"\r\n\r\n")
    words = head.split(b" ", 2)
    return words[1].decode("latin-1") if len(words) > 1 else "", body.decode("utf-8", "replace")


def _fail(reason: str) -> int:
    print(f"postbus probe: {reason}", file=sys.stderr)
    return 1
