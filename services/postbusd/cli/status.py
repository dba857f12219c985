"""`postbus status`: services, ports, health, time until ready, memory, and whether the ledger balances."""

import argparse
import sys
from collections.abc import Sequence
from typing import Any

import msgspec

from postbus.runtime.layout import StartError
from postbus.runtime.settings import process_environment
from postbus.runtime.supervisor_memory import pss_octets
from postbus.runtime.supervisor_state import READY, State, lock_holder, read_state
from postbusd.cli import objects
from postbusd.cli.api import path_of
from postbusd.cli.common import add_data_dir, clean, fail, format_octets, format_table, layout_from
from postbusd.cli.ledger_view import summarize
from postbusd.cli.remote import find_remote

LEDGER_SECONDS = 5.0


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Registers the command."""
    parser = subparsers.add_parser("status", help="services, ports, health, memory", description=__doc__)
    add_data_dir(parser)
    parser.add_argument("--json", action="store_true", help="as JSON")
    parser.set_defaults(handler=run_status)


def run_status(args: argparse.Namespace) -> int:
    """Prints the state: exit code 0 when everything is ready, 3 when not all of it, 1 when nothing runs.

    The ledger is told beside it (its own exit code: `postbus ledger`).
    """
    layout = layout_from(args)
    try:
        if find_remote(args, process_environment()) is not None:
            return run_remote_status(args)
        state = read_state(layout) if lock_holder(layout.lock_file) is not None else None
    except (StartError, OSError) as error:
        return fail("status", error)
    if state is None:
        return fail("status", f"Postbus is not up in {layout.root}")
    state = measure(state)
    ledger = read_ledger(args)
    if args.json:
        told = {**msgspec.to_builtins(state), "ledger": None if isinstance(ledger, str) else ledger}
        sys.stdout.buffer.write(msgspec.json.format(msgspec.json.encode(told)) + b"\n")
    else:
        print(format_state(state))
        print(f"ledger: not known: {clean(ledger)}" if isinstance(ledger, str) else summarize(ledger))
    return 0 if state.ready else 3


def read_ledger(args: argparse.Namespace) -> Any:  # Any: JSON of the API
    """The books, or why they can't be had, as a text."""
    try:
        return objects.open_session(args, LEDGER_SECONDS).api.get(path_of("ledger"), {"limit": "1"})
    except StartError as error:
        return str(error)


def run_remote_status(args: argparse.Namespace) -> int:
    """The state as the API sees it: exit code 0 when every part is well, else 3. Raises StartError."""
    status = objects.open_session(args).api.get(path_of("status"))
    ledger = read_ledger(args)
    if args.json:
        objects.print_json({**status, "ledger": None if isinstance(ledger, str) else ledger})
    else:
        print(format_parts(status["parts"]))
        print(f"{status['mail_host']}, version {status['version']}")
        print(f"ledger: not known: {clean(ledger)}" if isinstance(ledger, str) else summarize(ledger))
    return 0 if status["ok"] else 3


def format_parts(parts: Sequence[Any]) -> str:  # Any: JSON of the API
    """The table of the parts that the API asked."""
    rows = [
        [
            part["name"],
            "ready" if part["ok"] else "failing",
            f"{part['milliseconds']} ms",
            part["reason"] or part["note"],
        ]
        for part in parts
    ]
    return format_table(["SERVICE", "HEALTH", "ANSWER", "REMARK"], rows, right=frozenset({2}))


def measure(state: State) -> State:
    """The state with memory figures."""
    memory = {part.process: pss_octets(part.pid) for part in state.parts if part.pid is not None}
    own = pss_octets(state.pid, with_children=False)
    parts = tuple(msgspec.structs.replace(part, pss_octets=memory.get(part.process)) for part in state.parts)
    total = sum(octets or 0 for octets in memory.values()) + (own or 0)
    return msgspec.structs.replace(state, parts=parts, supervisor_octets=own, pss_octets=total)


def format_state(state: State) -> str:
    """The table of `postbus status`; memory stands once for each process."""
    rows: list[list[str]] = []
    shown: set[str] = set()
    for part in state.parts:
        ports = " ".join(f"{name} {port}" for name, port in part.ports.items())
        health = f"{part.health}: {part.detail}" if part.detail and part.health != READY else part.health
        memory = format_octets(part.pss_octets) if part.process not in shown else "〃"
        seconds = "–" if part.ready_seconds is None else f"{part.ready_seconds:.1f} s"
        shown.add(part.process)
        rows.append([part.name, ports or "–", health[:60], seconds, memory, part.process, str(part.restarts or "–")])
    if state.supervisor_octets is not None:
        rows.append(["supervisor", "–", READY, "–", format_octets(state.supervisor_octets), "–", "–"])
    head = ["SERVICE", "PORTS", "HEALTH", "READY AFTER", "PSS", "PROCESS", "RESTARTS"]
    table = format_table(head, rows, right=frozenset({3, 4}))
    total = f"in all {format_octets(state.pss_octets)}" if state.pss_octets else ""
    return f"{table}\n{state.host}, data in {state.data_dir}, {total}"
