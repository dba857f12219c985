"""A person at the command line, over the real API on fakes."""

import json
from collections.abc import Callable

import pytest

from postbus.runtime.supervisor_connection import Admin, Connection, Tls
from postbus.testing.admin_rest import TOKEN, FakeInstallation
from postbusd.cli.main import main

CONNECTION = Connection(
    host="127.0.0.1",
    ports={"submission": 2587, "submissions": 2465},
    metrics={},
    tls=Tls(ca_file="ca.pem"),
    admin=Admin(url="https://127.0.0.1:2080", token=TOKEN),
    mailboxes=(),
)
Say = Callable[[str], None]
"""Puts text on standard input."""


class Desk:
    """Runs commands as a person would; `out` and `err` are what the last one printed."""

    def __init__(self, installation: FakeInstallation, capsys: pytest.CaptureFixture[str]) -> None:
        self.installation = installation
        self._capsys = capsys
        self.out = self.err = ""

    def run(self, *words: str) -> int:
        """The exit code."""
        try:
            code = main(words)
        except SystemExit as ended:
            code = int(ended.code or 0)
        self.out, self.err = self._capsys.readouterr()
        assert "Traceback" not in self.err
        return code

    def ok(self, *words: str) -> str:
        """What a command prints that must work."""
        assert self.run(*words) == 0, self.err
        return self.out

    def json(self, *words: str) -> object:
        """The same, as a program reads it."""
        value: object = json.loads(self.ok(*words, "--json"))
        return value

    def fails(self, *words: str) -> str:
        """The one line of a refusal."""
        assert self.run(*words) == 1
        assert self.err.count("\n") == 1
        return self.err
