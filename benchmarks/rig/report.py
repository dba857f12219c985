"""Figures for people (Markdown tables) and for programs (JSON)."""

import json
import platform
import statistics
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any


def quantiles_ms(seconds: Iterable[float]) -> dict[str, float]:
    """p50, p95, p99 and the most, in milliseconds; empty without values."""
    ordered = sorted(seconds)
    if not ordered:
        return {}
    at = {name: ordered[min(len(ordered) - 1, int(share * len(ordered)))] for name, share in _SHARES.items()}
    return {**{name: round(value * 1000, 1) for name, value in at.items()}, "max": round(ordered[-1] * 1000, 1)}


_SHARES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}


def median_ms(seconds: Sequence[float]) -> float:
    """Of several rounds."""
    return round(statistics.median(seconds) * 1000, 2)


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def slashed(quantiles: dict[str, float], names: Sequence[str] = ("p50", "p95", "p99")) -> str:
    """`3/7/11`."""
    return "/".join(f"{quantiles[name]:.0f}" for name in names) if quantiles else "-"


def write_json(path: Path | None, figures: dict[str, Any]) -> None:
    """With the date, the machine and its load. None: nowhere."""
    if path is None:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    about = {"at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "machine": machine()}
    path.write_text(json.dumps({**about, **figures}, indent=1) + "\n")


def machine() -> dict[str, Any]:
    """What the figures were taken on."""
    load = Path("/proc/loadavg").read_text().split()[0]
    return {"cpus": len(_cpus()), "python": platform.python_version(), "kernel": platform.release(), "load": load}


def _cpus() -> list[str]:
    return [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("processor")]
