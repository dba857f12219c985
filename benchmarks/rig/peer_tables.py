"""The tables of `peers.py`: medians of the runs, IMAP side by side, and what was asked for beside what was found."""

import statistics
from typing import Any

from rig import report

OURS = "postbus"
TITLES = {
    "p1": "Haraka + SpamAssassin + Dovecot",
    "p2": "Postfix + rspamd + Dovecot",
    OURS: "Postbus",
}
NAMES = ("p50", "p95", "p99")


def show(found: dict[str, Any]) -> None:
    """Prints all tables."""
    _show_mail(found)
    _show_imap({name: stack["imap"]["tests"] for name, stack in found.items() if "imap" in stack})
    if OURS in found:
        _show_aims(found)


def median(runs: list[dict[str, Any]], *path: str) -> float | None:
    """Of the runs that have the figure."""
    values = []
    for run in runs:
        value: Any = run
        for key in path:
            value = value.get(key) if isinstance(value, dict) else None
        if isinstance(value, int | float):
            values.append(value)
    return round(statistics.median(values), 2) if values else None


def _quantiles(runs: list[dict[str, Any]]) -> str:
    values = [median(runs, "reply_to_visible_ms", name) for name in NAMES]
    return "/".join("-" if value is None else f"{value:.0f}" for value in values)


def _show_mail(found: dict[str, Any]) -> None:
    head = ("stack", "load", "runs x messages", "accepted/s", "visible/s", "reply to visible ms p50/p95/p99",
            "CPU s per 1,000", "PSS MiB idle/peak/after", "lost", "others' CPU, cores")  # fmt: skip
    rows = []
    for name, stack in found.items():
        for load, kind in (("8 connections", "flood_runs"), (f"{stack['rate']:g} a second", "rate_runs")):
            runs = stack[kind]
            memory = (
                f"{stack['memory']['idle']['pss_mib']:.0f}/{median(runs, 'stack_pss_mib_peak'):.0f}/"
                f"{stack['memory']['after']['pss_mib']:.0f}"
            )
            others = statistics.median(run["machine"]["others_cpu_s"] / max(run["wall_s"], 0.1) for run in runs)
            rows.append(
                (
                    TITLES[name],
                    load,
                    f"{len(runs)} x {runs[0]['sent']}",
                    median(runs, "accepted_per_s"),
                    median(runs, "arrived_per_s"),
                    _quantiles(runs),
                    median(runs, "stack_cpu_s_per_1000"),
                    memory,
                    sum(run["sent"] - run.get("arrived", 0) for run in runs),
                    f"{others:.2f}",
                )
            )
    print(report.table(head, rows))


def _show_imap(stacks: dict[str, Any]) -> None:
    if not stacks:
        return
    names = list(dict.fromkeys(test for tests in stacks.values() for test in tests))
    rows = [(name, *(_imap_cell(tests.get(name, {})) for tests in stacks.values())) for name in names]
    print("\nIMAP over TLS, 10,000 messages: milliseconds the first time / median")
    print(report.table(("test", *(TITLES[name] for name in stacks)), rows))


def _imap_cell(test: dict[str, Any]) -> str:
    if "median_ms" in test:
        return f"{test['first_ms']:.1f} / {test['median_ms']:.1f}"
    return ", ".join(f"{key} {value}" for key, value in test.items()) or "-"


def _show_aims(found: dict[str, Any]) -> None:
    floods, rates = found[OURS]["flood_runs"], found[OURS]["rate_runs"]
    tests = found[OURS].get("imap", {}).get("tests", {})
    rate = median(floods, "arrived_per_s") or 0.0
    rows = [
        ("CPU s per 1,000 inbound 4 KB messages, 8 connections", *_at_most(median(floods, "stack_cpu_s_per_1000"), 25)),
        ("CPU s per 1,000, 20 a second", *_at_most(median(rates, "stack_cpu_s_per_1000"), 25)),
        ("reply to visible at 20 a second, p50 ms", *_at_most(median(rates, "reply_to_visible_ms", "p50"), 30)),
        ("reply to visible at 20 a second, p95 ms", *_at_most(median(rates, "reply_to_visible_ms", "p95"), 100)),
        ("FETCH 1:* (FLAGS) of 10,000, ms", *_at_most(tests.get("fetch_flags_all", {}).get("median_ms"), 30)),
        ("IDLE notice after APPEND, p50 ms", *_at_most(tests.get("idle_notify", {}).get("p50_ms"), 30)),
    ]
    if "p2" in found:
        half = (median(found["p2"]["flood_runs"], "arrived_per_s") or 0.0) / 2
        told = "yes" if rate >= half else "NO"
        rows.insert(1, ("messages a second, 8 connections", f">= {half:.1f}, half of p2's", str(rate), told))
    print()
    print(report.table(("figure", "asked", "found", "met"), rows))


def _at_most(value: float | None, most: float) -> tuple[str, str, str]:
    if value is None:
        return f"<= {most:g}", "-", "-"
    return f"<= {most:g}", f"{value:g}", "yes" if value <= most else "NO"
