"""The command line: quick to start, nothing imported that a command doesn't need."""

import subprocess
import sys
from pathlib import Path

import pytest

from postbus import __version__
from postbusd.cli.main import COMMANDS, main

ROOT = Path(__file__).resolve().parent.parent.parent
HEAVY = ("grpc", "asyncpg", "nats", "litestar", "cryptography", "prometheus_client", "opentelemetry")


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    text = capsys.readouterr().out
    assert all(name in text for name in COMMANDS)


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--version"])
    assert capsys.readouterr().out == f"postbus {__version__}\n"


def test_an_unknown_command_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["dance"])
    assert ended.value.code == 2
    assert "dance" in capsys.readouterr().err


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_every_command_explains_itself(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([command, "--help"])
    assert ended.value.code == 0
    assert f"postbus {command}" in capsys.readouterr().out


LIGHT = ("up", "down", "status", "logs", "domain", "mailbox", "queue", "ledger", "events", "trace")


def test_up_its_supervisor_and_the_nouns_import_nothing_heavy() -> None:
    script = (
        f"import sys; import {', '.join(f'postbusd.cli.{name}' for name in ('main', *LIGHT))}; "
        f"print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={"PYTHONPATH": f"{ROOT / 'libs'}:{ROOT / 'services'}"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "[]"
