"""CPU seconds and memory of the parts of an installation, from /proc (Linux).

CPU of a part is that of its process and of the children that it has and had: Postgres's backends count when they have
ended. Memory is the proportional set size, so that shared pages count once.
"""

import contextlib
import json
import os
from collections import Counter
from pathlib import Path

from postbus.testing.installation import postbus

TICKS = os.sysconf("SC_CLK_TCK")
KIB = 1024
SUPERVISOR = "supervisor"


class Parts:
    """The processes of a running installation by name; services of one process are one part."""

    def __init__(self, data_dir: Path) -> None:
        status = json.loads(postbus("status", "--json", "--data-dir", str(data_dir)).stdout)
        self._pids: dict[str, int] = {}
        names: dict[int, list[str]] = {}
        for part in status["parts"]:
            names.setdefault(part["pid"], []).append(part["name"])
        for pid, members in names.items():
            self._pids["+".join(members)] = pid
        self._pids[SUPERVISOR] = status["pid"]

    @property
    def pids(self) -> dict[str, int]:
        """Main processes."""
        return dict(self._pids)

    def cpu_seconds(self) -> Counter[str]:
        """Used so far, by part."""
        children = _children()
        return Counter(
            {
                name: _ticks(pid, ended=name != SUPERVISOR) / TICKS
                + sum(_ticks(child, ended=True) for child in children.get(pid, ()) if name != SUPERVISOR) / TICKS
                for name, pid in self._pids.items()
            }
        )

    def main_thread_seconds(self) -> dict[str, float]:
        """CPU of the main thread of each part's main process, so far."""
        return {name: _main_thread_ticks(pid) / TICKS for name, pid in self._pids.items()}

    def pss_mib(self) -> dict[str, float]:
        """Now, by part."""
        children = _children()
        return {
            name: round(
                sum(_pss(each) for each in (pid, *(children.get(pid, ()) if name != SUPERVISOR else ()))) / KIB, 1
            )
            for name, pid in self._pids.items()
        }


def spent(before: Counter[str], after: Counter[str], messages: int) -> dict[str, float]:
    """CPU seconds per 1,000 messages by part, the most first, and `all`."""
    used = {name: (after[name] - before[name]) * 1000 / messages for name in after}
    ordered = sorted(used.items(), key=lambda item: -item[1])
    return {"all": round(sum(used.values()), 2), **{name: round(seconds, 2) for name, seconds in ordered}}


def total(by_part: dict[str, float]) -> float:
    """All parts together."""
    return round(sum(by_part.values()), 1)


def _children() -> dict[int, list[int]]:
    found: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            found.setdefault(int(_fields(stat)[1]), []).append(int(stat.parent.name))
    return found


def _ticks(pid: int, *, ended: bool) -> int:
    with contextlib.suppress(OSError):
        fields = _fields(Path(f"/proc/{pid}/stat"))
        return sum(map(int, fields[11 : 15 if ended else 13]))
    return 0


def _main_thread_ticks(pid: int) -> int:
    with contextlib.suppress(OSError):
        return sum(map(int, _fields(Path(f"/proc/{pid}/task/{pid}/stat"))[11:13]))
    return 0


def _fields(stat: Path) -> list[str]:
    return stat.read_text().rpartition(")")[2].split()


def _pss(pid: int) -> int:
    with contextlib.suppress(OSError):
        rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
        return next(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:"))
    return 0
