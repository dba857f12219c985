"""A port of the same process, called without gRPC but with the same manners: deadline, trace, MailError only."""

import asyncio
from collections.abc import Callable
from typing import Any

from postbus.core.errors import ErrorKind, MailError
from postbus.rpc.calls import methods
from postbus.rpc.invoke import NO_ANSWER, invoke


class LocalClient:
    """Calls what `find` gives, None while the service is not up yet; has every method of its port."""

    def __init__(self, service: str, find: Callable[[], object | None], deadline_seconds: float) -> None:
        self._service = service
        self._find = find
        for name, method in methods(service).items():
            setattr(self, name, self._bind(name, method.seconds or deadline_seconds))

    def _bind(self, name: str, deadline_seconds: float) -> object:
        async def call(request: Any) -> Any:
            implementation = self._find()
            if implementation is None:
                raise MailError(ErrorKind.UNAVAILABLE, f"{self._service} is starting")
            try:
                async with asyncio.timeout(deadline_seconds):
                    return await invoke(self._service, name, implementation, request)
            except TimeoutError as error:
                raise MailError(ErrorKind.UNAVAILABLE, f"{self._service} {NO_ANSWER}") from error

        return call
