"""Several pytest processes run each module once, whole, in one of them."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
MODULES = 6
MODULE = """
import os, pytest

@pytest.fixture(scope="module")
def opened():
    with open("log", "a") as log:
        log.write(f"{__name__} opened\\n")
    yield
    with open("log", "a") as log:
        log.write(f"{__name__} closed\\n")

@pytest.mark.parametrize("number", range(3))
def test_one(opened, number):
    with open("log", "a") as log:
        log.write(f"{__name__} {number}\\n")
    assert __name__ != os.environ.get("BROKEN")
"""


@pytest.mark.parametrize(("broken", "codes"), [("", {0}), ("test_3", {0, 1})])
def test_each_module_runs_once(tmp_path: Path, broken: str, codes: set[int]) -> None:
    (tmp_path / "claims").mkdir()
    names = [f"test_{number}" for number in range(MODULES)]
    for name in names:
        (tmp_path / f"{name}.py").write_text(MODULE)
    running = [
        subprocess.Popen(
            [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "postbusd.cli.shares", "."],
            cwd=tmp_path,
            env={
                "PYTHONPATH": f"{ROOT / 'libs'}:{ROOT / 'services'}",
                "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
                "PYTEST_CLAIMS": str(tmp_path / "claims"),
                "BROKEN": broken,
            },
            stdout=subprocess.DEVNULL,
        )
        for _ in range(2)
    ]
    assert {process.wait() for process in running} == codes
    log = (tmp_path / "log").read_text().splitlines()
    steps = ["opened", "0", "1", "2", "closed"]
    assert {name: [line.split()[1] for line in log if line.split()[0] == name] for name in names} == dict.fromkeys(
        names, steps
    )
