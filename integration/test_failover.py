"""A database that lost the last things it told: failover to a standby that was behind, and a copy that was put back.

Promises 1, 2, 5 and 6 must hold over both: what was answered with 250 is there exactly once, below a UIDNEXT that was
announced nothing appears, MODSEQs go on above, search finds what is there. A standby that was behind is made of a cold
copy of Postgres's files, started with `standby.signal` and promoted: the same database on the next timeline.
"""

import asyncio
import contextlib
import imaplib
import json
import os
import re
import shutil
import signal
import smtplib
import subprocess
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg
import msgspec
import pytest

from postbus.runtime.embedded import EmbeddedPostgres, prepare_postgres, read_secret
from postbus.runtime.embedded.postgres import find_programs
from postbus.runtime.layout import Layout, layout_of
from postbus.runtime.supervisor_restore import MARK_FILE, RESTORE_FILE
from postbus.testing.installation import Platform, postbus, running, short_folder, start_platform
from postbus.testing.probes import (
    HEAL_SECONDS,
    assert_exactly_once,
    assert_ledger_balanced,
    assert_quiet_logs,
    logged_in,
    process_ids,
    submit,
    wait_ready,
)

MILLION = 1_000_000
OFTEN = {"POSTBUS_DELIVERY_LEDGER_CHECK_SECONDS": "1"}
NO_DNS = ("--resolver", "127.0.0.1:1")
"""Nobody answers there: mail to others stays in the queue."""
BYE = b"* BYE [UNAVAILABLE] The mail store goes on from an earlier state"
WORD = re.compile(rb"(\d+)")


class Told(msgspec.Struct, frozen=True):
    """What a client knows of INBOX."""

    uid_validity: int
    uid_next: int
    mod_seq: int
    flags: dict[int, bytes]
    """By uid."""


def look(platform: Platform) -> Told:
    """STATUS, and FLAGS of all messages."""
    with logged_in(platform) as session:
        kind, data = session.status("INBOX", "(UIDVALIDITY UIDNEXT HIGHESTMODSEQ)")
        assert kind == "OK"
        uid_validity, uid_next, mod_seq = map(int, WORD.findall(data[0]))
        assert session.select("INBOX", readonly=True)[0] == "OK"
        return Told(uid_validity, uid_next, mod_seq, flags_of(session, "1:*", "(UID FLAGS)"))


def flags_of(session: imaplib.IMAP4, *arguments: str) -> dict[int, bytes]:
    kind, data = session.uid("FETCH", *arguments)
    assert kind == "OK"
    lines = [bytes(line) for line in data if line]
    return {int(re.findall(rb"UID (\d+)", line)[0]): re.findall(rb"FLAGS \((.*?)\)", line)[0] for line in lines}


def find(platform: Platform, word: str) -> list[int]:
    """UIDs of the messages with that word in their text, by the search index."""
    with logged_in(platform) as session:
        session.select("INBOX", readonly=True)
        kind, data = session.uid("SEARCH", "TEXT", f'"{word}"')
        return list(map(int, data[0].split())) if kind == "OK" else []


class Site:
    """An installation whose Postgres can be copied and put back."""

    def __init__(self, folder: Path) -> None:
        self.platform = start_platform(folder, *NO_DNS, environment=OFTEN)
        self.folder = folder
        self.accepted: set[str] = set()

    @property
    def layout(self) -> Layout:
        return layout_of(self.folder, {})

    def send(self, count: int) -> list[str]:
        """Messages to the first mailbox, each with a word of its own."""
        words = [f"word{uuid.uuid4().hex}" for _ in range(count)]
        for word in words:
            submit(self.platform, f"{word}@failover", self.platform.mailboxes[0][0])
        self.accepted |= {f"{word}@failover" for word in words}
        assert_exactly_once(self.platform, self.accepted)
        return words

    def send_out(self) -> str:
        """A message to somebody elsewhere, who can't be reached; the recipient."""
        recipient = f"x{uuid.uuid4().hex}@far.example"
        login = self.platform.mailboxes[0]
        with smtplib.SMTP_SSL(
            self.platform.host, self.platform.port("submissions"), context=self.platform.tls(), timeout=30
        ) as session:
            session.login(*login)
            session.sendmail(login[0], [recipient], b"From: %b\r\n\r\nOut.\r\n" % login[0].encode())
        self.wait_queue(recipient)
        return recipient

    def queue(self) -> dict[str, dict[str, Any]]:
        """Outgoing copies by recipient."""
        done = postbus("queue", "list", "--json", "--data-dir", str(self.folder))
        return {entry["recipient"]: entry for entry in json.loads(done.stdout)["entries"]}

    def wait_queue(self, *recipients: str) -> dict[str, dict[str, Any]]:
        """The queue, once all of these are in it."""
        deadline = time.monotonic() + HEAL_SECONDS
        while True:
            found = self.queue()
            if set(recipients) <= set(found):
                return found
            assert time.monotonic() < deadline, f"{recipients} are not in the queue"
            time.sleep(0.2)

    def down(self) -> None:
        postbus("down", "--data-dir", str(self.folder))

    def up(self, *options: str) -> None:
        base = str(self.platform.port("smtp") - 25)
        self.platform = start_platform(self.folder, *NO_DNS, *options, "--port-base", base, environment=OFTEN)

    def keep_copy(self) -> None:
        """A cold copy of Postgres's files."""
        self.down()
        copy(self.server.data, self._copy)
        self.up()

    def put_back(self, as_standby: bool) -> None:
        """The copy in place of the files; a standby has never been anything else, so it bears the mark of now."""
        data = self.server.data
        mark = (data / MARK_FILE).read_bytes()
        shutil.rmtree(data)
        copy(self._copy, data)
        if as_standby:
            (data / MARK_FILE).write_bytes(mark)
            (data / "standby.signal").touch()

    def promote(self) -> None:
        """The standby becomes the primary."""
        asyncio.run(promote(self.server, self.superuser))

    @property
    def superuser(self) -> str:
        """Postgres's password."""
        return read_secret(self.layout.secrets, "postgres-superuser")

    def promote_alone(self) -> None:
        """The same while the platform is down."""
        server = prepare_postgres(self.layout)
        with running(server.program(), server.is_ready):
            self.promote()

    @property
    def _copy(self) -> Path:
        return self.folder.parent / "copy"

    @property
    def server(self) -> EmbeddedPostgres:
        """Postgres of the installation, running or not."""
        layout = self.layout
        return EmbeddedPostgres(home=layout.postgres, socket_dir=layout.run / "pg", programs=find_programs())


