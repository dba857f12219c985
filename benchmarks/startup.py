"""Start-up times and idle memory of the whole platform: cold (first start of a data folder), warm, PSS after a minute.

Usage: .venv/bin/python benchmarks/startup.py [--rounds 3] [--idle-seconds 60] [--workers separate]

Prints one JSON object a line: seconds from calling `./postbus up --detach` until it returns, and MiB PSS by part.
The environment must be installed already (`./postbus status` does that): installation is not start-up.
"""

import argparse
import json
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
MIB = 1024 * 1024


def postbus(*arguments: str) -> str:
    done = subprocess.run([str(ROOT / "postbus"), *arguments], capture_output=True, text=True, check=True)
    return done.stdout


def start(data_dir: Path, options: list[str]) -> float:
    began = time.monotonic()
    postbus("up", "--detach", "--data-dir", str(data_dir), *options)
    return round(time.monotonic() - began, 2)


def pss_octets(pid: int) -> int:
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return next(int(line.split()[1]) * 1024 for line in rollup.splitlines() if line.startswith("Pss:"))


def memory(data_dir: Path) -> dict[str, float]:
    """MiB PSS by process; services of one process are one."""
    status: dict[str, Any] = json.loads(postbus("status", "--json", "--data-dir", str(data_dir)))
    processes = {part["process"] or part["name"]: part["pss_octets"] for part in status["parts"] if part["pss_octets"]}
    processes["supervisor"] = pss_octets(status["pid"])
    found = {name: round(octets / MIB, 1) for name, octets in sorted(processes.items())}
    return {**found, "all": round(sum(processes.values()) / MIB, 1)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--idle-seconds", type=float, default=60.0)
    parser.add_argument("--port-base", type=int, default=27000)
    parser.add_argument("--workers", default="")
    args = parser.parse_args()
    options = ["--port-base", str(args.port_base), *(["--workers", args.workers] if args.workers else [])]
    for number in range(1, args.rounds + 1):
        folder = Path(tempfile.mkdtemp(prefix="pb", dir="/tmp"))
        folder.chmod(0o711)
        data_dir = folder / "d"
        try:
            cold = start(data_dir, options)
            postbus("down", "--data-dir", str(data_dir))
            warm = start(data_dir, options)
            time.sleep(args.idle_seconds)
            print(
                json.dumps({"round": number, "cold_s": cold, "warm_s": warm, "pss_mib": memory(data_dir)}), flush=True
            )
        finally:
            postbus("down", "--data-dir", str(data_dir))
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
