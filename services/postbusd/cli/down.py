"""`postbus down`: ends a running installation, after everything under way is finished."""

import argparse
import os
import signal
import time

from postbus.runtime.layout import StartError
from postbus.runtime.supervisor_state import lock_holder
from postbusd.cli.common import add_data_dir, fail, layout_from

WAIT_SECONDS = 150.0
"""Longer than all stages of a drain and Postgres's shutdown together."""


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Registers the command."""
    parser = subparsers.add_parser("down", help="stop a running installation", description=__doc__)
    add_data_dir(parser)
    parser.set_defaults(handler=run_down)


def run_down(args: argparse.Namespace) -> int:
    """Asks the supervisor to end and waits until it has."""
    layout = layout_from(args)
    try:
        holder = lock_holder(layout.lock_file)
        if holder is None:
            print(f"Postbus is not up in {layout.root}")
            return 0
        if not holder:
            return fail("down", f"{layout.lock_file} is held, but it doesn't say by which process")
        os.kill(holder, signal.SIGTERM)
        deadline = time.monotonic() + WAIT_SECONDS
        while lock_holder(layout.lock_file) is not None:
            if time.monotonic() > deadline:
                return fail("down", f"process {holder} is still at work after {WAIT_SECONDS:.0f} s")
            time.sleep(0.05)
    except (OSError, StartError) as error:
        return fail("down", error)
    print(f"Postbus is down; the data stay in {layout.root}")
    return 0
