"""Memory of supervised programs as PSS: pages that processes share are divided among them, so that sums are true."""

import contextlib
import os
import re
from pathlib import Path

_PSS = re.compile(rb"^Pss:\s+(\d+) kB", re.MULTILINE)


def pss_octets(pid: int, *, with_children: bool = True) -> int | None:
    """PSS of a process and all its descendants, octets; None when it can't be read (gone, or another user's)."""
    total = None
    for member in [pid, *(_descendants(pid) if with_children else ())]:
        with contextlib.suppress(OSError):
            match = _PSS.search(Path(f"/proc/{member}/smaps_rollup").read_bytes())
            if match is not None:
                total = (total or 0) + int(match[1]) * 1024
    return total


def _descendants(pid: int) -> list[int]:
    found: list[int] = []
    with contextlib.suppress(OSError):
        for thread in os.listdir(f"/proc/{pid}/task"):  # noqa: PTH208 (names only)
            children = Path(f"/proc/{pid}/task/{thread}/children").read_text(encoding="ascii")
            for child in children.split():
                found += [int(child), *_descendants(int(child))]
    return found
