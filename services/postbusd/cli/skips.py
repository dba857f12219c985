"""A pytest plugin: with CI=true only tests marked `shared` or `compose` may skip (house-style §10).

A skipped test proves nothing; on the build machine everything that it needs is there.
"""

from collections.abc import Generator

import pytest

from postbus.runtime.settings import process_environment

MAY_SKIP = ("shared", "compose")


def _is_strict() -> bool:
    return process_environment().get("CI", "").lower() == "true"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turns a skip that is not allowed into a failure."""
    report = yield
    may_skip = hasattr(report, "wasxfail") or any(item.get_closest_marker(name) for name in MAY_SKIP)
    if report.skipped and not may_skip and _is_strict():
        report.outcome = "failed"
        report.longrepr = f"skipped, but with CI=true it must run: {_reason(report.longrepr)}"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """A module that skips as a whole can't show its tests' marks: not allowed either."""
    report = yield
    if report.outcome == "skipped" and _is_strict():
        report.outcome = "failed"
        report.longrepr = f"skipped, but with CI=true it must run: {_reason(report.longrepr)}"
    return report


def _reason(found: object) -> str:
    return str(found[2]) if isinstance(found, tuple) and len(found) == 3 else str(found)
