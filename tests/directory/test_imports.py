"""Imports and exports of mailboxes over the directory in memory."""

import asyncio
from collections.abc import Sequence

import pytest
from hypothesis import given

from postbus.contracts.bulk import MAX_ROWS, MailboxRow
from postbus.core.errors import ErrorKind
from postbus.testing.directory_office import Office, refused
from postbus.testing.directory_office_bulk import ROWS, BulkContract, bring, check_export_is_import, put_owners, row


@pytest.fixture
def office() -> Office:
    return Office()


class TestBulk(BulkContract):
    """Over the fake."""


@given(rows=ROWS)
def test_an_export_is_an_import(rows: Sequence[MailboxRow]) -> None:
    asyncio.run(_check_export(rows))


async def _check_export(rows: Sequence[MailboxRow]) -> None:
    source = Office()
    await put_owners(source)
    await bring(source, *rows)
    await check_export_is_import(source, Office())


async def test_an_import_has_so_many_rows(office: Office) -> None:
    with refused(ErrorKind.LIMIT, f"rows: at most {MAX_ROWS}"):
        await bring(office, *[row("kim@a.test")] * (MAX_ROWS + 1))
