"""docs/configuration.md is what the settings say."""

import contextlib
import io
from pathlib import Path

from postbusd.cli.main import main

ROOT = Path(__file__).resolve().parents[2]


def test_the_page_is_generated_anew_after_every_change() -> None:
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        assert main(["check-config", "--markdown"]) == 0
    page = (ROOT / "docs/configuration.md").read_text()
    assert page == output.getvalue(), "run: ./postbus check-config --markdown > docs/configuration.md"
