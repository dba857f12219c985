"""smtp-edge's own composition in a forked process, for trials by `postbus.testing.kill_points`.

Real listener, blob store and NATS; directory, filter and the rest are fakes that answer at once.
"""

import asyncio
from pathlib import Path
from typing import cast

import msgspec

from postbus.blobs.local import LocalBlobStore
from postbus.contracts.dns_provisioner import ListCertificatesReply, ListCertificatesRequest
from postbus.core.clock import SystemClock
from postbus.core.errors import ErrorKind, MailError
from postbus.core.ids import MailboxId
from postbus.runtime.context import ServiceContext
from postbus.runtime.service import Rpc
from postbus.runtime.settings import RuntimeSettings
from postbus.testing.kill_points import KillPoints
from postbus.testing.smtp_edge import FakeDirectory, FakeFilter, FakePrechecker, mailbox_resolution
from postbusd.smtp_edge.app import build
from postbusd.smtp_edge.session import Session
from postbusd.smtp_edge.settings import SmtpEdgeSettings

CONNECT_SECONDS = 5.0


class EdgeTrial(msgspec.Struct, frozen=True, kw_only=True):
    """Where everything is."""

    data_dir: str
    secrets_dir: str
    nats_url: str
    port: int
    mailbox_id: str
    """Where mail for alice@demo.example goes."""
    sessions: int = 1
    """How many it serves before it ends."""


class _NoCertificates:
    async def list_certificates(self, _: ListCertificatesRequest) -> ListCertificatesReply:
        """Plain text will do."""
        raise MailError(ErrorKind.UNAVAILABLE, "none here")


class _Rpc(msgspec.Struct, frozen=True, kw_only=True):
    directory: FakeDirectory
    filter: FakeFilter
    delivery: FakePrechecker
    dns_provisioner: _NoCertificates


async def run_trial(argument: bytes, points: KillPoints) -> bytes:
    """The `Work` of the zygote."""
    trial = msgspec.msgpack.decode(argument, type=EdgeTrial)
    runtime = RuntimeSettings(
        data_dir=trial.data_dir, secrets_dir=trial.secrets_dir, nats_url=trial.nats_url, disk_reserve_octets=0
    )
    blobs = LocalBlobStore(Path(runtime.expand(runtime.blobs_dir)), 0)
    directory = FakeDirectory()
    directory.answers["alice@demo.example"] = mailbox_resolution("alice@demo.example", MailboxId(trial.mailbox_id))
    rpc = _Rpc(directory=directory, filter=FakeFilter(), delivery=FakePrechecker(), dns_provisioner=_NoCertificates())
    context = ServiceContext("smtp-edge", "trial", SystemClock(), runtime, cast("Rpc", rpc), blobs)
    settings = SmtpEdgeSettings(
        smtp_listen=f"127.0.0.1:{trial.port}", submission_listen="", submissions_listen="", greet_pause_seconds=0
    )
    service = await build(context, settings)
    await context._nats._ready(CONNECT_SECONDS)
    ended = _count_sessions(trial.sessions)
    await service.start()
    points.watch_all()
    await ended.wait()
    await service.drain()
    await context.close()
    return b""


def _count_sessions(number: int) -> asyncio.Event:
    """Set when so many sessions have ended."""
    ended, real, left = asyncio.Event(), Session.run, [number]

    async def run(self: Session) -> None:
        try:
            await real(self)
        finally:
            left[0] -= 1
            if not left[0]:
                ended.set()

    Session.run = run  # type: ignore[method-assign]  # of this process, which ends with the trial
    return ended
