"""Ours beside the peer stacks in one run: `python benchmarks/peers.py [--quick] [--only STACK ...] [--json FILE]`.

Takes the stacks and drivers of ../shared/bench (its README tells what is on and off): p1 is Haraka, SpamAssassin and
Dovecot, p2 Postfix, rspamd and Dovecot. Each stack is started, measured and ended in turn, so that never two are under
load: signed 4 KB messages over 8 connections and at a fixed rate, then IMAP over TLS on 10,000 messages (p1's Dovecot
is p2's). The same drivers, the same DNS answers, CPU and memory by control group. When a message is visible is seen by
inotify in the peers' Maildirs, and by an IMAP session in IDLE on ours, whose cost is therefore in our CPU.

Needs root, Debian 12, apt, npm and node for p1; what it installs stays. The work folder can be used again.
"""

import argparse
import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
from rig import report
from rig.peer_tables import show

from postbus.testing.installation import ROOT, Platform, free_port_base, short_folder, start_platform

DOMAIN = "bench.example"
PASSWORD = "secret"  # of the drivers
MAILBOXES = 50
IMAP_USER = "u10k"
IMAP_MESSAGES = 10_000
RESOLVER = "127.0.0.1:25253"
"""p2's unbound."""
OURS = "postbus"
CGROUP = "peers_postbus"
DRIVER_SECONDS = 900.0
IDLE_SECONDS = 10.0
"""After the start, before idle memory is read."""
UP_SECONDS = 900.0
"""With packages to install."""


class Amounts(msgspec.Struct, frozen=True, kw_only=True):
    """Messages for one stack: what it carries in a few seconds."""

    warm_up: int
    flood: int
    rate: float
    at_rate: int


SLOW = Amounts(warm_up=10, flood=60, rate=2, at_rate=20)
FAST = Amounts(warm_up=100, flood=500, rate=20, at_rate=200)


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """A stack that is up."""

    name: str
    smtp_port: int
    imaps_port: int
    cgroup: str
    probe: str
    amounts: Amounts


class Run:
    """Drivers and results in a copy of ../shared/bench."""

    def __init__(self, work: Path, rounds: int) -> None:
        self._work = work
        self._rounds = rounds

    def measure(self, target: Target, *, imap: bool, filled: bool) -> dict[str, Any]:
        """All figures of one stack."""
        amounts = target.amounts
        time.sleep(IDLE_SECONDS)
        idle = self._memory(target)
        self._smtp(target, "flood", "--count", str(amounts.warm_up), "--conns", "8")
        floods = [
            self._smtp(target, "flood", "--count", str(amounts.flood), "--conns", "8") for _ in range(self._rounds)
        ]
        at_rate = ("--rate", str(amounts.rate), "--count", str(amounts.at_rate), "--conns", "16")
        rates = [self._smtp(target, "rate", *at_rate) for _ in range(self._rounds)]
        memory = {"idle": idle, "after": self._memory(target)}
        found = {"rate": amounts.rate, "flood_runs": floods, "rate_runs": rates, "memory": memory}
        return {**found, "imap": self._imap(target, filled=filled)} if imap else found

    def _smtp(self, target: Target, mode: str, *options: str) -> dict[str, Any]:
        keys = ("--dkim-key", "run/keys/sender.pem", "--cgroup", target.cgroup)
        where = ("--port", str(target.smtp_port), "--probe", target.probe)
        found = self._driver("bench_smtp.py", mode, *where, *keys, *options)
        told = f"{found['accepted_per_s']}/s, {found['stack_cpu_s_per_1000']} CPU s per 1,000"
        progress(f"{target.name}: {mode} {' '.join(options)}: {told}")
        return found

    def _imap(self, target: Target, *, filled: bool) -> dict[str, Any]:
        """Into a Maildir messages are written, into ours appended."""
        if filled:
            maildir = self._work / "mail" / target.name / IMAP_USER / "Maildir"
            if not any((maildir / "cur").iterdir()):
                subprocess.run(
                    [sys.executable, "bench_imap.py", "maildir", str(maildir), str(IMAP_MESSAGES)],
                    cwd=self._work,
                    check=True,
                )
                subprocess.run(["chown", "-R", "5000:5000", str(maildir.parent)], check=True)
        progress(f"{target.name}: IMAP, {IMAP_MESSAGES} messages")
        load = () if filled else ("--load", str(IMAP_MESSAGES))
        rounds = str(max(2, self._rounds))
        account = (f"{IMAP_USER}@{DOMAIN}", PASSWORD)
        return self._driver(
            "bench_imap.py", "127.0.0.1", str(target.imaps_port), *account, "--tls", "--rounds", rounds, *load
        )

    def _memory(self, target: Target) -> dict[str, Any]:
        return self._driver("stackstat.py", target.cgroup)

    def _driver(self, *command: str) -> dict[str, Any]:
        done = subprocess.run(
            [sys.executable, *command],
            cwd=self._work,
            capture_output=True,
            text=True,
            timeout=DRIVER_SECONDS,
            check=False,
        )
        if done.returncode:
            raise SystemExit(f"{' '.join(command)}: {done.returncode}\n{done.stderr[-2000:]}")
        found: dict[str, Any] = json.loads(done.stdout)
        return found


