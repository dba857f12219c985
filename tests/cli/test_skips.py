"""With CI=true only tests marked `shared` or `compose` may skip (house-style §10)."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
SUITE = """
import pytest

@pytest.mark.shared
def test_may_skip():
    pytest.skip("no folder")

def test_must_not_skip():
    pytest.skip("no client")

@pytest.mark.xfail(reason="known", strict=True)
def test_known():
    assert False
"""
CONFIGURATION = "[pytest]\nmarkers =\n    shared: x\n"


@pytest.mark.parametrize(("ci", "outcome"), [("true", "1 failed, 1 skipped, 1 xfailed"), ("", "2 skipped, 1 xfailed")])
def test_skips(tmp_path: Path, ci: str, outcome: str) -> None:
    (tmp_path / "test_suite.py").write_text(SUITE)
    (tmp_path / "pytest.ini").write_text(CONFIGURATION)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "postbusd.cli.skips", str(tmp_path)],
        cwd=tmp_path,
        env={
            "PYTHONPATH": f"{ROOT / 'libs'}:{ROOT / 'services'}",
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
            "CI": ci,
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert outcome in done.stdout.splitlines()[-1]
