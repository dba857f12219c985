"""Where the CPU goes: `python benchmarks/cpu_profile.py --py-spy PROGRAM [--seconds N] [--json FILE]`.

Signed messages come in as fast as they go, then at 20 a second; each twice: once to measure the CPU of every process
and of its main thread, and once while py-spy (not part of the installation) samples which Python code holds the
interpreter lock. The samples of the main thread divide its CPU by kind of work: a sample counts for the innermost frame
that a rule knows, what libuv and the kernel do for the event loop as `event loop`. Other threads (blobs and their
fsync, SPF, DKIM of large bodies, tantivy, gRPC) are one row; Postgres, NATS and the supervisor are not looked into.
Milliseconds a message.
"""

import argparse
import asyncio
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from rig import report
from rig.arrivals import Arrivals
from rig.installation import Rig, running_rig, settle
from rig.mail import Mail
from rig.smtp import Load, at_rate, flood

SAMPLES_A_SECOND = 200
MESSAGES_A_SECOND = 20.0
CONNECTIONS = {"flood": 8, "rate": 16}
FLOOD_MESSAGES_A_SECOND = 100
"""About how many a flood sends: enough for the seconds wanted."""
WARM_UP = 100

RULES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("logs", ("logging/__init__.py", "postbus/runtime/log.py")),
    ("metrics", ("prometheus_client/",)),
    ("blobs", ("postbus/blobs/",)),
    ("MIME scan", ("postbus/mime/",)),
    ("SPF", ("postbusd/filter/spf.py", "adapters/pyspf.py", "spf.py")),
    ("DKIM", ("postbusd/filter/dkim", "cryptography/")),
    ("filter, the rest", ("postbusd/filter/", "postbus/spam/", "postbus/dmarc/", "postbus/runtime/dns.py")),
    ("protobuf codec", ("postbus/bus/codec.py", "postbus/rpc/codec.py", "google/protobuf/")),
    ("gRPC", ("grpc/", "postbus/rpc/")),
    ("NATS client", ("nats/", "postbus/bus/")),
    ("Postgres client", ("asyncpg/", "postbus/runtime/database.py")),
    ("mail store, client side", ("postbus/mailstore/",)),
    ("delivery", ("postbusd/delivery/", "postbus/dsn/")),
    ("SMTP dialogue", ("postbusd/smtp_edge/", "postbus/smtp/")),
    ("IMAP", ("postbusd/imap_gateway/", "postbus/imap/")),
    ("index", ("postbusd/indexer/", "tantivy/")),
    ("directory", ("postbusd/directory/",)),
    ("event log", ("postbusd/admin_api/", "postbus/runtime/event_log.py")),
    ("runtime", ("postbus/runtime/", "postbus/core/")),
    ("event loop", ("asyncio/", "uvloop/", "contextlib.py", "selectors.py", "ssl.py", "concurrent/futures/")),
)
OTHER = "other"
OTHER_THREADS = "other threads"
WHOLE = frozenset({"postgres", "nats", "supervisor"})
"""Not looked into."""
THREAD = "Thread._bootstrap "
"""The outermost frame of every Python thread but the first."""
STOP_SECONDS = 60.0


def kind_of(stack: str) -> str:
    """Of a stack as py-spy's raw format has it: frames from the outermost, `name (file:line)`."""
    for frame in reversed(stack.split(";")):
        for kind, paths in RULES:
            if any(f"({path}" in frame or f"/{path}" in frame for path in paths):
                return kind
    return OTHER


class Recording:
    """py-spy on every service process."""

    def __init__(self, rig: Rig, program: str, folder: Path) -> None:
        self._files: dict[str, Path] = {}
        self._programs = []
        for name, pid in rig.parts.pids.items():
            if name in WHOLE:
                continue
            self._files[name] = folder / f"{pid}.raw"
            sampling = ("record", "--gil", "--format", "raw", "--rate", str(SAMPLES_A_SECOND), "--duration", "600")
            command = (program, *sampling, "--pid", str(pid), "--output", str(self._files[name]))
            self._programs.append(subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))

    def stop(self) -> dict[str, Counter[str]]:
        """Samples of the main thread by kind and process."""
        for program in self._programs:
            program.send_signal(signal.SIGINT)
        for program in self._programs:
            program.wait(STOP_SECONDS)
        return {name: _sum_up(path) for name, path in self._files.items()}


