"""A program to run in the foreground, as a value: what the supervisor needs and nothing about how it is run."""

import contextlib
import os
import shutil
import signal
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

from postbus.runtime.layout import StartError


class Program(msgspec.Struct, frozen=True, kw_only=True):
    """A command line with its environment (the whole of it) and the signal that ends it cleanly."""

    name: str
    command: tuple[str, ...]
    environment: dict[str, str]
    folder: Path
    """Its current folder."""
    stop_signal: int = signal.SIGTERM
    stop_seconds: float = 30.0
    """How long a clean end may take before SIGKILL."""


def dies_with_parent(command: Sequence[str], death_signal: str, run_as: Sequence[str] = ()) -> tuple[str, ...]:
    """`command`, to be sent `death_signal` when its parent ends (prctl PR_SET_PDEATHSIG, by setpriv of util-linux).

    `run_as` are further setpriv options; the signal is set after the change of user, which would clear it.
    """
    setpriv = shutil.which("setpriv", path=PROGRAM_PATH)
    if setpriv is None:
        return tuple(command)
    return (setpriv, f"--pdeathsig={death_signal}", *run_as, "--", *command)


PROGRAM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def end_orphans(folder: Path, stop_signal: int, seconds: float) -> None:
    """Ends the processes whose current folder is `folder`, left by a supervisor that was killed, and waits for them.

    Blocking. Raises StartError after `seconds`.
    """
    deadline = time.monotonic() + seconds
    told: set[int] = set()
    while left := _working_in(folder):
        if time.monotonic() > deadline:
            raise StartError(f"another process ({left[0]}) still works in {folder}")
        for pid in set(left) - told:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, stop_signal)
        told.update(left)
        time.sleep(0.05)


def _working_in(folder: Path) -> list[int]:
    found = []
    wanted = folder.stat()
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with contextlib.suppress(OSError):
                place = (entry / "cwd").stat()
                if (place.st_dev, place.st_ino) == (wanted.st_dev, wanted.st_ino):
                    found.append(int(entry.name))
    return sorted(found)
