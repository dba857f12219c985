"""A service follows the policy: defaults first, then directory's last word, whatever happens to directory."""

import msgspec

from postbus.contracts import Empty
from postbus.contracts.events import DirectoryChanged
from postbus.contracts.policy import Policy, PolicyReply
from postbus.core.errors import ErrorKind, MailError
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
    watch = PolicyWatch(directory, told.append)
    assert watch.policy == Policy()
    directory.away = True
    assert not await watch.refresh()
    assert watch.policy == Policy()
    directory.away = False
    assert await watch.refresh()
    assert await watch.refresh()
    assert watch.policy.required_score == 6.0
    directory.away = True
    assert not await watch.refresh()
    assert watch.policy.required_score == 6.0
    assert told == [directory.reply.policy]


async def test_it_asks_after_changes_that_it_does_not_know() -> None:
    directory = Directory()
    watch = PolicyWatch(directory)
    await watch.refresh()
    watch._due.clear()
    await watch.on_changed(DirectoryChanged(revision=7))
    assert not watch._due.is_set()
    await watch.on_changed(DirectoryChanged(revision=8))
    assert watch._due.is_set()
    directory.reply = msgspec.structs.replace(directory.reply, revision=8)
    watch._due.clear()
    await watch.on_reconnect()
    assert watch._due.is_set()
