"""smtp-edge on fakes."""

from pathlib import Path

import pytest

from postbus.testing.smtp_edge import Edge


@pytest.fixture
def edge(tmp_path: Path) -> Edge:
    return Edge(tmp_path)
