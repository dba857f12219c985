"""A pytest plugin: several pytest processes share one run, each takes the next module that nobody has taken yet.

Integration tests mostly wait, so that two processes need hardly more than half of the time. A process has servers of
its own (fixtures of the session), and takes modules whole. PYTEST_SHARE (`1/2`: the first of two) keeps their
ports apart (`postbus.testing.installation.free_port_base`); in the folder PYTEST_CLAIMS a file marks what is taken.
"""

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from postbus.runtime.settings import process_environment
from postbusd.cli.test import CLAIMS


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> bool:
    """Runs the items of the modules that this process gets; everything else as pytest's own loop."""
    if session.testsfailed and not session.config.option.continue_on_collection_errors:
        raise session.Interrupted(f"{session.testsfailed} errors while collecting")
    if session.config.option.collectonly:
        return True
    mine = claimed(session.items, Path(process_environment()[CLAIMS]))
    item = next(mine, None)
    while item is not None:
        following = next(mine, None)  # fixtures of the module stay open for it, or end
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
        if session.shouldfail:
            raise session.Failed(session.shouldfail)
        if session.shouldstop:
            raise session.Interrupted(session.shouldstop)
        item = following
    return True


def claimed(items: list[pytest.Item], folder: Path) -> Iterator[pytest.Item]:
    """The items of each module that is still free when its turn comes."""
    for path, group in itertools.groupby(items, key=lambda item: item.path):
        if _claim(folder / str(path).strip("/").replace("/", "."), str(path)):
            yield from group


def _claim(mark: Path, path: str) -> bool:
    try:
        with mark.open("x") as file:
            file.write(path)
    except FileExistsError:
        return False
    return True
