"""Metrics as their service's manual page lists them, as the code declares them, and as a page shows them."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import msgspec
from prometheus_client.parser import text_string_to_metric_families

from postbus.runtime.roles import SCHEMA_USERS
from postbus.runtime.roster import SERVICES
from postbus.testing.installation import ROOT

Labels = dict[str, frozenset[str]]
"""Values by label."""
ROW = re.compile(r"^\| `(postbus_[a-z0-9_]+)` \| ([^|]*) \| ([^|]+) \|$", re.MULTILINE)
_LABEL = re.compile(r"`([a-z_]+)`: ([^;]+)")
_KINDS = {"Counter": "_total", "Gauge": "", "Histogram": "", "GaugeMetricFamily": "", "CounterMetricFamily": "_total"}
_EVERYWHERE = ("libs/postbus/runtime", "libs/postbus/mailstore", "libs/postbus/bus")
_OWN_LABELS = frozenset({"le"})
"""Of the format: bounds of buckets."""
_NOT_OURS = "process_"
EPOCH = "_mailstore_epoch"
"""Shown by the services that use the mail store."""


class Declared(msgspec.Struct, frozen=True):
    """A metric in the code."""

    name: str
    labels: tuple[str, ...]


def prefix_of(service: str) -> str:
    """What its metrics' names begin with."""
    return f"postbus_{service.replace('-', '_')}_"


def folder_of(service: str) -> Path:
    """Its code."""
    return ROOT / "services/postbusd" / service.replace("-", "_")


def listed(service: str) -> dict[str, Labels]:
    """The rows of the service's manual page."""
    rows = ROW.findall((folder_of(service) / "README.md").read_text())
    assert len({name for name, _, _ in rows}) == len(rows), f"{service}: listed twice"
    return {name: _read_labels(text) for name, text, _ in rows}


def all_listed() -> dict[str, Labels]:
    """Of all services."""
    return {name: labels for service in SERVICES for name, labels in listed(service).items()}


def declared(service: str) -> Iterator[Declared]:
    """What the service's code and the runtime make."""
    prefix = prefix_of(service)
    folders = [folder_of(service), *(ROOT / folder for folder in _EVERYWHERE)]
    for path in (path for folder in folders for path in sorted(folder.rglob("*.py"))):
        text = path.read_text()
        if not any(f"{kind}(" in text for kind in _KINDS):
            continue
        tree = ast.parse(text)
        makers = _makers(tree)
        for node in ast.walk(tree):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.args):
                continue
            template = makers.get(node.func.id, "")
            if template.startswith(prefix) and isinstance(node.args[0], ast.Constant):
                yield Declared(template + str(node.args[0].value), ())
            elif node.func.id in _KINDS:
                name = _name(node.args[0], text, prefix)
                if name.startswith(prefix) and not (name.endswith(EPOCH) and service not in SCHEMA_USERS["mailstore"]):
                    full = name.removesuffix("_total") + _KINDS[node.func.id]
                    yield Declared(full, _label_names(node))


def spawned(service: str) -> set[str]:
    """Names of the loops that the service's code and its listeners' TLS spawn."""
    names = set()
    for path in sorted(folder_of(service).rglob("*.py")):
        text = path.read_text()
        names |= set(re.findall(r"\.spawn\(\s*\"([a-z-]+)\"", text))
        names |= {"tls"} if "ServerTls(" in text else set()
    return names


def shown(text: str) -> dict[str, Labels]:
    """What a page of metrics shows: every sample, by the name of its metric."""
    found: dict[str, Labels] = {}
    for family in text_string_to_metric_families(text):
        if family.name.startswith(_NOT_OURS):
            continue
        name = f"{family.name}_total" if family.type == "counter" else family.name
        values = found.setdefault(name, {})
        for sample in family.samples:
            for label, value in sample.labels.items():
                if label not in _OWN_LABELS:
                    values[label] = values.get(label, frozenset()) | {value}
    return found


def _makers(tree: ast.Module) -> dict[str, str]:
    """Functions that make a gauge by the last part of its name: their names, and what stands before that part."""
    found = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and node.args.args:
            for part in (part for part in ast.walk(node) if isinstance(part, ast.JoinedStr)):
                first, last = part.values[0], part.values[-1]
                is_name = isinstance(last, ast.FormattedValue) and isinstance(last.value, ast.Name)
                if is_name and isinstance(first, ast.Constant) and str(first.value).startswith("postbus_"):
                    found[node.name] = str(first.value)
    return found


def _read_labels(text: str) -> Labels:
    return {name: frozenset(value.strip() for value in values.split(",")) for name, values in _LABEL.findall(text)}


def _name(node: ast.expr, text: str, prefix: str) -> str:
    """A literal, or one of the runtime's templates: `f"postbus_{…}_thing"`, or a variable with one."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.Name):
        assigned = re.search(rf"^ *{node.id} = f\"postbus_\{{.*?\}}_([a-z_]+)\"", text, re.MULTILINE)
        return prefix + assigned[1] if assigned else ""
    if isinstance(node, ast.JoinedStr) and isinstance(node.values[-1], ast.Constant):
        return prefix.removesuffix("_") + str(node.values[-1].value)
    return ""


def _label_names(node: ast.Call) -> tuple[str, ...]:
    return tuple(
        str(element.value)
        for each in (*node.args, *(word.value for word in node.keywords if word.arg == "labels"))
        if isinstance(each, ast.List)
        for element in each.elts
        if isinstance(element, ast.Constant)
    )
