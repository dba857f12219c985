"""A write by the real API on a real audit log, in a process that dies at a given place.

`python -m postbus.testing.audit_trial DSN PLACE`, the password on standard input. PLACE: `operation` (in its midst,
once it has changed something), `outcome` (after it, before its outcome is written), `nowhere`.
"""

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import msgspec
from prometheus_client import CollectorRegistry

from postbus.contracts.domains import Domain, PutDomainRequest
from postbus.core.clock import SystemClock
from postbus.testing.admin_directory import MemoryDirectoryAdmin
from postbus.testing.admin_rest import MAX_BODY_OCTETS, TOKEN, FakeInstallation
from postbusd.admin_api.adapters.postgres import PostgresAdminStore
from postbusd.admin_api.audit import Auditor
from postbusd.admin_api.audit_ports import AuditOutcome
from postbusd.admin_api.ports import Token
from postbusd.admin_api.rest.application import create_application
from postbusd.admin_api.tokens import Tokens, hash_token

ROLE = "postbus_admin_api"


def tell(text: str) -> None:
    """To whoever waits."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def die() -> None:
    """As by a lost machine."""
    os.kill(os.getpid(), signal.SIGKILL)


class DyingDirectory(MemoryDirectoryAdmin):
    """Dies once a domain is written."""

    async def put_domain(self, request: PutDomainRequest) -> Domain:
        """Writes and dies."""
        domain = await super().put_domain(request)
        tell(f"written {domain.name}")
        die()
        return domain


class DyingStore(PostgresAdminStore):
    """Dies before an outcome is written."""

    async def end_audit(self, sequence: int, outcome: AuditOutcome) -> None:
        """Dies."""
        tell(f"answered {outcome.status}")
        die()


async def run(dsn: str, password: str, place: str) -> None:
    """One PUT."""
    pool = await asyncpg.create_pool(dsn, user=ROLE, password=password, min_size=0, max_size=2)

    async def get() -> asyncpg.Pool:
        return pool

    store = DyingStore(get) if place == "outcome" else PostgresAdminStore(get)
    await store.put_token("trial", hash_token(TOKEN), Token(actor="admin", scopes=("admin",)))
    backend = msgspec.structs.replace(
        FakeInstallation().backend,
        directory=DyingDirectory() if place == "operation" else MemoryDirectoryAdmin(),
        audit=store,
        auditor=Auditor(store, CollectorRegistry()),
        tokens=Tokens(store, SystemClock(), Path("absent-token")),
    )
    application: Any = create_application(backend, MAX_BODY_OCTETS)  # Any: two names for the types of ASGI
    transport = httpx.ASGITransport(app=application)
    async with httpx.AsyncClient(transport=transport, base_url="https://api.example") as client:
        answer = await client.put(
            f"/api/v1/domains/{place}.example", headers={"Authorization": f"Bearer {TOKEN}"}, json={"incoming": True}
        )
        tell(f"answered {answer.status_code}")
    await pool.close()


if __name__ == "__main__":
    asyncio.run(run(sys.argv[1], sys.stdin.read().strip(), sys.argv[2]))
