"""The REST API at a fixed rate: `python benchmarks/api.py [--rate N] [--seconds N] [--session] [--json FILE]`.

Requests begin when their time has come, whatever became of those before (open loop), over 8 connections of HTTP/1.1
with TLS: of ten, four show an object, three list a page of 100, two replace a mailbox (with its audit rows), one reads
events.
"""

import argparse
import asyncio
import sys
import time
from pathlib import Path
from typing import Any

import httpx
from rig import report
from rig.installation import Rig, running_rig

CONNECTIONS = 8


def request_of(number: int, rig: Rig) -> tuple[str, str, str, dict[str, object] | None]:
    """Name, method, path and body."""
    address = rig.mailboxes[number % len(rig.mailboxes)]
    step = number % 10
    if step < 4:
        return "show", "GET", f"mailboxes/{address}", None
    if step < 7:
        return "list", "GET", "mailboxes?limit=100", None
    if step < 9:
        return "replace", "PUT", f"mailboxes/{address}", {"quota_octets": 1_000_000 + number}
    return "events", "GET", "events?limit=100", None


def sign_in(rig: Rig) -> str:
    """The token of a superadmin's session."""
    secret = {"password": "a pass phrase"}
    rig.platform.administer("users/root", {"superadmin": True, **secret})
    url = f"{rig.platform.admin_url}/api/v1/session"
    answer = httpx.post(url, json={"username": "root", **secret}, verify=rig.platform.tls())
    return str(answer.raise_for_status().json()["token"])


async def measure(rig: Rig, rate: int, seconds: int, token: str) -> dict[str, Any]:
    """Seconds by kind of request, and how late requests began."""
    platform, taken = rig.platform, dict[str, list[float]]()
    headers = {"Authorization": f"Bearer {token}"}
    limits = httpx.Limits(max_connections=CONNECTIONS, max_keepalive_connections=CONNECTIONS)
    async with httpx.AsyncClient(
        base_url=f"{platform.admin_url}/api/v1/", headers=headers, verify=platform.tls(), limits=limits, timeout=30
    ) as client:

        async def ask(number: int, due: float) -> None:
            name, method, path, body = request_of(number, rig)
            answer = await client.request(method, path, json=body)
            answer.raise_for_status()
            taken.setdefault(name, []).append(time.perf_counter() - due)

        await asyncio.gather(*[ask(number, time.perf_counter()) for number in range(50)])
        taken.clear()
        cpu, began = sum(rig.parts.cpu_seconds().values()), time.perf_counter()
        async with asyncio.TaskGroup() as group:
            for number in range(rate * seconds):
                due = began + number / rate
                await asyncio.sleep(max(0.0, due - time.perf_counter()))
                group.create_task(ask(number, due))
        spent = sum(rig.parts.cpu_seconds().values()) - cpu
    everything = [each for times in taken.values() for each in times]
    figures = {name: report.quantiles_ms(times) for name, times in [*sorted(taken.items()), ("all", everything)]}
    return {
        "rate": rate,
        "requests": len(everything),
        "ms": figures,
        "cpu_ms_a_request": 1000 * spent / len(everything),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=int, default=100, help="requests a second")
    parser.add_argument("--seconds", type=int, default=20)
    parser.add_argument("--session", action="store_true", help="as a user who signed in, not by an API token")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    with running_rig(mailboxes=200) as rig:
        print(f"api: {args.rate} requests a second for {args.seconds} s", file=sys.stderr, flush=True)
        token = sign_in(rig) if args.session else rig.platform.admin_token
        found = asyncio.run(measure(rig, args.rate, args.seconds, token))
    rows = [[name, report.slashed(times)] for name, times in found["ms"].items()]
    print(report.table([f"request, {found['rate']}/s", "ms, p50/p95/p99"], rows))
    print(f"CPU of the installation: {found['cpu_ms_a_request']:.1f} ms a request")
    report.write_json(args.json, found)


if __name__ == "__main__":
    main()
