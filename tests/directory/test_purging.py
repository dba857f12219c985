"""The end of the mail of deleted mailboxes, over a real mail store in memory."""

import asyncio

import pytest
from prometheus_client import CollectorRegistry

from postbus.contracts.objects import DeleteRequest
from postbus.contracts.policy import Policy, PutPolicyRequest
from postbus.core.errors import ErrorKind, MailError
from postbus.core.ids import MailboxId
from postbus.testing.directory import ManualClock
from postbus.testing.directory_office import ADMIN, Office
from postbus.testing.directory_office_archive import archived, purge
from postbus.testing.directory_office_contract import events_of
from postbus.testing.mailstore import MemoryMailStore
from postbus.testing.mailstore_builders import fill
from postbusd.directory import purging
from postbusd.directory.purging import DAY_MS, Purging


class Trial:
    """Two deleted mailboxes and one that is there, with 30 messages each."""

    def __init__(self) -> None:
        self.office = Office()
        self.store = MemoryMailStore()
        self.clock = ManualClock()
        self.registry = CollectorRegistry()
        self.told = 0
        self.pauses = 0
        self.purging = Purging(self.office.memory, self.store, self.clock, self.registry, sleep=self._sleep)
        self.purging.tell(self._tell)
        self.ids: dict[str, MailboxId] = {}

    async def begin(self) -> None:
        await self.office.put_domain("a.test")
        for name in ("kim", "lee", "pat"):
            mailbox = (await self.office.put_mailbox(f"{name}@a.test")).mailbox
            self.ids[name] = mailbox.mailbox_id
            await self.store.ensure_mailboxes([mailbox.mailbox_id])
            await fill(self.store, mailbox.mailbox_id, 30)
        for name in ("kim", "lee"):
            await self.office.administration.delete_mailbox(DeleteRequest(name=f"{name}@a.test", actor=ADMIN))
        await events_of(self.office)

    async def left(self) -> dict[str, int]:
        totals = await self.store.totals(list(self.ids.values()))
        return {name: totals[each].messages for name, each in self.ids.items() if each in totals}

    def purged(self) -> float:
        return self.registry.get_sample_value("postbus_directory_purged_mailboxes_total") or 0.0

    def _tell(self) -> None:
        self.told += 1

    async def _sleep(self, seconds: float) -> None:
        self.pauses += 1


@pytest.fixture
async def trial(monkeypatch: pytest.MonkeyPatch) -> Trial:
    monkeypatch.setattr(purging, "PIECE_ROWS", 10)
    trial = Trial()
    await trial.begin()
    return trial


async def test_what_was_given_up_goes_piece_by_piece_and_is_told(trial: Trial) -> None:
    await trial.purging.purge()
    assert await trial.left() == {"kim": 30, "lee": 30, "pat": 30}
    await purge(trial.office, trial.ids["kim"])
    await events_of(trial.office)
    await trial.purging.purge()
    assert await trial.left() == {"lee": 30, "pat": 30}
    assert (trial.told, trial.purged()) == (1, 1.0)
    assert trial.pauses >= 3
    (event,) = await events_of(trial.office)
    assert (event.summary, event.domain) == ("mail of deleted mailbox kim@a.test purged", "a.test")
    assert [each.address for each in await archived(trial.office)] == ["lee@a.test"]


async def test_retention_ends_what_is_old(trial: Trial) -> None:
    await trial.office.administration.put_policy(PutPolicyRequest(policy=Policy(archive_days=7), actor=ADMIN))
    trial.clock.advance(6.9 * DAY_MS / 1000)
    await trial.purging.purge()
    assert len(await trial.left()) == 3
    trial.clock.advance(0.2 * DAY_MS / 1000)
    await trial.purging.purge()
    assert await trial.left() == {"pat": 30}
    assert await archived(trial.office) == ()


async def test_broken_off_anywhere_it_goes_on_where_it_was(trial: Trial) -> None:
    await purge(trial.office, trial.ids["kim"])
    await events_of(trial.office)
    for number in range(1, 20):
        ends = number

        async def end_soon(seconds: float) -> None:
            nonlocal ends
            ends -= 1
            if not ends:
                raise MailError(ErrorKind.UNAVAILABLE, "away")

        broken = Purging(trial.office.memory, trial.store, trial.clock, CollectorRegistry(), sleep=end_soon)
        try:
            await broken.purge()
        except MailError:
            continue
        break
    assert await trial.left() == {"lee": 30, "pat": 30}
    assert len(await events_of(trial.office)) == 1


async def test_the_loop_is_woken(trial: Trial) -> None:
    running = asyncio.create_task(trial.purging.run())
    await asyncio.sleep(0)
    await purge(trial.office, trial.ids["kim"])
    trial.purging.wake()
    async with asyncio.timeout(5):
        while "kim" in await trial.left():
            await asyncio.sleep(0.01)
    running.cancel()
