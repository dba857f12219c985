"""The fake's reading half keeps the contract that Postgres keeps in integration/."""

import pytest

from postbus.testing.directory import MemoryDirectory
from postbus.testing.directory_reader_contract import DirectoryReaderContract, example_site


@pytest.fixture
def reader() -> MemoryDirectory:
    return example_site().directory


class TestMemoryReader(DirectoryReaderContract):
    """The rules, on the fake."""
