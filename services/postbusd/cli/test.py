"""`postbus test [unit|integration|style]`: what a checkout must pass; all three by default (house-style §10).

Two pytest processes share the modules (`postbusd.cli.shares`); one runs them all where pytest gets arguments.
As root, foreign clients that the integration tests use are installed first; otherwise those tests skip by name. With
CI=true a test that skips without being marked `shared` or `compose` fails (`postbusd.cli.skips`).
"""

import argparse
import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO

import postbus
from postbus.runtime.settings import process_environment
from postbusd.cli.common import fail

PHASES = ("style", "unit", "integration")
PYTHON_FOLDERS = ("libs", "services", "tests", "integration", "benchmarks", "deploy")
UNTYPED_FOLDERS = ("benchmarks", "deploy")
FOREIGN_CLIENTS = {
    "chromium": "chromium",
    "curl": "curl",
    "fetchmail": "fetchmail",
    "imapfilter": "imapfilter",
    "mbsync": "isync",
    "msmtp": "msmtp",
    "offlineimap": "offlineimap3",
    "openssl": "openssl",
    "swaks": "swaks",
}
"""Program → Debian package."""
MAIL_SERVER = "postfix"
"""Only its programs are wanted: nothing is removed for it, it is not configured and not started."""
POLICY = Path("/usr/sbin/policy-rc.d")
"""What says whether a package may start its service; 101 is no."""
GENERATED = Path("libs/postbus/rpc/gen")
CLAIMS, SHARE = "PYTEST_CLAIMS", "PYTEST_SHARE"
PROCESSES = 2
"""Of pytest at once: on two cores; more would need a gigabyte each and better patience of the tests."""


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Registers the command."""
    parser = subparsers.add_parser("test", help="run the tests of this checkout", description=__doc__)
    parser.add_argument("phase", nargs="?", choices=PHASES, help="only this one")
    parser.add_argument("pytest_arguments", nargs=argparse.REMAINDER, help="further arguments for pytest")
    parser.set_defaults(handler=run_test)


def run_test(args: argparse.Namespace) -> int:
    """Runs the phases in order, all of them; 0 when all passed."""
    root = Path(postbus.__path__[0]).parent.parent
    if not (root / "tests").is_dir():
        return fail("test", "this is an installed copy: the tests are in the source checkout")
    phases = (args.phase,) if args.phase else PHASES
    failed = [phase for phase in phases if not _run_phase(phase, root, args.pytest_arguments)]
    sys.stdout.flush()
    return fail("test", f"failed: {', '.join(failed)}") if failed else 0


def _run_phase(phase: str, root: Path, pytest_arguments: Sequence[str]) -> bool:
    print(f"== {phase}", flush=True)
    if phase == "style":
        return run_style(root)
    if phase == "integration":
        _install_clients()
    # Integration tests share servers, whose state goes on from test to test: always in the same order.
    folder = ("tests",) if phase == "unit" else ("-p", "no:randomly", "integration")
    arguments = ("-m", "pytest", "-p", "postbusd.cli.skips", *folder, *pytest_arguments)
    return _run(root, arguments) if pytest_arguments else _run_shared(root, arguments)


def _run_shared(root: Path, arguments: Sequence[str]) -> bool:
    """Several processes, each with a share of the modules (`postbusd.cli.shares`); the first one's report is told while
    it goes, the others' at the end."""
    count = min(PROCESSES, os.cpu_count() or 1)
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        reports = [stack.enter_context((Path(folder) / f"report{number}").open("w+")) for number in range(1, count)]
        running = []
        for number, report in enumerate((None, *reports), start=1):
            share = {CLAIMS: folder, SHARE: f"{number}/{count}"}
            command = (*arguments, "-p", "postbusd.cli.shares", "-o", "console_output_style=classic")
            running.append(_start(root, command, share, report))
        passed = [process.wait() == 0 for process in running]
        for report in reports:
            report.seek(0)
            shutil.copyfileobj(report, sys.stdout)
    return all(passed)


def run_style(root: Path) -> bool:
    """All style checks, each reported; whether all passed."""
    folders = [folder for folder in PYTHON_FOLDERS if any((root / folder).rglob("*.py"))]
    checks = (
        ("-m", "ruff", "format", "--check", "--quiet", *folders),
        ("-m", "ruff", "check", "--quiet", *folders),
        ("-m", "mypy", *(folder for folder in folders if folder not in UNTYPED_FOLDERS)),
        ("-c", "from importlinter.cli import lint_imports_command as run; run(['--no-logo'])"),
    )
    passed = [_run(root, check) for check in checks]
    return all((*passed, _is_generated_code_in_step(root)))


def _is_generated_code_in_step(root: Path) -> bool:
    """Generates anew and compares; the checkout is left as it was."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "checkout"
        for part in ("proto", GENERATED):
            shutil.copytree(root / part, copy / part)
        done = subprocess.run(
            ["sh", str(copy / "proto/generate.sh")],
            env={**process_environment(), "PYTHON": sys.executable},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            print(done.stdout + done.stderr, flush=True)
            return False
        return _same_files(root / GENERATED, copy / GENERATED)


def _same_files(ours: Path, generated: Path) -> bool:
    names = {path.name for folder in (ours, generated) for path in folder.glob("*.py*")}
    different = sorted(name for name in names if _content(ours / name) != _content(generated / name))
    for name in different:
        print(f"{GENERATED / name} is not what proto/ says: run `make proto`", flush=True)
    return not different


def _content(path: Path) -> bytes | None:
    return path.read_bytes() if path.exists() else None


def _install_clients() -> None:
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        return
    missing = [package for program, package in FOREIGN_CLIENTS.items() if shutil.which(program) is None]
    if missing:
        _install(missing)
    if shutil.which("smtp-sink") is None:
        unconfigured = f"{MAIL_SERVER} postfix/main_mailer_type select No configuration\n"
        subprocess.run(["debconf-set-selections"], input=unconfigured, text=True, capture_output=True, check=False)
        had_policy = POLICY.exists()
        if not had_policy:
            POLICY.write_text("#!/bin/sh\nexit 101\n")
            POLICY.chmod(0o755)
        try:
            _install([MAIL_SERVER])
        finally:
            if not had_policy:
                POLICY.unlink()


def _install(packages: Sequence[str]) -> None:
    print(f"installing {' '.join(packages)}", flush=True)
    environment = {**process_environment(), "DEBIAN_FRONTEND": "noninteractive"}
    options = ("-y", "-q", "--no-remove", "--no-install-recommends")
    install = ["apt-get", "-o", "DPkg::Lock::Timeout=300", "install", *options, *packages]
    for command in (install, ["apt-get", "update", "-q"], install):
        done = subprocess.run(command, env=environment, capture_output=True, check=False)
        if command is install and done.returncode == 0:
            return


def _run(root: Path, arguments: Sequence[str]) -> bool:
    return _start(root, arguments, {}, None).wait() == 0


def _start(
    root: Path, arguments: Sequence[str], more: dict[str, str], output: IO[str] | None
) -> subprocess.Popen[bytes]:
    environment = {**process_environment(), **more}
    environment["PYTHONPATH"] = os.pathsep.join((str(root / "libs"), str(root / "services")))
    sys.stdout.flush()
    return subprocess.Popen([sys.executable, *arguments], cwd=root, env=environment, stdout=output)
