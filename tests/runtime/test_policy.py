"""A service follows the policy: defaults first, then directory's last word, whatever happens to directory."""

import asyncio

import pytest

from postbus.contracts import Empty
from postbus.contracts.events import DirectoryChanged
from postbus.contracts.policy import Policy, PolicyReply
from postbus.core.errors import ErrorKind, MailError
from postbus.runtime import watch
from postbus.runtime.policy import PolicyWatch


class Directory:
    """A PolicyFinder that may be away."""

    def __init__(self) -> None:
        self.away = False
        self.asked = 0
        self.reply = PolicyReply(policy=Policy(required_score=6.0), revision=7)

    async def find_policy(self, request: Empty) -> PolicyReply:
        self.asked += 1
        if self.away:
            raise MailError(ErrorKind.UNAVAILABLE, "away")
        return self.reply


async def test_defaults_then_the_last_word() -> None:
    directory, told = Directory(), list[Policy]()
    policies = PolicyWatch(directory, told.append)
    assert policies.policy == Policy()
    directory.away = True
    assert not await policies.check()
    assert policies.policy == Policy()
    directory.away = False
    assert await policies.check()
    assert await policies.check()
    assert policies.policy.required_score == 6.0
    directory.away = True
    assert not await policies.check()
    assert policies.policy.required_score == 6.0
    assert told == [directory.reply.policy]


async def test_it_asks_at_the_start_after_changes_and_while_directory_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "GATHER_SECONDS", 0.0)
    monkeypatch.setattr(watch, "RETRY_SECONDS", 0.0)
    directory = Directory()
    directory.away = True
    policies = PolicyWatch(directory)
    running = asyncio.create_task(policies.run())
    while directory.asked < 3:
        await asyncio.sleep(0)
    directory.away = False
    while policies.policy == Policy():
        await asyncio.sleep(0)
    for _ in range(5):
        await asyncio.sleep(0)
    asked = directory.asked
    for _ in range(20):
        await asyncio.sleep(0)
    assert directory.asked == asked
    await policies.on_changed(DirectoryChanged(revision=8))
    while directory.asked == asked:
        await asyncio.sleep(0)
    running.cancel()
