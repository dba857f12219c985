"""Webhooks' messages to their receivers, over one connection a call."""

from collections.abc import Sequence
from typing import Final
from urllib.parse import SplitResult, urlsplit

from postbus.core.errors import MailError
from postbus.runtime.http_client import FAULTS, HttpClient, HttpConnection, explain
from postbusd.admin_api.webhooks.values import Answer, Message

KEPT_OCTETS: Final = 300


class WebhookPoster:
    """The Poster over the network."""

    def __init__(self, client: HttpClient) -> None:
        self._client = client

    async def post(self, url: str, messages: Sequence[Message]) -> Sequence[Answer]:
        """See `Poster.post`."""
        parts = urlsplit(url)
        answers: list[Answer] = []
        connection: HttpConnection | None = None
        try:
            for message in messages:
                if connection is None or not connection.reuse():
                    connection = await self._renew(connection, parts)
                answers.append(await self._ask(connection, parts, message))
                if not answers[-1].is_told:
                    break
        except MailError as error:
            answers.append(Answer(status=0, text=error.detail))
        except FAULTS as error:
            answers.append(Answer(status=0, text=explain(error)))
        finally:
            if connection is not None:
                connection.close()
        return answers

    async def close(self) -> None:
        """Ends look-ups."""
        await self._client.close()

    async def _renew(self, former: HttpConnection | None, parts: SplitResult) -> HttpConnection:
        if former is not None:
            former.close()
        return await self._client.connect(parts)

    async def _ask(self, connection: HttpConnection, parts: SplitResult, message: Message) -> Answer:
        headers = [("Content-Type", "application/json"), *message.headers]
        found = await self._client.ask(connection, "POST", parts, headers, message.body, KEPT_OCTETS)
        text = found.body.decode("utf-8", "replace")
        return Answer(status=found.status, text=text, retry_after_seconds=found.retry_after_seconds)
