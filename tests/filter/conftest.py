"""The published suites, where they are."""

import os
from pathlib import Path

import pytest


@pytest.fixture
def suites() -> Path:
    """The folder of public test data; the test skips where it is absent."""
    folder = Path(os.environ.get("POSTBUS_SHARED", "../shared")) / "suites"  # noqa: TID251
    if not folder.exists():
        pytest.skip(f"no {folder} (POSTBUS_SHARED)")
    return folder
