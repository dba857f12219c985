"""/metrics, /healthz and /readyz of every service, a process each and grouped: what they show and say, and when."""

import contextlib
import json
import os
import signal
import time
from collections.abc import Iterator

import pytest

from postbus.runtime.roster import SERVICES
from postbus.testing.installation import Platform
from postbus.testing.metrics import listed, prefix_of, shown
from postbus.testing.observed import REMOTE, Observed, fetch, pages
from postbus.testing.probes import HEAL_SECONDS, process_ids, wait_ready

TEXT = "text/plain; version="
JSON = "application/json"
BUS = "bus"


@contextlib.contextmanager
def hanging(platform: Platform, part: str) -> Iterator[None]:
    """While the block runs it takes connections and answers nothing."""
    pid = process_ids(platform)[part]
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def assert_metrics(platform: Platform) -> None:
    """Names, labels and values are those of the manual pages, no more."""
    for service, page in pages(platform, "metrics").items():
        assert (page.status, page.content_type[: len(TEXT)]) == (200, TEXT), service
        found, allowed = shown(page.text), listed(service)
        assert set(found) == set(allowed), f"{service}: {set(found) ^ set(allowed)}"
        for name, labels in found.items():
            assert set(labels) <= set(allowed[name]), f"{name}: {set(labels)}"
            for label, values in labels.items():
                assert values <= allowed[name][label], f"{name} {label}: {values - allowed[name][label]}"
        assert "process_cpu_seconds_total" in page.text
        assert f"{prefix_of(service)}ready_state 1.0" in page.text


def test_a_process_for_each_service_shows_what_its_manual_page_lists(observed: Observed) -> None:
    observed.receive(observed.platform.mailboxes[0][0])
    observed.submit(f"somebody@{REMOTE}")
    observed.read()
    observed.misuse()
    assert set(observed.platform.metrics) == set(SERVICES)
    assert_metrics(observed.platform)


def test_grouped_services_show_each_their_own(platform: Platform) -> None:
    assert set(platform.metrics) == set(SERVICES)
    assert len({url.split("/")[2] for url in platform.metrics.values()}) < len(SERVICES)
    assert_metrics(platform)


@pytest.mark.parametrize("grouping", ["observed", "platform"])
def test_services_live_and_are_ready(grouping: str, request: pytest.FixtureRequest) -> None:
    found = request.getfixturevalue(grouping)
    platform = found.platform if isinstance(found, Observed) else found
    wait_ready(platform)
    for name in ("healthz", "readyz"):
        for service, page in pages(platform, name).items():
            assert (page.status, page.content_type) == (200, JSON), f"{service} {name}: {page.text}"
            told = json.loads(page.text)
            assert (told["service"], told["ready"]) == (service, True)
            assert BUS in told["checks"]
            assert set(told["checks"].values()) == {"ok"}


def test_other_pages_do_not_exist(observed: Observed) -> None:
    for url in observed.platform.metrics.values():
        assert fetch(url.removesuffix("metrics") + "secrets").status == 404
        assert fetch(url.removesuffix("metrics") + "../metrics/..").status == 404


def test_without_the_bus_a_service_lives_is_not_ready_and_says_why(observed: Observed) -> None:
    platform = observed.platform
    wait_ready(platform)
    with hanging(platform, "nats"):
        deadline = time.monotonic() + HEAL_SECONDS
        while any(page.status == 200 for page in pages(platform, "readyz").values()):
            assert time.monotonic() < deadline, {n: page.text for n, page in pages(platform, "readyz").items()}
        for service, page in pages(platform, "readyz").items():
            told = json.loads(page.text)
            assert (page.status, page.content_type, told["ready"]) == (503, JSON, False), service
            assert told["checks"][BUS] != "ok"
        assert {page.status for page in pages(platform, "healthz").values()} == {200}
        for service, page in pages(platform, "metrics").items():
            assert page.status == 200
            assert f"{prefix_of(service)}ready_state 0.0" in page.text
    wait_ready(platform)
