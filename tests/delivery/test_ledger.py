"""The fakes of the ledger keep the contracts of the real ones."""

import pytest

from postbus.testing.ledger import MemoryBooks, MemoryLedger
from postbus.testing.ledger_contract import BooksContract, LedgerContract, LettersContract
from postbus.testing.ledger_letters import MemoryLetters
from postbus.testing.queue import MemoryQueue


@pytest.fixture
def ledger() -> MemoryLedger:
    return MemoryLedger()


@pytest.fixture
def books(ledger: MemoryLedger) -> MemoryBooks:
    return MemoryBooks(ledger)


@pytest.fixture
def queue(ledger: MemoryLedger) -> MemoryQueue:
    return MemoryQueue(ledger)


@pytest.fixture
def letters(ledger: MemoryLedger, queue: MemoryQueue) -> MemoryLetters:
    return MemoryLetters(ledger, queue)


class TestMemoryLedger(LedgerContract):
    pass


class TestMemoryBooks(BooksContract):
    pass


class TestMemoryLetters(LettersContract):
    pass