@contextlib.contextmanager
def peer(work: Path, name: str) -> Iterator[None]:
    """p1 or p2 while the block runs."""
    progress(f"{name}: starting (with its packages at the first time)")
    try:
        # Its daemons keep the standard output: a file, so that nobody waits for its end.
        with (work / f"{name}-up.log").open("wb") as log:
            done = subprocess.run(
                [f"./{name}-up.sh"], cwd=work, stdout=log, stderr=log, timeout=UP_SECONDS, check=False
            )
        if done.returncode:
            raise SystemExit(f"{name}-up.sh: {done.returncode}\n{(work / f'{name}-up.log').read_text()[-2000:]}")
        yield
    finally:
        end_peer(work, name)


def end_peer(work: Path, name: str) -> None:
    """Also what an interrupted run left."""
    subprocess.run([f"./{name}-down.sh"], cwd=work, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)


@contextlib.contextmanager
def unbound(work: Path) -> Iterator[None]:
    """The DNS of p2 without p2."""
    configuration = work / "run/p2/dns/unbound.conf"
    with subprocess.Popen(
        ["unbound", "-c", str(configuration)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as server:
        try:
            yield
        finally:
            server.terminate()


@contextlib.contextmanager
def control_group(name: str) -> Iterator[Callable[[bool], None]]:
    """A group for CPU accounting; the callable moves this process in, and with False back to where it was."""
    first = Path("/sys/fs/cgroup/cpuacct")
    root = first if first.is_dir() else Path("/sys/fs/cgroup")
    mark = ":cpuacct:" if root == first else "0::"
    lines = Path("/proc/self/cgroup").read_text().splitlines()
    home = next(line.rpartition(":")[2] for line in lines if mark in line or "cpu,cpuacct" in line)
    group = root / name
    group.mkdir(exist_ok=True)

    def move(inside: bool) -> None:
        (group if inside else root / home.lstrip("/")).joinpath("cgroup.procs").write_text(str(os.getpid()))

    try:
        yield move
    finally:
        move(False)
        with contextlib.suppress(OSError):
            group.rmdir()


@contextlib.contextmanager
def ours(work: Path) -> Iterator[Platform]:
    """Our installation, all of it in the control group."""
    with unbound(work), control_group(CGROUP) as move, short_folder() as folder:
        progress(f"{OURS}: starting")
        move(True)
        platform = start_platform(folder, "--resolver", RESOLVER, "--port-base", str(free_port_base(25000)))
        move(False)
        platform.administer(f"domains/{DOMAIN}", {"incoming": True})
        for name in (*(f"u{number}" for number in range(1, MAILBOXES + 1)), IMAP_USER):
            platform.administer(f"mailboxes/{name}@{DOMAIN}", {"password": PASSWORD})
        yield platform


def compare(work: Path, only: Sequence[str], rounds: int) -> dict[str, Any]:
    """Every stack in turn."""
    run, found = Run(work, rounds), {}
    for name, prefix, amounts in (("p1", 251, SLOW), ("p2", 252, FAST)):
        if name in only:
            with peer(work, name):
                target = Target(
                    name=name,
                    smtp_port=prefix * 100 + 25,
                    imaps_port=prefix * 100 + 93,
                    cgroup=f"peers_{name}",
                    probe=f"maildir:{work}/mail/{name}/{{user}}/Maildir",
                    amounts=amounts,
                )
                found[name] = run.measure(target, imap=name == "p2", filled=True)
    if OURS in only:
        if not (work / "run/p2/dns/unbound.conf").exists():
            with peer(work, "p2"):
                progress("p2: made its DNS")
        with ours(work) as platform:
            imaps = platform.port("imaps")
            target = Target(
                name=OURS,
                smtp_port=platform.port("smtp"),
                imaps_port=imaps,
                cgroup=CGROUP,
                probe=f"imap:127.0.0.1:{imaps}:{PASSWORD}:tls",
                amounts=FAST,
            )
            found[OURS] = run.measure(target, imap=True, filled=False)
    return found


def obstacle(bench: Path) -> str:
    """Why it can't run here; empty: it can."""
    if not bench.is_dir():
        return f"{bench} is not there (POSTBUS_SHARED names the folder beside the project)"
    if os.geteuid() != 0:
        return "root is needed: the peers' daemons change users, and control groups count CPU"
    missing = [name for name in ("apt-get", "npm", "node", "openssl") if shutil.which(name) is None]
    return f"not installed: {', '.join(missing)}" if missing else ""


def prepare(bench: Path, work: Path) -> None:
    """A copy that the stacks may write to and uid 5000 may enter."""
    work.mkdir(parents=True, exist_ok=True)
    work.chmod(0o755)
    for source in bench.iterdir():
        if source.is_file():
            shutil.copyfile(source, work / source.name)
            (work / source.name).chmod(0o755)
    (work / "run").mkdir(exist_ok=True)
    for name in ("p1", "p2"):
        end_peer(work, name)


def progress(text: str) -> None:
    print(f"peers: {text}", file=sys.stderr, flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one round of each, not the medians of three")
    parser.add_argument("--only", nargs="+", choices=("p1", "p2", OURS), default=["p1", "p2", OURS])
    parser.add_argument("--work", type=Path, default=Path("/var/tmp/postbus-peers"))
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    bench = Path(os.environ.get("POSTBUS_SHARED", ROOT.parent / "shared")) / "bench"
    reason = obstacle(bench)
    if reason:
        print(f"bench-peers: skipped: {reason}")
        return 0
    prepare(bench, options.work)
    found = compare(options.work, options.only, 1 if options.quick else 3)
    report.write_json(options.json, {"peers": found})
    show(found)
    return 0


if __name__ == "__main__":
    sys.exit(main())
