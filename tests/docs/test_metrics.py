"""The metrics that the manual pages list are those that the code makes, with these labels and no others."""

import re

import pytest

from postbus.runtime.roster import SERVICES
from postbus.testing.installation import ROOT
from postbus.testing.metrics import all_listed, declared, folder_of, listed, prefix_of, spawned

HISTOGRAM = r"(?:_bucket|_sum|_count)?"
MENTIONED = re.compile(r"`(postbus_[a-z_]+)")
VALUE = re.compile(r"[a-z][a-z0-9_-]*\Z")
LOOPS = "loop_failures_total"


@pytest.mark.parametrize("service", SERVICES)
def test_each_metric_is_listed_with_its_labels(service: str) -> None:
    made = {each.name: set(each.labels) for each in declared(service)}
    shown = {name: set(labels) for name, labels in listed(service).items()}
    assert made
    if not spawned(service):
        made[prefix_of(service) + LOOPS] = set()
    assert shown == made


@pytest.mark.parametrize("service", SERVICES)
def test_names_and_values_follow_the_rules(service: str) -> None:
    for name, labels in listed(service).items():
        assert re.fullmatch(f"{prefix_of(service)}[a-z]+(_[a-z]+)*", name), name
        for label, values in labels.items():
            assert values, f"{name} {label}"
            assert all(VALUE.match(value) for value in values), f"{name} {label}: {values}"


@pytest.mark.parametrize("service", SERVICES)
def test_the_loops_are_those_that_the_service_spawns(service: str) -> None:
    row = listed(service)[prefix_of(service) + LOOPS]
    assert row.get("loop", frozenset()) == spawned(service)


def test_what_other_pages_mention_exists() -> None:
    pages = [folder_of(service) / "README.md" for service in SERVICES] + sorted((ROOT / "docs").rglob("*.md"))
    known, prefixes = all_listed(), tuple(map(prefix_of, SERVICES))
    for page in pages:
        for name in MENTIONED.findall(page.read_text()):
            found = name in known or any(re.fullmatch(each + HISTOGRAM, name) for each in known)
            assert found or not name.startswith(prefixes), f"{page.name}: {name}"
