"""Hostile input on every listener of a running platform: a clear error, no traceback, others served meanwhile."""

import base64
import contextlib
import http.client
import itertools
import json
import os
import socket
import ssl
import stat
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from postbus.testing.installation import CLIENT_SECONDS, Platform

PATIENCE_SECONDS = 5.0
"""How long another session may wait for an answer while one is attacked, on a busy machine."""
MAX_GROWTH_OCTETS = 300 * 1024 * 1024
"""Of a process, above what it had before."""
TRACES = (b"Traceback", b'"exception"', b"incident")


class Line:
    """A raw connection, read by lines."""

    def __init__(self, platform: Platform, listener: str, *, tls: bool = False) -> None:
        raw = socket.create_connection((platform.host, platform.port(listener)), timeout=CLIENT_SECONDS)
        self.socket = platform.tls().wrap_socket(raw, server_hostname=platform.host) if tls else raw
        self._file = self.socket.makefile("rb")

    def send(self, data: bytes) -> None:
        """Octets; a server that has closed meanwhile is no fault."""
        with contextlib.suppress(OSError):
            self.socket.sendall(data)

    def line(self) -> bytes:
        """Empty at the end."""
        try:
            return self._file.readline()
        except (ConnectionError, ssl.SSLError):
            return b""

    def smtp(self, data: bytes = b"") -> bytes:
        """Sends, and reads one whole reply."""
        self.send(data)
        while (line := self.line())[3:4] == b"-":
            continue
        return line

    def imap(self, data: bytes, tag: bytes = b"x") -> bytes:
        """Sends, and reads up to the tagged reply, BYE or the end."""
        self.send(data)
        answer = b""
        while line := self.line():
            answer += line
            if line.startswith((tag + b" ", b"* BYE")):
                break
        return answer

    def close(self) -> None:
        self._file.close()
        self.socket.close()


@contextlib.contextmanager
def dial(platform: Platform, listener: str, *, tls: bool = False) -> Iterator[Line]:
    line = Line(platform, listener, tls=tls)
    try:
        yield line
    finally:
        line.close()


@contextlib.contextmanager
def smtp(platform: Platform) -> Iterator[Line]:
    with dial(platform, "smtp") as line:
        assert line.smtp().startswith(b"220 ")
        assert line.smtp(b"EHLO attacker.example\r\n").startswith(b"250 ")
        yield line


@contextlib.contextmanager
def imap(platform: Platform, number: int = 1) -> Iterator[Line]:
    address, password = platform.mailboxes[number]
    with dial(platform, "imaps", tls=True) as line:
        line.line()
        assert b"x OK" in line.imap(f'x LOGIN {address} "{password}"\r\n'.encode())
        assert b"x OK" in line.imap(b"x SELECT INBOX\r\n")
        yield line


class Probe:
    """Asks both mail services all the time; `worst` is the longest wait for an answer, seconds."""

    def __init__(self, platform: Platform) -> None:
        self.worst = 0.0
        self._platform = platform
        self._ends = threading.Event()
        self._asks = threading.Event()
        """Its sessions are open: what floods the doors from now on meets them inside."""
        self._thread = threading.Thread(target=self._run)
        self._fault = ""

    def __enter__(self) -> "Probe":
        self._thread.start()
        assert self._asks.wait(CLIENT_SECONDS)
        return self

    def __exit__(self, *_: object) -> None:
        self._ends.set()
        self._thread.join(CLIENT_SECONDS)
        assert not self._fault

    def _run(self) -> None:
        try:
            with smtp(self._platform) as mail, imap(self._platform, 0) as reader:
                self._asks.set()
                while not self._ends.wait(0.02):
                    started = time.monotonic()
                    assert mail.smtp(b"NOOP\r\n").startswith(b"250 ")
                    between = time.monotonic()
                    assert b"x OK" in reader.imap(b"x CAPABILITY\r\n")
                    self.worst = max(self.worst, between - started, time.monotonic() - between)
        except (AssertionError, OSError) as error:
            self._fault = repr(error)
            self._asks.set()


