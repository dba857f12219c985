"""Inbound mail through a whole installation: `python benchmarks/road.py [--messages N] [--only CASE] [--json FILE]`.

Signed 4 KB messages to 50 mailboxes, each watched by an IMAP session in IDLE; SPF, DKIM and DMARC are answered by a DNS
server of this process. Cases: `flood` (8 connections, as fast as it goes) and `rate` (20 a second) in the default
grouping, `separate` (flood with one process a service, for the CPU of each). For each: messages a second accepted and
visible, milliseconds from the reply to DATA until the message is visible, CPU seconds per 1,000 messages by process
(indexing and the event log included), memory before and after. Ends with 1 when a message is missing.
"""

import argparse
import asyncio
import sys
from pathlib import Path
from typing import Any

from rig import report
from rig.arrivals import Arrivals
from rig.installation import Rig, running_rig, settle
from rig.smtp import Load, at_rate, flood
from rig.usage import spent, total

WARM_UP = 100
RATE = 20.0
RATE_CONNECTIONS = 16
FLOOD_CONNECTIONS = 8
CASES = ("flood", "rate", "separate")


class Case:
    """One measurement."""

    def __init__(self, rig: Rig, name: str, messages: int) -> None:
        self._rig = rig
        self._name = name
        self._messages = messages

    async def run(self) -> dict[str, Any]:
        rig, arrivals = self._rig, Arrivals()
        await arrivals.open(rig.platform, rig.mailboxes)
        await self._send(flood_only=True, count=WARM_UP)
        await arrivals.wait(WARM_UP)
        await arrivals.collect()
        await settle()
        memory, used = rig.parts.pss_mib(), rig.parts.cpu_seconds()
        load = await self._send(flood_only=False, count=self._messages)
        await arrivals.wait(len(load.sent))
        await settle()
        used_after, memory_after = rig.parts.cpu_seconds(), rig.parts.pss_mib()
        seen = await arrivals.collect()
        await arrivals.close()
        came = [(one, seen[one.number]) for one in load.sent if one.number in seen]
        last = max(at for _, at in came)
        return {
            "case": self._name,
            "messages": self._messages,
            "accepted": len(load.sent),
            "visible": len(came),
            "failures": dict(load.failures),
            "accepted_per_s": round(load.accepted_per_second, 1),
            "visible_per_s": round(len(came) / (last - load.began), 1),
            "accept_ms": report.quantiles_ms(one.replied - one.began for one in load.sent),
            "reply_to_visible_ms": report.quantiles_ms(at - one.replied for one, at in came),
            "cpu_s_per_1000": spent(used, used_after, self._messages),
            "pss_mib_before": {"all": total(memory), **memory},
            "pss_mib_after": {"all": total(memory_after), **memory_after},
        }

    async def _send(self, *, flood_only: bool, count: int) -> Load:
        platform = self._rig.platform
        mails = self._rig.post.to(self._rig.mailboxes, count)
        if self._name == "rate" and not flood_only:
            return await at_rate(platform.host, platform.port("smtp"), mails, RATE_CONNECTIONS, RATE)
        return await flood(platform.host, platform.port("smtp"), mails, FLOOD_CONNECTIONS)


def measure(names: list[str], messages: int) -> list[dict[str, Any]]:
    """The grouped cases share an installation."""
    results = []
    for separate in (False, True):
        wanted = [name for name in names if (name == "separate") is separate]
        if wanted:
            with running_rig(separate=separate) as rig:
                for name in wanted:
                    print(f"road: {name} …", file=sys.stderr, flush=True)
                    count = min(messages, 400) if name == "rate" else messages
                    results.append(asyncio.run(Case(rig, name, count).run()))
    return results


def show(results: list[dict[str, Any]]) -> None:
    head = ("case", "messages", "accepted/s", "visible/s", "reply to visible ms p50/p95/p99", "CPU s per 1,000",
            "PSS MiB before/after")  # fmt: skip
    rows = [
        (
            each["case"],
            each["messages"],
            each["accepted_per_s"],
            each["visible_per_s"],
            report.slashed(each["reply_to_visible_ms"]),
            each["cpu_s_per_1000"]["all"],
            f"{each['pss_mib_before']['all']:.0f}/{each['pss_mib_after']['all']:.0f}",
        )
        for each in results
    ]
    print(report.table(head, rows))
    for each in results:
        parts = [name for name in each["cpu_s_per_1000"] if name != "all"]
        figures = ("cpu_s_per_1000", "pss_mib_before", "pss_mib_after")
        print(f"\n{each['case']}:")
        print(report.table(("process", *figures), [(name, *(each[kind][name] for kind in figures)) for name in parts]))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=1000)
    parser.add_argument("--only", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    results = measure(options.only, options.messages)
    show(results)
    report.write_json(options.json, {"road": results})
    return int(any(each["visible"] < each["messages"] for each in results))


if __name__ == "__main__":
    sys.exit(main())
