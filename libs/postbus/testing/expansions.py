"""The fake of delivery's `Expansions` port and the contract that it shares with Postgres."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from postbus.contracts.directory import MailboxTarget, Outcome, Resolution
from postbus.core.errors import MailError
from postbus.core.ids import MailboxId, QueueId

if TYPE_CHECKING:
    from postbusd.delivery.ports import Expansions


class MemoryExpansions:
    """In a dict; `fail_with` makes it an absent database."""

    def __init__(self) -> None:
        self.pinned: dict[QueueId, tuple[int, tuple[Resolution, ...]]] = {}
        self.fail_with: MailError | None = None

    def _check(self) -> None:
        if self.fail_with is not None:
            raise self.fail_with

    async def find(self, queue_id: QueueId) -> tuple[Resolution, ...] | None:
        """What is pinned."""
        self._check()
        return self.pinned[queue_id][1] if queue_id in self.pinned else None

    async def pin(self, queue_id: QueueId, resolutions: Sequence[Resolution], now_ms: int) -> tuple[Resolution, ...]:
        """The first one holds."""
        self._check()
        return self.pinned.setdefault(queue_id, (now_ms, tuple(resolutions)))[1]

    async def trim(self, before_ms: int) -> None:
        """Knows of no dead letters."""
        self._check()
        self.pinned = {key: value for key, value in self.pinned.items() if value[0] >= before_ms}


class ExpansionsContract:
    """Run on the fake in tests/ and on Postgres in integration/: subclasses give a fixture `expansions`."""

    @staticmethod
    def resolution(mailbox: str) -> Resolution:
        """A list of one mailbox here and one address elsewhere."""
        target = MailboxTarget(mailbox_id=MailboxId(mailbox), address="alice@demo.example")
        return Resolution(
            forward_path="team@demo.example",
            outcome=Outcome.LIST,
            targets=(target,),
            remotes=("x@b.example",),
            bounce_path="team-bounces@demo.example",
        )

    async def test_the_first_expansion_holds(self, expansions: "Expansions") -> None:
        """Whatever is found out later."""
        first, second = self.resolution("first"), self.resolution("second")
        assert await expansions.find(QueueId("Q1")) is None
        assert await expansions.pin(QueueId("Q1"), [first], 1000) == (first,)
        assert await expansions.pin(QueueId("Q1"), [second], 2000) == (first,)
        assert await expansions.find(QueueId("Q1")) == (first,)
        assert await expansions.find(QueueId("Q2")) is None

    async def test_old_expansions_are_forgotten(self, expansions: "Expansions") -> None:
        """By the time when they were pinned."""
        for number in (1, 2):
            await expansions.pin(QueueId(f"Q{number}"), [self.resolution("first")], number * 1000)
        await expansions.trim(2000)
        assert await expansions.find(QueueId("Q1")) is None
        assert await expansions.find(QueueId("Q2")) is not None