def _processes(platform: Platform) -> dict[int, int]:
    """PSS of the processes that host services, octets, by their ids."""
    state = json.loads((platform.data_dir / "run" / "state.json").read_text())
    pids = {part["pid"] for part in state["parts"] if part["name"] in platform.metrics}
    sizes: dict[int, int] = {}
    for pid in pids:
        rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
        sizes[pid] = int(rollup.split("\nPss:")[1].split()[0]) * 1024
    assert sizes
    return sizes


@pytest.fixture(autouse=True)
def nothing_breaks(platform: Platform) -> Iterator[None]:
    """Whatever a test does: no traceback in any log, no process gone, memory bounded."""
    logs = {path: path.stat().st_size for path in (platform.data_dir / "logs").glob("*.log")}
    before = _processes(platform)
    yield
    after = _processes(platform)
    assert before.keys() == after.keys()
    assert all(after[pid] - size < MAX_GROWTH_OCTETS for pid, size in before.items())
    for path, size in logs.items():
        with path.open("rb") as log:
            log.seek(size)
            told = [line[:300] for line in log if any(trace in line for trace in TRACES)]
        assert not told, f"{path.name}: {told}"


@pytest.mark.parametrize("ending", [b"\n.\n", b"\r.\r", b"\r\n.\n", b"\n.\r\n", b"\r\n.\r", b"\r\n.\0\r\n"])
def test_smuggled_mail_is_not_carried_out(platform: Platform, ending: bytes) -> None:
    recipient = b"RCPT TO:<%b>\r\nDATA\r\n" % platform.mailboxes[0][0].encode()
    with smtp(platform) as line:
        line.send(b"MAIL FROM:<a@example.org>\r\n" + recipient + b"Subject: x\r\n\r\nx" + ending)
        line.send(b"MAIL FROM:<evil@example.org>\r\n" + recipient + b"Subject: smuggled\r\n\r\nx\r\n.\r\nQUIT\r\n")
        assert [line.smtp()[:3] for _ in range(5)] == [b"250", b"250", b"354", b"550", b"221"]


def test_what_is_sent_before_tls_is_forgotten(platform: Platform) -> None:
    with dial(platform, "submission") as line:
        line.smtp()
        line.smtp(b"EHLO x\r\n")
        assert line.smtp(b"STARTTLS\r\nEHLO injected\r\nMAIL FROM:<a@b.example>\r\n").startswith(b"220 ")
        line.socket = platform.tls().wrap_socket(line.socket, server_hostname=platform.host)
        line._file = line.socket.makefile("rb")
        assert line.smtp(b"MAIL FROM:<a@b.example>\r\n").startswith(b"503 ")


@pytest.mark.parametrize(
    ("listener", "tls", "data", "answer"),
    [
        ("smtp", False, b"A" * 3_000_000, b"421 4.7.0"),
        ("smtp", False, b"EHLO \xff\xfe\r\n", b"500 5.5.2"),
        ("smtp", False, b"EHLO x\0y\r\n", b"500 5.5.2"),
        ("smtp", False, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"421 4.7.0"),
        ("smtp", False, b"\x16\x03\x01\x02\x00\n", b"500 5.5.2"),
        ("submissions", True, b"AUTH PLAIN " + b"A" * 20_000 + b"\r\n", b"500 5.5.6"),
        ("imaps", True, b"a LOGIN {999999999+}\r\n", b"* BYE"),
        ("imaps", True, b"A" * 3_000_000, b"* BYE"),
        ("imaps", True, b"a LOGIN {999999999}\r\n", b"a BAD"),
        ("imaps", True, b"a LOGIN \xff {3+}\r\n\0\0\0 x\r\n", b"a BAD"),
    ],
)
def test_garbage_is_answered_in_the_protocol(
    platform: Platform, listener: str, tls: bool, data: bytes, answer: bytes
) -> None:
    with dial(platform, listener, tls=tls) as line:
        line.line()
        line.send(data)
        told = line.line()
        assert told.startswith(answer) or not told, told  # a peer that still sends may lose the last words to a reset