def copy(source: Path, target: Path) -> None:
    """With owners and times."""
    subprocess.run(["cp", "-a", str(source), str(target)], check=True)


async def promote(server: EmbeddedPostgres, password: str) -> None:
    session = await asyncpg.connect(server.dsn, user="postgres", password=password)
    try:
        assert await session.fetchval("SELECT pg_is_in_recovery()")
        assert await session.fetchval("SELECT pg_promote(true, 30)")
        assert await session.fetchval("SELECT NOT pg_is_in_recovery()")
    finally:
        await session.close()


@pytest.fixture
def site() -> Iterator[Site]:
    with short_folder() as folder:
        made = Site(folder)
        yield made
        assert_quiet_logs(made.platform)


def live_in_the_lost_time(site: Site, kept: list[str]) -> tuple[Told, list[str]]:
    """Two more messages, a flag and an EXPUNGE that the copy does not know; what a client saw of it all."""
    lost = site.send(2)
    [first, second] = find(site.platform, kept[0]) + find(site.platform, kept[1])
    with logged_in(site.platform) as session:
        session.select("INBOX")
        assert session.uid("STORE", str(first), "+FLAGS", r"(\Flagged)")[0] == "OK"
        assert session.uid("STORE", str(second), "+FLAGS", r"(\Deleted)")[0] == "OK"
        assert session.expunge()[0] == "OK"
    told = look(site.platform)
    assert second not in told.flags
    return told, lost


def check_after_lift(site: Site, before: Told, seen: Told, kept: list[str], lost: list[str]) -> None:
    """`before`: when the copy was made; `seen`: at the end of the lost time."""
    assert_exactly_once(site.platform, site.accepted)
    now = look(site.platform)
    assert now.uid_validity == before.uid_validity
    assert now.uid_next >= before.uid_next + MILLION > seen.uid_next
    assert now.mod_seq >= before.mod_seq + MILLION > seen.mod_seq
    # Below what was announced is what was there when the copy was made, and nothing of the lost time.
    assert {uid for uid in now.flags if uid < seen.uid_next} == set(before.flags)
    assert {uid for uid in now.flags if uid not in before.flags} == {
        uid for word in lost for uid in find_one(site, word)
    }
    assert min(uid for uid in now.flags if uid not in before.flags) >= before.uid_next + MILLION
    with logged_in(site.platform) as session:
        session.select("INBOX", readonly=True)
        # A client with mod_seqs of the lost time hears of every message anew, also of those that it saw changed.
        assert flags_of(session, "1:*", f"(UID FLAGS) (CHANGEDSINCE {seen.mod_seq})") == now.flags
    assert all(b"Flagged" not in flags for flags in now.flags.values())
    for word in (*kept, *lost):
        assert len(find_one(site, word)) == 1, word
    assert_ledger_balanced(site.platform)


def find_one(site: Site, word: str) -> list[int]:
    """`find`, once the index has come to it."""
    deadline = time.monotonic() + HEAL_SECONDS
    while not (found := find(site.platform, word)) and time.monotonic() < deadline:
        time.sleep(0.2)
    return found


