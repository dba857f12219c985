"""Does a process grow? `python benchmarks/growth.py [--messages N] [--step N] [--json FILE]`.

Sends N messages (20,000) to 50 mailboxes in steps, some of them watched by IMAP sessions; after each step the memory of
every process. The first half may warm up: caches, pools, statement plans, the allocator. Ends with 1 when a process
grew by more than ALLOWED_MIB (Postgres, whose shared buffers fill up by design: POSTGRES_ALLOWED_MIB) in the second
half, or a message is missing.
"""

import argparse
import asyncio
import statistics
import sys
import time
from pathlib import Path
from typing import Any

from rig import report
from rig.arrivals import Arrivals
from rig.installation import Rig, running_rig, settle
from rig.smtp import flood

CONNECTIONS = 8
WATCHED = 10
ALLOWED_MIB = 4.0
"""A view of a watched folder keeps 64 octets a message; 10,000 messages of 200 octets each would be 2 MiB."""
POSTGRES_ALLOWED_MIB = 40.0
REST_SECONDS = 3.0
"""Before memory is read."""


async def send_all(rig: Rig, messages: int, step: int) -> list[dict[str, Any]]:
    """Memory after each step; the first before any message."""
    arrivals = Arrivals()
    watched = rig.mailboxes[:WATCHED]
    await arrivals.open(rig.platform, watched)
    await settle(REST_SECONDS)
    samples: list[dict[str, Any]] = [{"messages": 0, "missing": 0, "per_s": 0.0, "pss_mib": rig.parts.pss_mib()}]
    for start in range(0, messages, step):
        mails = rig.post.to(rig.mailboxes, min(step, messages - start))
        own = sum(mail.forward_path in watched for mail in mails)
        began = time.monotonic()
        load = await flood(rig.platform.host, rig.platform.port("smtp"), mails, CONNECTIONS)
        elapsed = time.monotonic() - began
        await arrivals.wait(own)
        seen = await arrivals.collect()
        await settle(REST_SECONDS)
        sample = {
            "messages": start + len(mails),
            "missing": len(mails) - len(load.sent) + own - len(seen),
            "per_s": round(len(load.sent) / elapsed, 1),
            "pss_mib": rig.parts.pss_mib(),
        }
        samples.append(sample)
        print(
            f"growth: {sample['messages']} sent, {sample['per_s']}/s, {sample['pss_mib']}", file=sys.stderr, flush=True
        )
    await arrivals.close()
    return samples


def judge(samples: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """By process: MiB grown in the second half, the medians of its first and its last third compared."""
    later = samples[len(samples) // 2 :]
    third = max(1, len(later) // 3)
    verdicts = {}
    for name in samples[0]["pss_mib"]:
        values = [sample["pss_mib"][name] for sample in later]
        grown = statistics.median(values[-third:]) - statistics.median(values[:third])
        allowed = POSTGRES_ALLOWED_MIB if name == "postgres" else ALLOWED_MIB
        verdicts[name] = {"grown_mib": round(grown, 1), "allowed_mib": allowed, "ok": grown <= allowed}
    return verdicts


def show(samples: list[dict[str, Any]], verdicts: dict[str, dict[str, Any]]) -> None:
    names = list(verdicts)
    rows = [
        (each["messages"], each["per_s"], each["missing"], *(each["pss_mib"][name] for name in names))
        for each in samples
    ]
    print(report.table(("messages", "per s", "missing", *names), rows))
    grown = [f"{verdicts[name]['grown_mib']} of {verdicts[name]['allowed_mib']}" for name in names]
    print(report.table(("MiB grown in the second half", *names), [("", *grown)]))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=20_000)
    parser.add_argument("--step", type=int, default=2_000)
    parser.add_argument("--separate", action="store_true", help="one process a service")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with running_rig(separate=options.separate) as rig:
        samples = asyncio.run(send_all(rig, options.messages, options.step))
    verdicts = judge(samples)
    show(samples, verdicts)
    report.write_json(options.json, {"growth": {"samples": samples, "verdicts": verdicts}})
    return int(any(sample["missing"] for sample in samples) or not all(each["ok"] for each in verdicts.values()))


if __name__ == "__main__":
    sys.exit(main())