@pytest.mark.parametrize("listener", ["submissions", "imaps", "api"])
def test_garbage_instead_of_tls_is_closed(platform: Platform, listener: str) -> None:
    with dial(platform, listener) as line:
        line.send(b"EHLO plain.example\r\n")
        assert line.line() in (b"", b"HTTP/1.1 400 Bad Request\r\n")


@pytest.mark.parametrize(
    "command",
    [
        b"SEARCH " + b"(" * 30_000 + b"ALL" + b")" * 30_000,
        b"SEARCH " + b"NOT " * 16_000 + b"ALL",
        b"UID FETCH " + b",".join(b"%d" % number for number in range(1, 11_000)) + b" FLAGS",
        b"FETCH 1 BODY[" + b".".join([b"1"] * 70) + b"]",
        b'CREATE "&AAA"',
        b'LIST "" {9999999+}\r\n' + b"A" * 9_999_999,
        b"APPEND INBOX {3+}\r\na\0b",
        b"APPEND INBOX {60000000}",
        b"IDLE\r\nx NOOP",
    ],
)
def test_commands_over_a_limit_are_refused_and_the_session_goes_on(platform: Platform, command: bytes) -> None:
    with imap(platform) as line:
        answer = line.imap(b"x " + command + b"\r\n").splitlines()[-1]
        assert answer.startswith((b"x BAD", b"x NO")), answer
        assert b"y OK" in line.imap(b"y NOOP\r\n", b"y")


def test_an_append_that_is_cut_stores_nothing(platform: Platform) -> None:
    with imap(platform) as watcher:
        before = watcher.imap(b"x STATUS INBOX (MESSAGES)\r\n")
        for sent in (b"x" * 400_000, b"x" * 500_000):
            with imap(platform) as line:
                line.send(b"x APPEND INBOX {500000+}\r\n" + sent)
        assert watcher.imap(b"x STATUS INBOX (MESSAGES)\r\n") == before


def test_floods_of_commands_leave_others_their_turn(platform: Platform) -> None:
    with Probe(platform) as probe, smtp(platform) as mail, imap(platform) as reader:
        mail.send(b"NOOP\r\n" * 10_000)
        reader.send(b"x CAPABILITY\r\n" * 10_000)
        replies = list(itertools.takewhile(lambda reply: reply.startswith(b"250 "), iter(mail.smtp, None)))
        assert 1000 <= len(replies) < 2000, "commands that lead nowhere come to an end"
        assert reader.imap(b"y NOOP\r\n", b"y").endswith(b"y OK Done\r\n")
    assert probe.worst < PATIENCE_SECONDS


def test_a_large_message_asked_for_many_times_by_one_who_does_not_read(platform: Platform) -> None:
    body = base64.encodebytes(os.urandom(4_000_000)).replace(b"\n", b"\r\n")
    items = b" ".join(b"BODY.PEEK[]<0.%d>" % (20_000_000 + number) for number in range(99))
    with imap(platform) as line:
        assert b"x OK" in line.imap(b"x APPEND INBOX {%d+}\r\n%b\r\n" % (len(body) + 2, b"\r\n" + body))
        before = _processes(platform)
        with Probe(platform) as probe:
            line.send(b"x FETCH * (" + items + b")\r\n")
            assert line.line().startswith(b"* ")
            time.sleep(1.0)
            after = _processes(platform)
        assert probe.worst < PATIENCE_SECONDS
        assert all(after[pid] - size < 64 * 1024 * 1024 for pid, size in before.items())


def _nested(levels: int) -> bytes:
    part = b"\r\nx\r\n"
    for number in range(levels):
        part = b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n%b\r\n--b%d--\r\n" % (
            number,
            number,
            part,
            number,
        )
    return part


