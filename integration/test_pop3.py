"""POP3 on a running platform, with Python's client and curl: what is read, what goes, who is kept out, a kill."""

import contextlib
import imaplib
import os
import poplib
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator

import msgspec
import pytest

from postbus.runtime.settings import process_environment
from postbus.testing.installation import CLIENT_SECONDS, Platform, short_folder, start_platform
from postbus.testing.probes import process_ids, wait_new_processes, wait_ready

PASSWORD = "a long pass phrase"
PATIENCE_SECONDS = 15.0
LETTER = "From: friend@example.org\r\nSubject: {0}\r\n\r\nHello {0}.\r\n.a line with a dot\r\n"


class Box(msgspec.Struct, frozen=True, kw_only=True):
    """A mailbox that has POP3 on."""

    platform: Platform
    address: str

    @contextlib.contextmanager
    def connect(self, *, log_in: bool = True) -> Iterator[poplib.POP3_SSL]:
        client = poplib.POP3_SSL(
            self.platform.host, self.platform.port("pop3s"), timeout=CLIENT_SECONDS, context=self.platform.tls()
        )
        try:
            if log_in:
                client.user(self.address)
                client.pass_(PASSWORD)
            yield client
        finally:
            client.close()

    def put(self, **fields: object) -> None:
        self.platform.administer(f"mailboxes/{self.address}", fields)

    def send(self, *words: str) -> None:
        """Messages, which are there when this returns."""
        before = self.count()
        for word in words:
            self.platform.send(LETTER.format(word).encode(), self.address)
        deadline = time.monotonic() + PATIENCE_SECONDS
        while self.count() < before + len(words):
            assert time.monotonic() < deadline
            time.sleep(0.05)

    def count(self) -> int:
        """Messages of INBOX, by IMAP."""
        with imaplib.IMAP4_SSL(
            self.platform.host, self.platform.port("imaps"), ssl_context=self.platform.tls(), timeout=CLIENT_SECONDS
        ) as client:
            client.login(self.address, PASSWORD)
            return int(client.select("INBOX", readonly=True)[1][0] or b"0")


@pytest.fixture
def box(platform: Platform) -> Box:
    word = os.urandom(4).hex()
    platform.administer(f"domains/pop-{word}.example", {"incoming": True})
    box = Box(platform=platform, address=f"kim@pop-{word}.example")
    box.put(password=PASSWORD, pop3=True)
    return box


def test_mail_is_read_and_removed(box: Box) -> None:
    box.send("one", "two", "three")
    with box.connect() as client:
        assert "TOP" in client.capa()
        number, octets = client.stat()
        assert number == 3
        assert sum(int(line.split()[1]) for line in client.list()[1]) == octets
        ids = [line.split()[1] for line in client.uidl()[1]]
        lines = client.retr(2)[1]
        assert lines[-2:] == [b"Hello two.", b".a line with a dot"]
        assert sum(len(line) + 2 for line in lines) == int(client.list(2).split()[2])  # type: ignore[attr-defined]
        assert client.top(3, 0)[1][-1] == b""
        client.dele(2)
        assert box.count() == 3
        client.quit()
    assert box.count() == 2
    with box.connect() as client:
        assert [line.split()[1] for line in client.uidl()[1]] == [ids[0], ids[2]]


def test_one_session_at_a_time_and_only_where_it_is_on(box: Box) -> None:
    with box.connect(), box.connect(log_in=False) as second:
        second.user(box.address)
        with pytest.raises(poplib.error_proto, match="IN-USE"):
            second.pass_(PASSWORD)
    box.put(pop3=False)
    with box.connect(log_in=False) as refused:
        refused.user(box.address)
        with pytest.raises(poplib.error_proto, match=r"\[AUTH\] POP3 is off"):
            refused.pass_(PASSWORD)


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_curl_reads_by_pop3(box: Box) -> None:
    box.send("curled")
    address = f"pop3s://localhost:{box.platform.port('pop3s')}/1"
    done = subprocess.run(
        ["curl", "-sS", "--cacert", box.platform.ca_file, "--user", f"{box.address}:{PASSWORD}", address],
        env=process_environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=CLIENT_SECONDS,
    )
    assert done.returncode == 0, done.stderr
    assert "Hello curled.\n.a line with a dot" in done.stdout.replace("\r\n", "\n")


@pytest.fixture
def killed() -> Iterator[Platform]:
    with short_folder() as folder:
        yield start_platform(folder, "--workers", "separate")


def kill_gateway(platform: Platform) -> None:
    pid = process_ids(platform)["imap-gateway"]
    os.kill(pid, signal.SIGKILL)
    wait_new_processes(platform, pid)
    wait_ready(platform)


def test_a_kill_changes_nothing_that_was_not_quit_and_all_that_was(killed: Platform) -> None:
    killed.administer("domains/pop.example", {"incoming": True})
    kim, lee = (Box(platform=killed, address=f"{name}@pop.example") for name in ("kim", "lee"))
    for box in (kim, lee):
        box.put(password=PASSWORD, pop3=True)
        box.send("one", "two")
    with kim.connect() as client:
        client.dele(1)
        kill_gateway(killed)
        with pytest.raises((poplib.error_proto, OSError, EOFError)):
            client.noop()
    assert kim.count() == 2
    with lee.connect() as client:
        client.dele(2)
        assert client.quit().startswith(b"+OK")
    kill_gateway(killed)
    assert lee.count() == 1
    with lee.connect() as client:
        assert client.stat()[0] == 1
    with kim.connect(log_in=False) as client:  # the dead process holds the mailbox for a while
        client.user(kim.address)
        with pytest.raises(poplib.error_proto, match="IN-USE"):
            client.pass_(PASSWORD)
