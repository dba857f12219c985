"""Status: each part speaks for itself, a silent one is not waited for."""

import asyncio

from postbus.core.clock import SystemClock
from postbus.core.errors import ErrorKind, MailError
from postbusd.admin_api.status import Probe, StatusProbes


async def test_each_part_is_ok_or_says_why_not() -> None:
    async def well() -> None:
        return

    async def ill() -> None:
        raise MailError(ErrorKind.UNAVAILABLE, "no connection")

    async def silent() -> None:
        await asyncio.Event().wait()

    probes = [Probe(name=ask.__name__, ask=ask) for ask in (well, ill, silent)]
    parts = await StatusProbes(probes, SystemClock(), 0.01).check()
    assert [(part.name, part.ok, part.reason) for part in parts] == [
        ("well", True, ""),
        ("ill", False, "unavailable: no connection"),
        ("silent", False, "no answer within 0.01 s"),
    ]