def test_monstrous_messages_are_stored_and_read(platform: Platform) -> None:
    monsters = (
        b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + b"--b\r\n\r\nx\r\n" * 10_000 + b"--b--\r\n",
        _nested(60),
        b"X-Long: " + b"x" * 1_000_000 + b"\r\n\r\nx\r\n",
        b"To: " + b"a@b.c," * 100_000 + b"\r\nFrom: " + b"(" * 50_000 + b"\r\n\r\nx\r\n",
        b"Content-Type: text/plain" + b"; a*0*=x" * 20_000 + b"\r\n\r\nx\r\n",
        b"Content-Type: text/html; charset=zlib_codec\r\n\r\n" + b"<div>\r\n" * 100_000,
    )
    with Probe(platform) as probe:
        for number, monster in enumerate(monsters):
            platform.send(b"Subject: monster%d\r\n" % number + monster, platform.mailboxes[1][0])
        platform.wait_message(f"monster{len(monsters) - 1}", 1)
        with imap(platform) as line:
            answer = line.imap(b"x UID FETCH 1:* (ENVELOPE BODYSTRUCTURE BODY.PEEK[1.1.1]<0.10>)\r\n")
            assert answer.endswith(b"x OK Done\r\n")
    assert probe.worst < PATIENCE_SECONDS


def test_a_flood_of_connections_ends_with_the_flood(platform: Platform) -> None:
    with Probe(platform) as probe, contextlib.ExitStack() as opened:
        doors = ("smtp", "submissions", "imaps", "api")
        lines = [opened.enter_context(dial(platform, doors[number % 4])) for number in range(400)]
        for line in lines[::3]:
            line.send(b"\x16\x03\x01")
        refused = [line for line in lines[::4] if line.line().startswith(b"421 4.7.0")]
        assert len(refused) < len(lines)
    assert probe.worst < PATIENCE_SECONDS
    with smtp(platform) as line:
        assert line.smtp(b"NOOP\r\n").startswith(b"250 ")


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("PUT", "/mailboxes/eve@demo.example", b'{"quota_octets": 99999999999999999999999}', 400),
        ("PUT", "/mailboxes/eve@demo.example", b'{"a":' * 50_000, 400),
        ("PUT", "/mailboxes/eve@demo.example", b'{"password": "\\ud800aaaaaaaaaa"}', 400),
        ("PUT", "/mailboxes/eve@demo.example", b"x" * 2_000_000, 413),
        ("PUT", "/mailboxes/%00", b"{}", 400),
        ("GET", "/mailboxes?after=%00", b"", 400),
        ("DELETE", "/domains", b"", 405),
        ("GET", "/../../etc/passwd", b"", 404),
    ],
)
def test_the_api_refuses_with_a_problem(platform: Platform, method: str, path: str, body: bytes, status: int) -> None:
    client = http.client.HTTPSConnection(platform.host, platform.port("api"), context=platform.tls(), timeout=30)
    headers = {"Authorization": f"Bearer {platform.admin_token}", "Content-Type": "application/json"}
    with contextlib.closing(client):
        with contextlib.suppress(OSError):  # refused before it was all sent
            client.request(method, "/api/v1" + path, body or None, headers)
        answer = client.getresponse()
        assert answer.status == status
        assert answer.headers["Content-Type"] == "application/problem+json"


def test_a_body_that_never_comes_is_the_clients_fault(platform: Platform) -> None:
    with dial(platform, "api", tls=True) as line:
        line.send(b"PUT /api/v1/domains/a.example HTTP/1.1\r\nHost: x\r\nContent-Length: 500\r\n")
        line.send(f"Authorization: Bearer {platform.admin_token}\r\n\r\n{{".encode())
    with dial(platform, "api", tls=True) as line:
        line.send(b"GET /api/v1/health HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: xchunked\r\n\r\nabc")
        assert line.line().startswith(b"HTTP/1.1 400 ")


def test_inside_sockets_are_for_the_owner_alone(platform: Platform) -> None:
    sockets = [path for path in (platform.data_dir / "run").iterdir() if path.is_socket()]
    assert len(sockets) == 8
    assert all(stat.S_IMODE(path.stat().st_mode) & 0o077 == 0 for path in sockets)