def _sum_up(path: Path) -> Counter[str]:
    samples: Counter[str] = Counter()
    for line in path.read_text().splitlines():
        stack, _, count = line.rpartition(" ")
        if not stack.startswith(THREAD):
            samples[kind_of(stack)] += int(count)
    return samples


async def profile(rig: Rig, case: str, messages: int, program: str, folder: Path) -> dict[str, Any]:
    """Milliseconds a message by process and kind."""
    arrivals = Arrivals()
    await arrivals.open(rig.platform, rig.mailboxes)
    await _send(rig, "flood", rig.post.to(rig.mailboxes, WARM_UP))
    await settle()
    mails = rig.post.to(rig.mailboxes, messages)
    used, main = rig.parts.cpu_seconds(), rig.parts.main_thread_seconds()
    await _send(rig, case, mails)
    await settle()
    spent = {name: value - used[name] for name, value in rig.parts.cpu_seconds().items()}
    spent_main = {name: value - main[name] for name, value in rig.parts.main_thread_seconds().items()}
    mails = rig.post.to(rig.mailboxes, messages)
    recording = await asyncio.to_thread(Recording, rig, program, folder)
    await settle()
    await _send(rig, case, mails)
    await settle(1.0)
    samples = await asyncio.to_thread(recording.stop)
    await arrivals.close()
    found: dict[str, dict[str, float]] = {}
    for name, all_seconds in spent.items():
        rows = {"all": all_seconds}
        if name in samples:
            total = samples[name].total()
            rows |= {kind: spent_main[name] * count / total for kind, count in samples[name].most_common()}
            rows[OTHER_THREADS] = all_seconds - spent_main[name]
        found[name] = {kind: round(seconds * 1000 / messages, 2) for kind, seconds in rows.items()}
    return {"case": case, "messages": messages, "ms_per_message": found}


async def _send(rig: Rig, case: str, mails: list[Mail]) -> Load:
    host, port = rig.platform.host, rig.platform.port("smtp")
    if case == "rate":
        return await at_rate(host, port, mails, CONNECTIONS[case], MESSAGES_A_SECOND)
    return await flood(host, port, mails, CONNECTIONS[case])


def show(results: list[dict[str, Any]]) -> None:
    kinds = dict.fromkeys(
        kind for each in results for rows in each["ms_per_message"].values() for kind in rows if kind != "all"
    )
    for name in results[0]["ms_per_message"]:
        print(f"\n{name}: CPU ms a message")
        rows = [
            (kind, *(each["ms_per_message"][name].get(kind, 0.0) for each in results))
            for kind in ("all", *kinds)
            if any(kind in each["ms_per_message"][name] for each in results)
        ]
        print(report.table(("kind", *(each["case"] for each in results)), rows))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--py-spy", required=True)
    parser.add_argument("--seconds", type=int, default=15)
    parser.add_argument("--separate", action="store_true")
    parser.add_argument("--keep", type=Path, help="folder for py-spy's files")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    results = []
    with running_rig(separate=options.separate) as rig, tempfile.TemporaryDirectory() as temporary:
        for case, speed in (("flood", FLOOD_MESSAGES_A_SECOND), ("rate", MESSAGES_A_SECOND)):
            folder = (options.keep or Path(temporary)) / case
            folder.mkdir(parents=True, exist_ok=True)
            print(f"profile: {case} …", file=sys.stderr, flush=True)
            messages = int(options.seconds * speed)
            results.append(asyncio.run(profile(rig, case, messages, options.py_spy, folder)))
    show(results)
    report.write_json(options.json, {"profile": results})
    return 0


if __name__ == "__main__":
    sys.exit(main())
