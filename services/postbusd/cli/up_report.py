"""What `postbus up` shows: steps, the welcome text with commands to paste, a live table on a terminal."""

import contextlib
import shlex
import shutil
import time
from typing import TextIO

import msgspec

from postbus.runtime.layout import Layout
from postbus.runtime.supervisor_connection import DEMO_DOMAIN, Connection
from postbus.runtime.supervisor_ports import join
from postbus.runtime.supervisor_state import READY, State
from postbusd.cli.status import format_state, measure

MEASURE_SECONDS = 10.0
"""How often memory is measured: reading it is not free."""


class LiveReport:
    """Lines, and on a terminal the status table below them, drawn anew in its place."""

    def __init__(self, output: TextIO) -> None:
        self._output = output
        self._is_terminal = output.isatty()
        self._drawn = 0
        self._measured_at = 0.0
        self._memory: State | None = None
        self._health: dict[str, str] = {}

    def tell(self, text: str) -> None:
        """A line, or several."""
        self._erase()
        self._print(text)

    def watch(self, state: State) -> None:
        """The state of now: a table on a terminal, elsewhere a line when something changes."""
        if self._is_terminal:
            self._draw(self._with_memory(state))
            return
        for part in state.parts:
            before = self._health.get(part.name, READY)
            if part.health != before:
                self._print(f"{part.name}: {part.health} {part.detail}".rstrip())
            self._health[part.name] = part.health

    def _with_memory(self, state: State) -> State:
        now = time.monotonic()
        if self._memory is None or now - self._measured_at > MEASURE_SECONDS:
            self._memory, self._measured_at = measure(state), now
        known = {part.name: part.pss_octets for part in self._memory.parts}
        parts = tuple(msgspec.structs.replace(part, pss_octets=known.get(part.name)) for part in state.parts)
        return msgspec.structs.replace(
            state,
            parts=parts,
            supervisor_octets=self._memory.supervisor_octets,
            pss_octets=self._memory.pss_octets,
        )

    def _draw(self, state: State) -> None:
        self._erase()
        width = shutil.get_terminal_size().columns - 1  # a wrapped line would upset the next redraw
        lines = [line[:width] for line in format_state(state).splitlines()]
        self._print("\n".join(lines))
        self._drawn = len(lines)

    def _erase(self) -> None:
        if self._drawn:
            self._print(f"\x1b[{self._drawn}A\x1b[J", end="")
            self._drawn = 0

    def _print(self, text: str, end: str = "\n") -> None:
        """Prints; a terminal that has gone, or a full disk behind a pipe, is no reason to stop."""
        with contextlib.suppress(OSError, ValueError):
            print(text, file=self._output, end=end, flush=True)


def format_welcome(layout: Layout, connection: Connection, state: State) -> str:
    """What a person needs to send and read the first message."""
    parts = [
        f"Postbus is ready after {state.ready_seconds:.1f} s.",
        "",
        format_state(measure(state)),
        "",
        *_mailbox_lines(connection),
        "",
        *format_commands(connection),
        "",
        f"Administration: {connection.admin.url} with the token in {layout.secrets / 'admin-token'}",
        f"Everything for scripts: {layout.connection_file}; settings: {layout.settings_file}; logs: {layout.logs}",
        "Further commands: postbus status, domain, mailbox, queue, trace, logs, down; all of them: postbus --help",
        "",
    ]
    return "\n".join(parts)


def _mailbox_lines(connection: Connection) -> list[str]:
    width = max(len(mailbox.address) for mailbox in connection.mailboxes)
    lines = [f"  {mailbox.address:<{width}}  password {mailbox.password}" for mailbox in connection.mailboxes]
    return [f"Domain {DEMO_DOMAIN} with two mailboxes:", *lines]


def format_commands(connection: Connection) -> list[str]:
    """Lines about sending and reading; the indented ones are commands to paste."""
    return [*_send_lines(connection), "", *_read_lines(connection)]


def _send_lines(connection: Connection) -> list[str]:
    first, second = connection.mailboxes[:2]
    host, smtp = _client_host(connection.host), connection.ports["smtp"] or 0
    submission = connection.ports["submissions"] or 0
    text = rf"From: friend@example.org\r\nTo: {first.address}\r\nSubject: Hello\r\n\r\nA first message.\r\n"
    answer = rf"From: {first.address}\r\nTo: {second.address}\r\nSubject: Hello\r\n\r\nFrom me.\r\n"
    ca_file = shlex.quote(connection.tls.ca_file)
    user = shlex.quote(f"{first.address}:{first.password}")
    return [
        "Send a message from outside:",
        (
            f"  swaks --server {join(host, smtp)} --from friend@example.org --to {first.address} "
            "--header 'Subject: Hello' --body 'A first message.'"
        ),
        (
            f"  printf '{text}' | curl -sS --url smtp://{join(host, smtp)} --mail-from friend@example.org "
            f"--mail-rcpt {first.address} --upload-file -"
        ),
        f"Send one as {first.address} (submission with TLS):",
        (
            f"  printf '{answer}' | curl -sS --url smtps://{join(host, submission)} --cacert {ca_file} --user {user} "
            f"--mail-from {first.address} --mail-rcpt {second.address} --upload-file -"
        ),
    ]


def _read_lines(connection: Connection) -> list[str]:
    first = connection.mailboxes[0]
    host, imaps = _client_host(connection.host), connection.ports["imaps"] or 0
    ca_file = shlex.quote(connection.tls.ca_file)
    user = shlex.quote(f"{first.address}:{first.password}")
    url = f"imaps://{join(host, imaps)}/INBOX"
    named_host = "localhost" if host == "127.0.0.1" else host  # several clients never find an address in a certificate
    return [
        "Read it:",
        f"  curl -sS --cacert {ca_file} --user {user} '{url};MAILINDEX=1'",
        f"  curl -sS --cacert {ca_file} --user {user} {url} --request 'SEARCH TEXT first'",
        (
            f"In a mail program: IMAP server {named_host}, port {imaps}, TLS; SMTP server {named_host}, "
            f"port {connection.ports['submissions']}, TLS; user {first.address}; trust {connection.tls.ca_file}"
        ),
    ]


def _client_host(host: str) -> str:
    """Where clients on this machine go: "any address" is no destination."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 (compared, not bound)
