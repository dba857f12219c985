"""deploy/observability: rules and dashboard use metrics that exist, alerts name a section of the runbook."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from postbus.runtime.roster import SERVICES
from postbus.testing.installation import ROOT
from postbus.testing.metrics import all_listed

yaml = pytest.importorskip("yaml")

FOLDER = ROOT / "deploy/observability"
NAMED = re.compile(r"\b(postbus_[a-z_]+)(\{[^}]*\})?")
BY_PATTERN = re.compile(r"__name__=~\"(postbus_[^\"]+)\"")
MATCHER = re.compile(r"([a-z_]+)=\"([^\"]*)\"")
PARTS = ("_bucket", "_sum", "_count")
SEVERITIES = {"critical", "warning"}


def load(name: str) -> Any:
    return yaml.safe_load((FOLDER / name).read_text())


def rules() -> list[dict[str, Any]]:
    return [rule for group in load("alerts.yml")["groups"] for rule in group["rules"]]


def dashboard() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((FOLDER / "grafana/dashboards/postbus.json").read_text())
    return found


def expressions() -> Iterator[str]:
    yield from (rule["expr"] for rule in rules())
    yield from (target["expr"] for panel in dashboard()["panels"] for target in panel.get("targets", ()))


def metric_of(name: str) -> str:
    """Without the parts that a histogram is shown in."""
    return next((name.removesuffix(part) for part in PARTS if name.endswith(part)), name)


def test_every_metric_exists_with_its_labels() -> None:
    known = all_listed()
    used = set()
    for text in expressions():
        for name, matchers in NAMED.findall(BY_PATTERN.sub("", text)):
            metric = metric_of(name)
            assert metric in known, f"{name} in {text}"
            used.add(metric)
            for label, value in MATCHER.findall(matchers):
                assert value in known[metric].get(label, ()), f"{label}={value} in {text}"
    assert len(used) > 20


def test_every_pattern_finds_a_metric_of_each_service_it_means() -> None:
    patterns = {pattern for text in expressions() for pattern in BY_PATTERN.findall(text)}
    assert patterns
    for pattern in patterns:
        assert sum(bool(re.fullmatch(pattern, name)) for name in all_listed()) == len(SERVICES), pattern


def test_every_alert_has_a_severity_and_a_section_of_the_runbook() -> None:
    titles = re.findall(r"^#+ (.+)$", (ROOT / "docs/runbook.md").read_text(), re.MULTILINE)
    anchors = {re.sub(r"[^a-z0-9 -]", "", title.lower()).replace(" ", "-") for title in titles}
    names = [rule["alert"] for rule in rules()]
    assert len(set(names)) == len(names)
    for rule in rules():
        page, _, anchor = rule["annotations"]["runbook"].partition("#")
        assert (page, anchor in anchors) == ("docs/runbook.md", True), rule["alert"]
        assert rule["labels"]["severity"] in SEVERITIES
        assert rule["annotations"]["summary"]


def test_every_service_is_scraped_by_its_own_page_and_missed_when_it_is_away() -> None:
    found = {each["job_name"]: each for each in load("prometheus.yml")["scrape_configs"]}
    assert set(found) == set(SERVICES)
    for service, each in found.items():
        assert each["metrics_path"] == f"/{service}/metrics"
        assert each["dns_sd_configs"][0]["names"] == [service]
    (away,) = [rule["expr"] for rule in rules() if rule["alert"] == "PostbusServiceAway"]
    assert set(re.findall(r"absent\(up\{job=\"([a-z-]+)\"\}\)", away)) == set(SERVICES)


def test_panels_do_not_overlap_and_have_a_unit() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in dashboard()["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        taken |= cells
        if panel["type"] != "row":
            assert panel["targets"]
            assert panel["fieldConfig"]["defaults"]["unit"]


def test_the_collector_takes_what_the_services_send() -> None:
    found = load("otel-collector.yml")
    assert found["receivers"]["otlp"]["protocols"]["http"]["endpoint"].endswith(":4318")
    assert found["service"]["pipelines"]["traces"]["receivers"] == ["otlp"]
