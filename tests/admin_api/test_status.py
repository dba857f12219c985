"""Status: each part speaks for itself, a silent one is not waited for."""

import asyncio

from postbus.core.clock import SystemClock
from postbus.core.errors import ErrorKind, MailError
from postbusd.admin_api.status import Finding, Probe, StatusProbes


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


async def test_a_part_that_answers_may_have_something_wrong_or_waiting() -> None:
    async def wrong() -> Finding:
        return Finding(fault="1 message missing", note="2 dead letters held")

    (part,) = await StatusProbes([Probe(name="ledger", ask=wrong)], SystemClock(), 1.0).check()
    assert (part.ok, part.reason, part.note) == (False, "1 message missing", "2 dead letters held")
