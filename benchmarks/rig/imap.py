"""A blocking IMAP client for timing (RFC 9051): octets over TLS, answers read in large pieces hardly looked at."""

import re
import socket
import time
from collections.abc import Sequence
from typing import Final

from postbus.testing.installation import Platform
from rig.installation import PASSWORD

READ_OCTETS: Final = 1 << 18
SECONDS: Final = 120.0
WINDOW: Final = 32
"""Commands under way at once when pipelining."""
_COUNT: Final = re.compile(rb"\* (\d+) EXISTS")


class Imap:
    """A session that is logged in."""

    def __init__(self, platform: Platform, address: str) -> None:
        plain = socket.create_connection((platform.host, platform.port("imaps")), SECONDS)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket = platform.tls().wrap_socket(plain, server_hostname=platform.host)
        self._number = 0
        self._rest = b""
        self._line()
        self.command(f'LOGIN "{address}" "{PASSWORD}"')

    def command(self, text: str | bytes) -> bytes:
        """The untagged answers of a command that succeeds."""
        return self._wait(self._send(text))

    def timed(self, text: str | bytes) -> float:
        """Seconds until its tagged answer."""
        began = time.perf_counter()
        self.command(text)
        return time.perf_counter() - began

    def select(self, folder: str) -> int:
        """Its messages."""
        found = _COUNT.search(self.command(f'SELECT "{folder}"'))
        assert found
        return int(found[1])

    def append(self, folder: str, contents: Sequence[bytes], window: int = 1) -> None:
        """APPEND with LITERAL+ (RFC 7888), `window` commands at a time."""
        for at in range(0, len(contents), window):
            tags = [
                self._send(b'APPEND "%s" {%d+}\r\n' % (folder.encode(), len(content)) + content)
                for content in contents[at : at + window]
            ]
            for tag in tags:
                self._wait(tag)

    def anew(self, folder: str) -> None:
        """An empty folder of that name."""
        if f'"{folder}"'.encode() in self.command('LIST "" "*"').replace(folder.encode(), f'"{folder}"'.encode()):
            self.command(f'DELETE "{folder}"')
        self.command(f'CREATE "{folder}"')

    def begin_idle(self) -> bytes:
        """Returns the tag once the server idles."""
        tag = self._send("IDLE")
        assert self._line().startswith(b"+")
        return tag

    def wait_exists(self) -> float:
        """The time at which the next EXISTS was there."""
        while b" EXISTS" not in self._line():
            pass
        return time.perf_counter()

    def end_idle(self, tag: bytes) -> None:
        self._socket.sendall(b"DONE\r\n")
        self._wait(tag)

    def close(self) -> None:
        self.command("LOGOUT")
        self._socket.close()

    def _send(self, text: str | bytes) -> bytes:
        self._number += 1
        tag = b"bench%06d" % self._number
        self._socket.sendall(tag + b" " + (text.encode() if isinstance(text, str) else text) + b"\r\n")
        return tag

    def _line(self) -> bytes:
        while b"\r\n" not in self._rest:
            self._rest += self._read()
        line, _, self._rest = self._rest.partition(b"\r\n")
        return line

    def _wait(self, tag: bytes) -> bytes:
        """No message of ours holds such a tag, so the octets need not be parsed."""
        pieces, tail, mark = [], b"\r\n" + self._rest, b"\r\n" + tag + b" "
        self._rest = b""
        while True:
            at = tail.find(mark)
            if at >= 0 and (end := tail.find(b"\r\n", at + len(mark))) >= 0:
                status = tail[at + len(mark) : end]
                assert status.startswith(b"OK"), status
                self._rest = tail[end + 2 :]
                return b"".join([*pieces, tail[:at]])
            keep = at if at >= 0 else max(len(tail) - len(mark), 0)
            pieces.append(tail[:keep])
            tail = tail[keep:] + self._read()

    def _read(self) -> bytes:
        octets = self._socket.recv(READ_OCTETS)
        assert octets, "closed by the server"
        return octets
