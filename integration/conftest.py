"""Fixtures of the integration tests: real Postgres, NATS and the whole platform (`postbus.testing.installation`)."""

from collections.abc import Iterator

import pytest

from postbus.runtime.embedded import EmbeddedNats, EmbeddedPostgres, make_secrets, prepare_nats, prepare_postgres
from postbus.runtime.layout import Layout, layout_of, make_folders
from postbus.testing.installation import (
    SHORT_DEADLINES,
    Database,
    Nats,
    Platform,
    postbus,
    read_connection,
    run_migrator,
    running,
    short_folder,
    small_disk,
    start_platform,
)
from postbus.testing.kill_points import Zygote, running_zygote
from postbus.testing.observed import Observed, running_observed
from postbus.testing.probes import assert_quiet_logs

__all__ = ["Database", "Nats", "Platform", "postbus", "read_connection", "short_folder", "start_platform"]


@pytest.fixture(scope="session")
def _embedded() -> Iterator[tuple[Layout, EmbeddedPostgres, EmbeddedNats]]:
    with short_folder() as folder:
        layout = layout_of(folder, {})
        make_folders(layout)
        make_secrets(layout.secrets)
        postgres, nats = prepare_postgres(layout), prepare_nats(layout)
        with running(postgres.program(), postgres.is_ready), running(nats.program(), nats.is_ready):
            run_migrator(layout, postgres, nats)
            yield layout, postgres, nats


@pytest.fixture(scope="session")
def database(_embedded: tuple[Layout, EmbeddedPostgres, EmbeddedNats]) -> Database:
    layout, postgres, _ = _embedded
    return Database(server=postgres, layout=layout)


@pytest.fixture(scope="session")
def nats(_embedded: tuple[Layout, EmbeddedPostgres, EmbeddedNats]) -> Nats:
    layout, _, server = _embedded
    return Nats(server=server, layout=layout)


@pytest.fixture(scope="session")
def platform() -> Iterator[Platform]:
    with short_folder() as folder:
        yield start_platform(folder)


@pytest.fixture(scope="session")
def observed() -> Iterator[Observed]:
    """A process for each service, a collector of traces, a mail server outside."""
    with running_observed() as found:
        yield found


@pytest.fixture(scope="session")
def separate() -> Iterator[Platform]:
    """A process for each service, short deadlines, a disk of its own; its parts may be stopped and ended."""
    with short_folder() as folder, small_disk(folder):
        try:
            platform = start_platform(folder, "--workers", "separate", environment=SHORT_DEADLINES)
            yield platform
            assert_quiet_logs(platform)
        finally:
            postbus("down", "--data-dir", str(folder), check=False)


@pytest.fixture(scope="session")
def zygote() -> Iterator[Zygote]:
    """Forked for each trial that dies."""
    with running_zygote("postbus.testing.delivery_trial", "postbus.testing.edge_trial") as zygote:
        yield zygote
