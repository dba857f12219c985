"""Log files of a supervised installation: one a service, rotated, never a reason to stop.

A file is renamed to `.1` at 10 MB or after a week, and the old one is deleted a week after its last line: no line stays
longer than 14 days. A full disk loses log lines, nothing else.
"""

import contextlib
import datetime
import os
import re
from pathlib import Path

import msgspec

MAX_FILE_OCTETS = 10_000_000
MAX_CURRENT_DAYS = 7
MAX_OLD_DAYS = 7
MAX_LINE_OCTETS = 256 * 1024
"""A longer line is cut: nothing we write is that long."""
_DATE = re.compile(rb"(\d{4})[-/](\d\d)[-/](\d\d)")
_DAY = 86400.0


class _Routed(msgspec.Struct):
    service: str = ""


_decoder = msgspec.json.Decoder(_Routed)


class LogFile:
    """One rotated log file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._old = path.with_name(f"{path.name}.1")
        self._descriptor = -1
        self._size = 0
        self.lost = 0
        """Lines that could not be written."""

    def write(self, line: bytes) -> None:
        """Appends one line (with its line end); never raises for the disk."""
        try:
            if self._descriptor < 0:
                self._open()
            if self._size + len(line) > MAX_FILE_OCTETS:
                self.rotate()
            if os.write(self._descriptor, line) < len(line):
                os.ftruncate(self._descriptor, self._size)  # half a line would spoil the next one
                self.lost += 1
            else:
                self._size += len(line)
        except OSError:
            self.lost += 1

    def expire(self, now: float) -> None:
        """Rotates and deletes by age; `now` is Unix time in seconds. To be called at start and every few hours."""
        with contextlib.suppress(OSError, ValueError):
            if self._old.exists() and now - self._old.stat().st_mtime > MAX_OLD_DAYS * _DAY:
                self._old.unlink()
            if self._path.exists() and now - _first_day(self._path) > MAX_CURRENT_DAYS * _DAY:
                self.rotate()

    def rotate(self) -> None:
        """Starts a new file; the present one becomes the old one. Raises OSError."""
        self.close()
        self._path.replace(self._old)
        self._open()

    def close(self) -> None:
        """Closes the file; the next line opens it again."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _open(self) -> None:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        self._descriptor = os.open(self._path, flags, 0o600)
        self._size = os.fstat(self._descriptor).st_size


class LogRouter:
    """Puts each line of a program's output into the file of the service that it names."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files: dict[str, LogFile] = {}

    def route(self, program: str, services: frozenset[str], line: bytes) -> str:
        """Writes one line: JSON with a `service` of `services` into that service's file, all else into the program's.

        Returns the file's name, without `.log`.
        """
        name = program
        if services and line.startswith(b"{"):
            with contextlib.suppress(msgspec.DecodeError):
                service = _decoder.decode(line).service
                name = service if service in services else program
        self.file(name).write(line if line.endswith(b"\n") else line + b"\n")
        return name

    def file(self, name: str) -> LogFile:
        """The log file of that name."""
        if name not in self._files:
            self._files[name] = LogFile(self._folder / f"{name}.log")
        return self._files[name]

    def expire(self, now: float) -> None:
        """Rotates and deletes by age, also files of programs that don't run any more."""
        for path in self._folder.glob("*.log*"):
            self.file(path.name.partition(".log")[0]).expire(now)

    def close(self) -> None:
        """Closes all files."""
        for file in self._files.values():
            file.close()


class LineSplitter:
    """Cuts a program's output into lines, bounded."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[bytes]:
        """Complete lines, without their line ends."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > MAX_LINE_OCTETS:
            lines.append(self._rest[:MAX_LINE_OCTETS])
            self._rest = b""
        return [line[:MAX_LINE_OCTETS] for line in lines if line.strip()]

    def flush(self) -> list[bytes]:
        """What came after the last line end."""
        rest, self._rest = self._rest, b""
        return [rest] if rest.strip() else []


def _first_day(path: Path) -> float:
    """The day of a log file's first line, as Unix time; of its last change when no date is found."""
    with path.open("rb") as file:
        match = _DATE.search(file.read(400))
    if match is None:
        return path.stat().st_mtime
    year, month, day = (int(part) for part in match.groups())
    return datetime.datetime(year, month, day, tzinfo=datetime.UTC).timestamp()
