"""Resolve among 100,000 mailboxes and 10,000 wildcards: `python benchmarks/resolve.py [--rounds N]`.

Each round asks a private Postgres for six addresses at once, past every cache: a mailbox, a sub-address, two wildcards,
nobody, postmaster.
"""

import argparse
import asyncio
import statistics
import time

import asyncpg
from prometheus_client import CollectorRegistry

from postbus.contracts.directory import ResolveRequest
from postbus.core.clock import SystemClock
from postbus.mailstore.postgres import PostgresMailStore
from postbus.runtime.embedded import make_secrets, prepare_nats, prepare_postgres, read_secret
from postbus.runtime.layout import Layout, layout_of, make_folders
from postbus.testing.directory_rows import load_rows
from postbus.testing.directory_sites import Site
from postbus.testing.installation import run_migrator, running, short_folder
from postbusd.directory.adapters.postgres import PostgresDirectory
from postbusd.directory.resolution import CachedResolver

CACHED_ROUNDS = 20_000
_MANY_MAILBOXES = """
WITH kim AS (INSERT INTO directory.user_account (user_id, username) VALUES (gen_random_uuid(), 'kim') RETURNING user_id)
INSERT INTO directory.mailbox (mailbox_id, local_part, domain, owner_user)
SELECT gen_random_uuid(), 'u' || n, 'example.org', user_id FROM kim, generate_series(1, 100000) n
"""
_MANY_WILDCARDS = """
INSERT INTO directory.alias (local_part, domain, mailbox_id)
SELECT CASE WHEN n % 2 = 0 THEN 'shop' || n || '-*' ELSE '*-' || (n - 1) || '.news' END, 'example.org',
    (SELECT mailbox_id FROM directory.mailbox WHERE local_part = 'u7')
FROM generate_series(1, 10000) n
"""


async def measure(layout: Layout, dsn: str, rounds: int) -> None:
    password = read_secret(layout.secrets, "postgres-directory")
    async with asyncpg.create_pool(dsn, user="postbus_directory", password=password, min_size=1, max_size=4) as pool:
        async with pool.acquire() as connection:
            await load_rows(connection, Site("example.org").directory)
            await connection.execute(_MANY_MAILBOXES)
            await connection.execute(_MANY_WILDCARDS)

        async def get() -> asyncpg.Pool:
            return pool

        resolver = CachedResolver(PostgresDirectory(get), PostgresMailStore(pool), SystemClock(), CollectorRegistry())
        times = []
        for number in range(1, rounds + 1):
            wanted = {
                f"u{number * 300}@example.org": "mailbox",
                f"u{number}+x@example.org": "sub_address",
                f"shop{number * 30}-order-7@example.org": "wildcard",
                f"info-{number * 30}.news@example.org": "wildcard",
                f"nobody-{number}@example.org": "none",
                "postmaster@example.org": "system",
            }
            started = time.perf_counter()
            reply = await resolver.resolve(ResolveRequest(forward_paths=tuple(wanted), bypass_cache=True))
            times.append(time.perf_counter() - started)
            assert [each.via.value for each in reply.resolutions] == list(wanted.values())
        print(f"uncached Resolve of 6 addresses: {_told(times)}")
        for name in ("mailbox", "sub_address", "wildcard", "none"):
            print(f"uncached Resolve of 1 address, {name}: {_told(await one_address(resolver, name, rounds))}")
        await resolver.resolve(ResolveRequest(forward_paths=("u7@example.org",)))
        started = time.perf_counter()
        for _ in range(CACHED_ROUNDS):
            await resolver.resolve(ResolveRequest(forward_paths=("u7@example.org",)))
        print(f"cached Resolve of 1 address: {(time.perf_counter() - started) / CACHED_ROUNDS * 1e6:.1f} µs")


async def one_address(resolver: CachedResolver, via: str, rounds: int) -> list[float]:
    """Seconds of each round."""
    times = []
    for number in range(1, rounds + 1):
        address = {
            "mailbox": f"u{number * 299}@example.org",
            "sub_address": f"u{number}+y@example.org",
            "wildcard": f"shop{number * 30}-order-8@example.org",
            "none": f"no-one-{number}@example.org",
        }[via]
        started = time.perf_counter()
        reply = await resolver.resolve(ResolveRequest(forward_paths=(address,), bypass_cache=True))
        times.append(time.perf_counter() - started)
        assert reply.resolutions[0].via.value == via
    return times


def _told(times: list[float]) -> str:
    median, p95 = statistics.median(times) * 1e3, statistics.quantiles(times, n=20)[-1] * 1e3
    return f"median {median:.2f} ms, p95 {p95:.2f} ms"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=300)
    args = parser.parse_args()
    with short_folder() as folder:
        layout = layout_of(folder, {})
        make_folders(layout)
        make_secrets(layout.secrets)
        postgres, nats = prepare_postgres(layout), prepare_nats(layout)
        with running(postgres.program(), postgres.is_ready), running(nats.program(), nats.is_ready):
            run_migrator(layout, postgres, nats)
            asyncio.run(measure(layout, postgres.dsn, args.rounds))


if __name__ == "__main__":
    main()
