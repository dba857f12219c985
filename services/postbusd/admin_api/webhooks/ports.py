"""What webhooks need: their rows, and the way to the receivers."""

from collections.abc import Sequence
from typing import Protocol

from postbus.contracts.events import Event
from postbusd.admin_api.webhooks.values import Answer, Delivery, Message, Secrets, Verdict, Webhook, WebhookState, Work


class WebhookStore(Protocol):
    """Rows of webhooks. Every method raises MailError: UNAVAILABLE when the database is away."""

    async def put_webhook(self, webhook: Webhook, new_secret: bytes, event: Event) -> bool:
        """Creates it with that secret (True), or replaces it, its secret kept; `event` is logged if that changed
        anything. Raises MailError: INVALID (limit)."""
        ...

    async def rotate_secret(self, name: str, secret: bytes, former_until_ms: int, event: Event) -> None:
        """A new secret; the one until now signs too until then. Raises MailError: NOT_FOUND."""
        ...

    async def get_webhook(self, name: str) -> WebhookState:
        """Raises MailError: NOT_FOUND."""
        ...

    async def list_webhooks(self, after: str, limit: int) -> tuple[WebhookState, ...]:
        """Those with a name above `after`, by name."""
        ...

    async def delete_webhook(self, name: str, event: Event) -> None:
        """With all that it has still to tell. Raises MailError: NOT_FOUND."""
        ...

    async def find_secrets(self, name: str) -> Secrets:
        """Raises MailError: NOT_FOUND."""
        ...

    async def list_deliveries(self, name: str, *, dead: bool, after: int, limit: int) -> tuple[Delivery, ...]:
        """Those with a sequence above `after`, in order. Raises MailError: NOT_FOUND."""
        ...

    async def change_dead(self, name: str, sequence: int | None, event: Event, *, retry: bool) -> int:
        """Retries or discards one dead delivery, or all (None); their number. Raises MailError: NOT_FOUND."""
        ...

    async def claim_work(self, now_ms: int, lease_ms: int, webhooks: int, deliveries: int) -> tuple[Work, ...]:
        """Of up to `webhooks` that are not paused what is due, at most `deliveries` each, for this process alone until
        the lease ends."""
        ...

    async def settle(self, name: str, verdicts: Sequence[Verdict], unasked: Sequence[int], now_ms: int) -> int:
        """Writes what became of attempts, gives back what was not tried; the number that died."""
        ...

    async def expire(self, before_ms: int) -> int:
        """Gives up what is waiting of events before then; the number."""
        ...

    async def count_deliveries(self) -> tuple[int, int]:
        """All that waits, all that is dead."""
        ...


class Poster(Protocol):
    """The way to receivers."""

    async def post(self, url: str, messages: Sequence[Message]) -> Sequence[Answer]:
        """Sends them one after the other over one connection, until one is not told; the answers so far.

        Never raises but for cancellation.
        """
        ...

    async def close(self) -> None:
        """Ends look-ups."""
        ...
