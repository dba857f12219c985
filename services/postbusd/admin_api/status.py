"""What admin-api can tell about the health of the others: it asks each for something that costs nothing."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated, Protocol, runtime_checkable

import msgspec

from postbus.contracts import Empty
from postbus.contracts.delivery import GetMessageRequest
from postbus.contracts.directory import ResolveRequest
from postbus.contracts.dns_provisioner import ListCertificatesRequest
from postbus.contracts.filter import CheckConnectionRequest
from postbus.contracts.imap_gateway import ListSessionsRequest
from postbus.contracts.indexer import SearchRequest
from postbus.core.clock import Clock
from postbus.core.errors import ErrorKind, MailError
from postbus.core.ids import QUEUE_ID_LENGTH, QueueId
from postbus.runtime.service import Rpc

LOCAL_CLIENT = "127.0.0.1"
NO_MESSAGE = QueueId("0" * QUEUE_ID_LENGTH)


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """One part of the installation."""

    name: Annotated[str, msgspec.Meta(description="Which part.")]
    ok: Annotated[bool, msgspec.Meta(description="Whether it is well.")]
    reason: Annotated[str, msgspec.Meta(description="Empty when it is well.")] = ""
    milliseconds: Annotated[int, msgspec.Meta(description="How long the answer took.")] = 0
    note: Annotated[str, msgspec.Meta(description="What waits for an administrator although the part is well.")] = ""


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """What a part that answers says of itself; empty: nothing."""

    fault: str = ""
    note: str = ""


class Probe(msgspec.Struct, frozen=True, kw_only=True):
    """How to ask one part: `ask` raises MailError when it can't do its work, and may return a Finding."""

    name: str
    ask: Callable[[], Awaitable[object]]


@runtime_checkable
class Checkable(Protocol):
    """What can tell about its own connection."""

    async def check(self) -> None:
        """Raises MailError."""
        ...


class StatusProbes:
    """Asks all parts side by side."""

    def __init__(self, probes: Sequence[Probe], clock: Clock, probe_seconds: float) -> None:
        self._probes = tuple(probes)
        self._clock = clock
        self._probe_seconds = probe_seconds

    async def check(self) -> tuple[Part, ...]:
        """The parts in the order of the probes; takes as long as the slowest one."""
        return tuple(await asyncio.gather(*[self._check(probe) for probe in self._probes]))

    async def _check(self, probe: Probe) -> Part:
        started = self._clock.monotonic()
        reason, note = "", ""
        try:
            async with asyncio.timeout(self._probe_seconds):
                found = await probe.ask()
            if isinstance(found, Finding):
                reason, note = found.fault, found.note
        except MailError as error:
            reason = str(error)
        except TimeoutError:
            reason = f"no answer within {self._probe_seconds:g} s"
        elapsed = round((self._clock.monotonic() - started) * 1000)
        return Part(name=probe.name, ok=not reason, reason=reason, milliseconds=elapsed, note=note)


def service_probes(rpc: Rpc) -> tuple[Probe, ...]:
    """A cheap question to each service; an empty or unknown name is answered without work."""
    known_revision = (1 << 62) - 1
    return (
        Probe(name="directory", ask=lambda: rpc.directory.resolve(ResolveRequest(forward_paths=()))),
        Probe(
            name="dns-provisioner",
            ask=lambda: rpc.dns_provisioner.list_certificates(ListCertificatesRequest(known_revision=known_revision)),
        ),
        Probe(
            name="filter",
            ask=lambda: rpc.filter.check_connection(CheckConnectionRequest(client_address=LOCAL_CLIENT)),
        ),
        Probe(name="delivery", ask=lambda: _expect_not_found(rpc)),
        Probe(name="indexer", ask=lambda: rpc.indexer.search(SearchRequest(mailbox_ids=(), terms=()))),
        Probe(name="smtp-edge", ask=lambda: rpc.smtp_edge.get_counters(Empty())),
        Probe(name="imap-gateway", ask=lambda: rpc.imap_gateway.list_sessions(ListSessionsRequest(limit=1))),
    )


async def _expect_not_found(rpc: Rpc) -> None:
    try:
        await rpc.delivery.get_message(GetMessageRequest(queue_id=NO_MESSAGE))
    except MailError as error:
        if error.kind is not ErrorKind.NOT_FOUND:
            raise
