"""An import of many mailboxes by API: `python benchmarks/import_mailboxes.py [--mailboxes N] [--json FILE]`.

Each row has two aliases, one of them of another domain; the same table is imported again, which changes nothing, and
exported. Beside that the API is asked for its health all the time: what the slowest answer took tells what an import
costs others.
"""

import argparse
import asyncio
import contextlib
import sys
import time
from pathlib import Path
from typing import Any

import httpx
from rig import report
from rig.installation import Rig, running_rig


def table_of(count: int) -> bytes:
    """CSV."""
    rows = (f"m{number},a.example,kim,user,a{number} b{number}@b.example,true\r\n" for number in range(count))
    return "".join(rows).encode()


async def measure(rig: Rig, count: int) -> dict[str, Any]:
    """Seconds of each step, and of the slowest answer meanwhile."""
    platform = rig.platform
    for path in ("domains/a.example", "domains/b.example", "users/kim"):
        platform.administer(path, {})
    headers = {"Authorization": f"Bearer {platform.admin_token}", "Content-Type": "text/csv"}
    base_url, table = f"{platform.admin_url}/api/v1/", table_of(count)
    waits: list[float] = []

    async def watch(client: httpx.AsyncClient) -> None:
        while True:
            began = time.perf_counter()
            await client.get("healthz")
            waits.append(time.perf_counter() - began)
            await asyncio.sleep(0.005)

    steps = {
        "plan": ("POST", "mailboxes/import?plan=true"),
        "import": ("POST", "mailboxes/import"),
        "again": ("POST", "mailboxes/import"),
        "export": ("GET", "mailboxes/export"),
    }
    taken: dict[str, float] = {}
    async with httpx.AsyncClient(base_url=base_url, headers=headers, verify=platform.tls(), timeout=300) as client:
        watching = asyncio.create_task(watch(client))
        for name, (method, path) in steps.items():
            began = time.perf_counter()
            answer = await client.request(method, path, content=table if method == "POST" else None)
            answer.raise_for_status()
            taken[name] = time.perf_counter() - began
            if name == "import":
                assert answer.json()["created"] == count, answer.text[:500]
        watching.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await watching
    return {"mailboxes": count, "seconds": taken, "others_ms": report.quantiles_ms(waits)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mailboxes", type=int, default=10_000)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    with running_rig(mailboxes=1) as rig:
        print(f"import: {args.mailboxes} mailboxes", file=sys.stderr, flush=True)
        found = asyncio.run(measure(rig, args.mailboxes))
    print(report.table(["step", "s"], [[name, f"{seconds:.1f}"] for name, seconds in found["seconds"].items()]))
    others = found["others_ms"]
    print(f"others meanwhile, ms, p50/p95/p99/max: {report.slashed(others, tuple(others))}")
    report.write_json(args.json, found)


if __name__ == "__main__":
    main()
