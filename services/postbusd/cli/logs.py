"""`postbus logs [SERVICE] [-f]`: what the services wrote, in order of time; -f goes on as it comes."""

import argparse
import os
import re
import sys
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path

import msgspec

from postbusd.cli.common import add_data_dir, clean, clean_lines, escape_json, fail, layout_from

FOLLOW_SECONDS = 0.25
_TIME = re.compile(r"(\d{4})[-/](\d\d)[-/](\d\d)[T ](\d\d:\d\d:\d\d(?:\.\d+)?)")


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Registers the command."""
    parser = subparsers.add_parser("logs", help="what the services wrote", description=__doc__)
    parser.add_argument("service", nargs="?", metavar="SERVICE", help="one service, postgres, nats or supervisor")
    add_data_dir(parser)
    parser.add_argument("-f", "--follow", action="store_true", help="go on as lines come")
    parser.add_argument("-n", "--lines", type=int, default=50, metavar="N", help="begin N lines back (default 50)")
    parser.add_argument("--json", action="store_true", help="lines as they were written")
    parser.set_defaults(handler=run_logs)


def run_logs(args: argparse.Namespace) -> int:
    """Prints the last lines; with -f until Ctrl-C."""
    folder = layout_from(args).logs
    paths = {path.name.removesuffix(".log"): path for path in sorted(folder.glob("*.log"))}
    if args.service is not None:
        if args.service not in paths:
            there = f"there is {', '.join(paths)}" if paths else "there is none"
            return fail("logs", f"no log of {args.service} in {folder}: {there}")
        paths = {args.service: paths[args.service]}
    elif not paths:
        return fail("logs", f"no logs in {folder}")
    tails: dict[str, Tail] = {}
    try:
        tails |= {name: Tail(path) for name, path in paths.items()}
        lines = [(_time_of(line), name, line) for name, tail in tails.items() for line in tail.last(args.lines)]
        for _, name, line in sorted(lines, key=lambda found: found[0])[-args.lines :]:
            print(escape_json(line) if args.json else format_line(name, line))
        while args.follow:
            sys.stdout.flush()
            time.sleep(FOLLOW_SECONDS)
            for name, tail in tails.items():
                for line in tail.new():
                    print(escape_json(line) if args.json else format_line(name, line))
    except OSError as error:
        return fail("logs", f"{error.filename}: {error.strerror}")
    finally:
        for tail in tails.values():
            tail.close()
    return 0


class Tail:
    """The end of a log file that grows and is rotated under us."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = path.open("rb")
        self._rest = b""

    def close(self) -> None:
        """Closes the file."""
        self._file.close()

    def last(self, count: int) -> list[str]:
        """The last lines, of the old file too when the present one has too few."""
        lines = deque(self.new(), maxlen=count)
        old = self._path.with_name(f"{self._path.name}.1")
        if len(lines) < count and old.exists():
            with old.open("rb") as file:
                before = deque((_text(line) for line in file), maxlen=count - len(lines))
            return [*before, *lines]
        return list(lines)

    def new(self) -> Iterator[str]:
        """Complete lines since the last call."""
        while data := self._file.read(1 << 20):
            *lines, self._rest = (self._rest + data).split(b"\n")
            yield from map(_text, lines)
        if self._path.exists() and self._path.stat().st_ino != _inode(self._file.fileno()):
            self._file.close()
            self._file = self._path.open("rb")
            yield from self.new()


def format_line(name: str, line: str) -> str:
    """A JSON line as people read it: time, service, level, event, facts; any other line with its file's name."""
    try:
        facts = msgspec.json.decode(line)
    except msgspec.DecodeError:
        facts = None
    if not isinstance(facts, dict) or "event" not in facts:
        return clean_lines(f"{name}: {line}")
    at, service = str(facts.pop("ts", "")), facts.pop("service", name)
    level, event = facts.pop("level", ""), facts.pop("event")
    trouble = str(facts.pop("exception", "")).rstrip()
    rest = " ".join(f"{key}={_value(value)}" for key, value in facts.items())
    text = clean(f"{at[:23].replace('T', ' ')} {service:<15} {level:<7} {event} {rest}".rstrip())
    return f"{text}\n{clean_lines(trouble)}" if trouble else text


def _value(value: object) -> str:
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    return text if text and not re.search(r'[\s"=]', text) else msgspec.json.encode(text).decode()


def _time_of(line: str) -> str:
    """The first time in a line, in a form that sorts; ours, Postgres's and NATS's differ in signs only."""
    match = _TIME.search(line[:200])
    return f"{match[1]}-{match[2]}-{match[3]}T{match[4]}" if match else ""


def _text(line: bytes) -> str:
    return line.decode("utf-8", "replace").rstrip("\r\n")


def _inode(descriptor: int) -> int:

    return os.fstat(descriptor).st_ino
