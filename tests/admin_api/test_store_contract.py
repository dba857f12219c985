"""The fake store keeps the rules that Postgres keeps (integration/test_admin_api_postgres.py)."""

import pytest

from postbus.testing.admin_api import AdminStoreContract, MemoryAdminStore


class TestMemoryAdminStore(AdminStoreContract):
    @pytest.fixture
    def store(self) -> MemoryAdminStore:
        return MemoryAdminStore()
