"""The fake directory keeps the rules that Postgres keeps (integration/test_directory_postgres.py)."""

import pytest

from postbus.testing.directory import MemoryDirectory
from postbus.testing.directory_contract import DirectoryRepositoryContract


class TestMemoryDirectory(DirectoryRepositoryContract):
    @pytest.fixture
    def repository(self) -> MemoryDirectory:
        return MemoryDirectory()
