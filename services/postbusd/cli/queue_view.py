"""The queue for people: why a copy is still here, when it is tried next, what the other side said."""

from typing import Any

from postbusd.cli.common import format_amount, format_facts, format_table
from postbusd.cli.times import format_span, format_time

MAX_WHY = 100
_DONE = {
    "retry": ("is tried now", "are tried now"),
    "hold": ("is held", "are held"),
    "release": ("is released and tried now", "are released and tried now"),
    "cancel": ("was cancelled", "were cancelled"),
    "bounce": ("was bounced", "were bounced"),
}


def format_queue(value: Any, now_ms: int) -> str:
    """A table with the reasons, and the totals."""
    rows = [
        [
            entry["queue_id"],
            entry["recipient"],
            entry["state"],
            format_span(now_ms - entry["accepted_ms"]),
            str(entry["attempts"]),
            _cut(explain(entry, now_ms)),
        ]
        for entry in value["entries"]
    ]
    head = ["QUEUE ID", "RECIPIENT", "STATE", "AGE", "TRIED", "WHY IT IS STILL HERE"]
    totals = f"{value['waiting']} waiting, {value['held']} held"
    return f"{format_table(head, rows, right=frozenset({3, 4}))}\n{totals}" if rows else f"nothing to show; {totals}"


def explain(entry: Any, now_ms: int) -> str:
    """Why a copy is still here, or how it ended."""
    words = said(entry)
    state = entry["state"]
    if state == "held":
        if words.startswith("held "):
            return words
        return "held by an administrator" + (f"; before: {words}" if words else "")
    if state != "waiting":
        return words or state
    if entry["due_ms"] > now_ms:
        when = f"next try in {format_span(entry['due_ms'] - now_ms)}"
        return f"{when}: {words}" if words else when
    if entry["attempts"] == 0:
        return "just taken, is tried now"
    return f"is tried now; before: {words}" if words else "is tried now"


def format_entry(entry: Any, now_ms: int) -> str:
    """All facts of one copy."""
    open_ = entry["state"] in ("waiting", "held")
    facts = [
        ("queue id", entry["queue_id"]),
        ("recipient", entry["recipient"]),
        ("reverse path", entry["reverse_path"] or "<> (nobody is told of a failure)"),
        ("message id", entry["message_id"] or "–"),
        ("size", format_amount(entry["size_octets"])),
        ("state", entry["state"]),
        ("why", explain(entry, now_ms)),
        *([("advice", entry["advice"])] if entry.get("advice") else []),
        ("taken", format_time(entry["accepted_ms"])),
        ("tried", f"{entry['attempts']} times" if entry["attempts"] != 1 else "once"),
        (
            "next try" if open_ else "ended",
            format_time(entry["due_ms"]) if entry["state"] != "held" else "when released",
        ),
        ("next hop", entry["next_hop"] or "–"),
        ("TLS", entry["tls"] or "–"),
    ]
    if open_ and entry["expires_ms"]:
        facts.append(("given up", format_time(entry["expires_ms"])))
    return format_facts(facts)


def format_result(action: str, result: Any) -> str:
    """What an action did."""
    number, busy = result["changed"], result["busy"]
    one, many = _DONE[action]
    if result["dry_run"]:
        line = f"{_copies(number)} would be changed"
    else:
        line = f"{_copies(number)} {one if number == 1 else many}" if number else "nothing to change"
    if busy:
        return f"{line}; {_copies(busy)} left alone: being sent right now"
    return line if number or action != "retry" else f"{line} (held copies: postbus queue release)"


def _copies(number: int) -> str:
    return "1 copy" if number == 1 else f"{number} copies"


def said(entry: Any) -> str:
    """`mx.far.example said: 451 later`."""
    if not entry["last_reply"]:
        return ""
    return f"{entry['remote_host']} said: {entry['last_reply']}" if entry["remote_host"] else str(entry["last_reply"])


def _cut(text: str) -> str:
    return text if len(text) <= MAX_WHY else f"{text[: MAX_WHY - 1]}…"
