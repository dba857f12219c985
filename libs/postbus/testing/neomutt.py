"""A person with neomutt: writes from the command line, reads and answers at a terminal of its own."""

import contextlib
import os
import pty
import select
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

from postbus.runtime.settings import process_environment
from postbus.testing.installation import Platform

HOST = "localhost"
"""Certificates are looked at for host names only."""
SECONDS = 30.0
READ_OCTETS = 65536
_RC = """\
set realname="{name}"
set from="{address}"
set folder="imaps://{host}:{imaps}/"
set spoolfile="+INBOX"
set record="+Sent"
set imap_user="{address}"
set imap_pass="{password}"
set smtp_url="smtps://{address}@{host}:{submissions}/"
set smtp_pass="{password}"
set ssl_ca_certificates_file="{ca_file}"
set certificate_file="{ca_file}"
set editor="{editor}"
set sort=date
set abort_unmodified=no
set fast_reply=yes
set include=yes
set move=no
set mark_old=no
set confirmappend=no
set quit=yes
set sleep_time=0
set header_cache=""
"""
_EDITOR = """\
#!/bin/sh
{{ printf '%s\\n' '{text}'; cat "$1"; }} > "$1.new" && mv "$1.new" "$1"
"""


class Person(msgspec.Struct, frozen=True, kw_only=True):
    """Who owns a mailbox of a platform, with a home folder."""

    platform: Platform
    address: str
    password: str
    home: Path

    def write(self, to: str, subject: str, text: str) -> None:
        """Sends a message by submission."""
        rc = self._settings("")
        done = subprocess.run(
            ["neomutt", "-F", str(rc), "-s", subject, "--", to],
            input=text,
            env=self._environment(),
            capture_output=True,
            text=True,
            check=False,
            timeout=SECONDS,
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def answer_last(self, text: str) -> None:
        """Opens INBOX, reads the last message and replies to it with `text` above the quotation."""
        rc = self._settings(text)
        keys = "<last-entry><display-message><exit><last-entry><reply><send-message><quit>"
        with _terminal(["neomutt", "-F", str(rc), "-e", f'push "{keys}"'], self._environment()) as screen:
            assert screen, "neomutt showed nothing"

    def _settings(self, text: str) -> Path:
        self.home.mkdir(exist_ok=True)
        editor = self.home / "editor"
        editor.write_text(_EDITOR.format(text=text))
        editor.chmod(0o700)
        rc = self.home / "muttrc"
        rc.write_text(
            _RC.format(
                name=self.address.partition("@")[0].title(),
                address=self.address,
                password=self.password,
                host=HOST,
                imaps=self.platform.port("imaps"),
                submissions=self.platform.port("submissions"),
                ca_file=self.platform.ca_file,
                editor=editor,
            )
        )
        rc.chmod(0o600)
        return rc

    def _environment(self) -> dict[str, str]:
        return {**process_environment(), "HOME": str(self.home), "TERM": "xterm", "LC_ALL": "C.UTF-8"}


def neomutt_is_here() -> bool:
    """Whether the program is installed."""
    return shutil.which("neomutt") is not None


@contextlib.contextmanager
def _terminal(command: list[str], environment: dict[str, str]) -> Iterator[bytes]:
    """Runs a command at a pseudo terminal to its end; what it showed."""
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        command, stdin=follower, stdout=follower, stderr=follower, env=environment, start_new_session=True
    )
    os.close(follower)
    shown = b""
    try:
        deadline = time.monotonic() + SECONDS
        while process.poll() is None:
            assert time.monotonic() < deadline, f"{command[0]} waits for something: {shown[-500:]!r}"
            if select.select([leader], [], [], 0.1)[0]:
                with contextlib.suppress(OSError):
                    shown += os.read(leader, READ_OCTETS)
        yield shown
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        os.close(leader)
