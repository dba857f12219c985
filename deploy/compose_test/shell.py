"""Commands with deadlines, and lines that say what happens and when."""

import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

STARTED = time.monotonic()
COMMAND_SECONDS = 300.0


class TrialError(Exception):
    """What the trial found wrong; the text is for people."""


def say(text: str) -> None:
    """A line with the seconds since the start."""
    print(f"[{time.monotonic() - STARTED:5.0f} s] {text}", flush=True)


def run(
    command: Sequence[str],
    environment: Mapping[str, str],
    *,
    folder: Path | None = None,
    seconds: float = COMMAND_SECONDS,
) -> str:
    """Runs a command to its end; its output. Raises TrialError with the end of what it said."""
    code, output, errors = attempt(command, environment, folder=folder, seconds=seconds)
    if code:
        raise TrialError(f"{' '.join(command)} ended with {code}:\n{(errors or output)[-3000:].strip()}")
    return output


def attempt(
    command: Sequence[str],
    environment: Mapping[str, str],
    *,
    folder: Path | None = None,
    seconds: float = COMMAND_SECONDS,
) -> tuple[int, str, str]:
    """Exit code, output and errors of a command. Raises TrialError when it takes longer than `seconds`."""
    try:
        done = subprocess.run(
            list(command),
            env=dict(environment),
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise TrialError(f"{' '.join(command)}: no end after {seconds:.0f} s") from error
    except FileNotFoundError as error:
        return 127, "", f"{error.filename}: not found"
    return done.returncode, done.stdout, done.stderr


def warn(text: str) -> None:
    """To standard error, as it is."""
    print(text, file=sys.stderr, flush=True)
