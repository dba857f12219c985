"""An IMAP session line by line on a real connection, for what no client library shows: every octet of every answer."""

import re
import socket

from postbus.testing.installation import Platform

SECONDS = 20.0
_LITERAL = re.compile(rb"\{(\d+)\}\r\n\Z")


class Dialogue:
    """Lines and literals on a TLS socket."""

    def __init__(self, platform: Platform) -> None:
        """Connects; the greeting is read."""
        plain = socket.create_connection((platform.host, platform.port("imaps")), timeout=SECONDS)
        self._socket = platform.tls().wrap_socket(plain, server_hostname=platform.host)
        self._reader = self._socket.makefile("rb")
        self._count = 0
        self.greeting = self.read()
        assert self.greeting.startswith(b"* OK ")

    def close(self) -> None:
        """Without LOGOUT."""
        self._reader.close()
        self._socket.close()

    def read(self) -> bytes:
        """One response, with its literals in place, without its end of line."""
        response = self._reader.readline()
        while found := _LITERAL.search(response):
            response += self._reader.read(int(found[1])) + self._reader.readline()
        assert response, "the server has gone"
        return response.removesuffix(b"\r\n")

    def send(self, octets: bytes) -> None:
        """Whatever they are."""
        self._socket.sendall(octets)

    def start(self, line: bytes) -> bytes:
        """Sends a command without waiting for its answers; its tag."""
        self._count += 1
        tag = b"%d" % self._count
        self.send(tag + b" " + line + b"\r\n")
        return tag

    def ask(self, line: bytes, *literals: bytes, kind: bytes = b"OK") -> list[bytes]:
        """All responses to a command, whose literals wait for the server; the last one is tagged and of that kind."""
        tag = self.start(line)
        waiting, responses = list(literals), [self.read()]
        while not responses[-1].startswith(tag + b" "):
            if responses[-1].startswith(b"+"):
                self.send(waiting.pop(0) + b"\r\n")
            responses.append(self.read())
        assert responses[-1].startswith(tag + b" " + kind), (line, responses)
        return responses

    def append(self, folder: bytes, message: bytes, flags: bytes = b"()") -> bytes:
        """Appends a message; the tagged answer."""
        return self.ask(b'append "%b" %b {%d}' % (folder, flags, len(message)), message)[-1]
