import pytest

from postbus.core.errors import ErrorKind, MailError
from postbus.testing.mailstore import MemoryMailStore
from postbus.testing.mailstore_builders import make_mailbox
from postbus.testing.mailstore_contract import MailStoreContract


class TestMemoryMailStore(MailStoreContract):
    @pytest.fixture
    def store(self) -> MemoryMailStore:
        return MemoryMailStore()


async def test_an_absent_database_fails_every_call() -> None:
    store = MemoryMailStore()
    mailbox_id = await make_mailbox(store)
    store.fail_with = MailError(ErrorKind.UNAVAILABLE, "database")
    for attempt in (store.append([]), store.usage([]), store.list_folders(mailbox_id), store.pending(1)):
        with pytest.raises(MailError):
            await attempt
