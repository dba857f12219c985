"""A process takes the file descriptors that it may have."""

import resource
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_the_soft_limit_becomes_the_hard_one() -> None:
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    script = (
        f"import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (64, {most})); "
        "from postbus.runtime.host import raise_file_limit; raise_file_limit(); "
        "print(*resource.getrlimit(resource.RLIMIT_NOFILE))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={"PYTHONPATH": f"{ROOT / 'libs'}:{ROOT / 'services'}"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == [str(most), str(most)]