def events_of(site: Site, event: str) -> list[dict[str, Any]]:
    """Lines of all services' logs."""
    texts = [path.read_text() for path in site.layout.logs.glob("*.log") if path.stem != "postgres"]
    lines = [json.loads(line) for text in texts for line in text.splitlines() if line.startswith("{")]
    return [line for line in lines if line.get("event") == event]


def test_failover_to_a_standby_that_was_behind(site: Site) -> None:
    kept = site.send(3)
    before = look(site.platform)
    site.keep_copy()
    seen, lost = live_in_the_lost_time(site, kept)
    site.down()
    site.put_back(as_standby=True)
    site.promote_alone()
    site.up()
    assert not (site.folder / RESTORE_FILE).exists()
    check_after_lift(site, before, seen, kept, lost)
    site.send(1)
    assert site.queue() == {}
    [began] = events_of(site, "mailstore.epoch.began")
    assert (began["epoch"], began["reason"], began["span"]) == (2, "failover", MILLION)


def test_a_copy_that_was_put_back_holds_the_queue(site: Site) -> None:
    """Postgres's files alone: the installation sees it. The whole data folder: who did it says so."""
    kept = site.send(3)
    waiting = site.send_out()
    before = look(site.platform)
    site.keep_copy()
    seen, lost = live_in_the_lost_time(site, kept)
    lost_out = site.send_out()
    site.down()
    site.put_back(as_standby=False)
    site.up()
    first = (site.folder / RESTORE_FILE).read_text()
    check_after_lift(site, before, seen, kept, lost)
    queue = site.wait_queue(waiting, lost_out)
    assert {(entry["state"], entry["last_reply"][:20]) for entry in queue.values()} == {
        ("held", "held after a restore")
    }
    fresh = site.send_out()
    assert site.queue()[fresh]["state"] == "waiting"
    postbus("queue", "release", "--all", "--data-dir", str(site.folder))
    assert {entry["state"] for entry in site.queue().values()} == {"waiting"}
    again = look(site.platform)
    site.down()
    site.up("--restored")
    assert (site.folder / RESTORE_FILE).read_text() != first
    lifted = look(site.platform)
    assert lifted.uid_next >= again.uid_next + MILLION
    assert (lifted.uid_validity, lifted.flags) == (again.uid_validity, again.flags)
    assert {entry["state"] for entry in site.wait_queue(waiting, lost_out, fresh).values()} == {"held"}


def test_failover_under_open_sessions(site: Site) -> None:
    """Who was told of the lost time hears BYE and nothing else; the services go on by themselves."""
    kept = site.send(3)
    before = look(site.platform)
    site.keep_copy()
    seen, lost = live_in_the_lost_time(site, kept)
    with logged_in(site.platform) as idling, logged_in(site.platform) as selected:
        idling.select("INBOX")
        idling.send(b"i IDLE\r\n")
        assert idling.readline().startswith(b"+")
        selected.select("INBOX")
        with supervisor_stopped(site):
            end_postgres(site)
            site.put_back(as_standby=True)
        wait_standby(site)
        assert say(selected, b"a NOOP") == [b"a NO [UNAVAILABLE] Not available now, try again later\r\n"]
        site.promote()
        selected.send(b"b NOOP\r\n")
        for session in (idling, selected):
            lines = list(iter(session.readline, b""))
            assert [line[: len(BYE)] for line in lines] == [BYE], lines
    wait_ready(site.platform)
    check_after_lift(site, before, seen, kept, lost)
    site.send(1)


@contextlib.contextmanager
def supervisor_stopped(site: Site) -> Iterator[None]:
    """It restarts nothing while the block runs."""
    pid = int(site.layout.lock_file.read_text())
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def end_postgres(site: Site) -> None:
    """As a primary that is gone; until the last of its processes has ended."""
    pid = process_ids(site.platform)["postgres"]
    os.kill(pid, signal.SIGINT)
    deadline = time.monotonic() + HEAL_SECONDS
    while "State:\tZ" not in Path(f"/proc/{pid}/status").read_text():
        assert time.monotonic() < deadline, "Postgres does not end"
        time.sleep(0.02)


def wait_standby(site: Site) -> None:
    """Until the new one takes connections."""
    deadline = time.monotonic() + HEAL_SECONDS
    while not asyncio.run(is_standby(site.server, site.superuser)):
        assert time.monotonic() < deadline, "the standby does not start"
        time.sleep(0.1)


async def is_standby(server: EmbeddedPostgres, password: str) -> bool:
    try:
        session = await asyncpg.connect(server.dsn, user="postgres", password=password)
    except (OSError, asyncpg.PostgresError):
        return False
    try:
        return bool(await session.fetchval("SELECT pg_is_in_recovery()"))
    finally:
        await session.close()


def say(session: imaplib.IMAP4, line: bytes) -> list[bytes]:
    """What is said up to the tagged reply."""
    session.send(line + b"\r\n")
    lines = [session.readline()]
    while lines[-1] and not lines[-1].startswith(line[:2]):
        lines.append(session.readline())
    return lines
