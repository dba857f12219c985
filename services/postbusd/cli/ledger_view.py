"""The ledger for people: what is wrong first, then where all accepted mail is."""

from typing import Any

from postbusd.cli.common import clean, clean_lines, format_amount, format_table
from postbusd.cli.times import format_time

_PLACES = (
    ("folder", "in folders of ours"),
    ("queued", "went to the outgoing queue"),
    ("held", "held as dead letters"),
    ("dsn", "answered with a DSN"),
    ("written_off", "written off by an administrator"),
    ("unconsumed", "still on the bus"),
    ("missing_count", "missing"),
)
MAX_WHY = 100
MAX_SHOWN_PATHS = 3


def format_ledger(ledger: Any) -> str:
    """Alarms and what is missing, the sum, the other witness."""
    blocks = [_verdict(ledger), *_wrong(ledger), _sum(ledger), _witness(ledger["smtp_edge"])]
    if ledger["held"]:
        blocks.append("dead letters wait for you: postbus ledger held")
    if not ledger["balanced"]:
        blocks.append("what to do: docs/runbook.md, “The ledger does not balance”")
    return "\n\n".join(clean_lines(block) for block in blocks)


def summarize(ledger: Any) -> str:
    """One line, for `postbus status`."""
    letters = f", {count_letters(ledger['held'])} held (postbus ledger held)" if ledger["held"] else ""
    if ledger["balanced"]:
        return f"ledger: balanced, {ledger['accepted']} accepted{letters}"
    return f"ledger: NOT BALANCED: {clean(_faults(ledger))} (postbus ledger){letters}"


def format_held(letters: list[Any]) -> str:
    """A table of dead letters."""
    if not letters:
        return "no dead letters"
    rows = [
        [
            str(letter["stream_sequence"]),
            letter["queue_id"] or "unreadable",
            format_time(letter["held_ms"]),
            format_amount(letter["size_octets"]) if letter["size_octets"] else "–",
            letter["reverse_path"] or "<>",
            _paths(letter["forward_paths"]),
            _cut(letter["reason"]),
        ]
        for letter in letters
    ]
    table = format_table(["SEQ", "QUEUE ID", "HELD SINCE", "SIZE", "FROM", "FOR", "WHY"], rows, right=frozenset({0, 3}))
    return f"{table}\n{count_letters(len(letters))}: postbus ledger held retry SEQ, or discard SEQ --reason TEXT"


def format_change(action: str, result: Any) -> str:
    """What an action on dead letters did."""
    number = result["changed"]
    if result["dry_run"]:
        line = f"{count_letters(number)} would be {'retried' if action == 'retry' else 'discarded'}"
    elif not number:
        line = "no dead letter was changed"
    else:
        done = {"retry": "delivered", "discard": "discarded"}[action]
        line = f"{count_letters(number)} {'was' if number == 1 else 'were'} {done}"
    stay = [f"  {each['stream_sequence']} stays: {clean(each['reason'])}" for each in result["failed"]]
    return "\n".join([line, *stay])


def format_settlement(result: Any) -> str:
    """What was, or would be, settled."""
    would = "would be " if result["dry_run"] else ""
    alarms = [f"closed: {clean(each)}" for each in result["alarms"]]
    head = f"{_count(result['missing'], 'missing message')} {would}written off, "
    return "\n".join([f"{head}{_count(result['clashes'], 'clash', 'clashes')} {would}closed", *alarms])


def count_letters(number: int) -> str:
    """`1 dead letter`, `2 dead letters`."""
    return _count(number, "dead letter")


def _verdict(ledger: Any) -> str:
    when = format_time(ledger["at_ms"])
    if ledger["balanced"]:
        return f"The books balance ({when}): every accepted message is accounted for."
    return f"THE BOOKS DO NOT BALANCE ({when}): {_faults(ledger)}"


def _faults(ledger: Any) -> str:
    faults = [_count(ledger["missing_count"], "accepted message") + " missing"] if ledger["missing_count"] else []
    if ledger["alarms"]:
        faults.append(_count(len(ledger["alarms"]), "alarm"))
    return ", ".join(faults)


def _wrong(ledger: Any) -> list[str]:
    blocks = []
    if ledger["alarms"]:
        blocks.append("\n".join(f"ALARM: {' '.join(each.split())}" for each in ledger["alarms"]))
    if ledger["missing"]:
        rows = [
            [
                str(each["stream_sequence"]),
                each["queue_id"] or "not known: the stream holds it no more",
                format_time(each["accepted_ms"]) if each["accepted_ms"] else "–",
            ]
            for each in ledger["missing"]
        ]
        blocks.append(_listed(format_table(["MISSING", "QUEUE ID", "TAKEN"], rows), rows, ledger["missing_count"]))
    if ledger["clashes"]:
        rows = [
            [str(each["stream_sequence"]), each["first_queue_id"], each["queue_id"], format_time(each["seen_ms"])]
            for each in ledger["clashes"]
        ]
        blocks.append(_listed(format_table(["CLASH", "FIRST", "LATER", "SEEN"], rows), rows, ledger["clash_count"]))
    return blocks


def _listed(table: str, rows: list[list[str]], count: int) -> str:
    more = count - len(rows)
    return f"{table}\nand {more} more" if more > 0 else table


def _sum(ledger: Any) -> str:
    width = max(len(str(ledger[name])) for name in ("accepted", *[name for name, _ in _PLACES]))
    lines = [f"  {ledger['accepted']:>{width}}  accepted"]
    for number, (name, words) in enumerate(_PLACES):
        wrong = name == "missing_count" and ledger[name]
        lines.append(f"{'+' if number else '='} {ledger[name]:>{width}}  {words.upper() if wrong else words}")
    return "\n".join(lines)


def _witness(edge: Any) -> str:
    if not edge["checked"]:
        return f"not checked against smtp-edge: {edge['reason']}"
    since = format_time(edge["started_ms"])
    return (
        f"smtp-edge: {edge['accepted']} accepted since {since}, {edge['refused']} refused, {edge['deferred']} put off"
    )


def _paths(paths: list[str]) -> str:
    more = len(paths) - MAX_SHOWN_PATHS
    shown = ", ".join(paths[:MAX_SHOWN_PATHS])
    return f"{shown} …" if more > 0 else shown or "–"


def _cut(text: str) -> str:
    return text if len(text) <= MAX_WHY else f"{text[: MAX_WHY - 1]}…"


def _count(number: int, one: str, many: str = "") -> str:
    return f"{number} {one if number == 1 else many or f'{one}s'}"
