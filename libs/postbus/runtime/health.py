"""Readiness: the checks of a service, run side by side within a bound, and gRPC's health service over them."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import grpc
import grpc.aio
import msgspec
from grpc_health.v1 import health_pb2, health_pb2_grpc

from postbus.core.errors import MailError
from postbus.rpc.calls import CONTRACTS

log = logging.getLogger(__name__)

CHECK_SECONDS = 5.0

Check = Callable[[], Awaitable[None]]


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """What /readyz tells: `checks` maps a check or loop to `ok` or to what is wrong with it."""

    service: str
    ready: bool
    checks: dict[str, str]


async def run_checks(service: str, checks: Mapping[str, Check], faults: Mapping[str, str], started: bool) -> Health:
    """Runs all checks at once. `faults` are failed loops."""
    checks = dict(checks)  # a service that is starting adds to them while we wait
    results = await asyncio.gather(*(_run_check(name, check) for name, check in checks.items()))
    found = {"start": "ok" if started else "starting"}
    found |= dict(zip(checks, results, strict=True))
    found |= {f"loop {name}": reason for name, reason in faults.items()}
    return Health(service=service, ready=all(text == "ok" for text in found.values()), checks=found)


async def _run_check(name: str, check: Check) -> str:
    try:
        async with asyncio.timeout(CHECK_SECONDS):
            await check()
    except MailError as error:
        return str(error)
    except TimeoutError:
        return f"no answer in {CHECK_SECONDS:g} s"
    except Exception:
        log.exception("health.check.failed", extra={"check": name})
        return "failed"
    return "ok"


class HealthService(health_pb2_grpc.HealthServicer):  # type: ignore[misc]  # untyped package
    """grpc.health.v1.Health: by full gRPC service name; the empty name is the whole process."""

    def __init__(self, services: Mapping[str, Callable[[], Awaitable[Health]]]) -> None:
        """`services` by our service names."""
        self._services = {CONTRACTS[name][1].full_name: ask for name, ask in services.items()}

    async def Check(self, request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:  # noqa: N802
        """SERVING when every check of the named service passes."""
        asked = [self._services[request.service]] if request.service in self._services else []
        if not request.service:
            asked = list(self._services.values())
        if not asked:
            await context.abort(grpc.StatusCode.NOT_FOUND, "no such service here")
        healths = await asyncio.gather(*(ask() for ask in asked))
        statuses = health_pb2.HealthCheckResponse
        status = statuses.SERVING if all(health.ready for health in healths) else statuses.NOT_SERVING
        return statuses(status=status)
