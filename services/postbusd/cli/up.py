"""`postbus up`: the whole platform on this machine, in the foreground or detached.

All that can be wrong with folder, disk, ports or settings is told in one clear line, before anything is started.
"""

import argparse
import asyncio
import logging
import shutil
import signal
import sys
import time
from collections.abc import Callable

from postbus.runtime.embedded import make_secrets, prepare_nats, prepare_postgres
from postbus.runtime.layout import Layout, StartError, make_folders
from postbus.runtime.log import JsonFormatter
from postbus.runtime.settings import SettingsError, process_environment, read_env_file
from postbus.runtime.supervisor_connection import DONE_FILE, make_demo_mailboxes, read_connection
from postbus.runtime.supervisor_platform import GROUPS, Plan, Platform
from postbus.runtime.supervisor_ports import (
    DEFAULT_PORT_BASE,
    Addresses,
    allot_addresses,
    allot_loopback_ports,
    check_free,
)
from postbus.runtime.supervisor_restore import read_restore_id, settle_restore
from postbus.runtime.supervisor_state import Lock, State
from postbusd.cli.common import add_data_dir, fail, layout_from
from postbusd.cli.detach import run_detached
from postbusd.cli.up_report import LiveReport, format_welcome
from postbusd.cli.up_settings import make_settings_file

FIRST_START_OCTETS = 300 * 1024 * 1024
"""What a first start needs: an empty database with its write-ahead log, and as root a copy of Postgres's programs."""
EXTRA_NAMES = "POSTBUS_DNS_PROVISIONER_EXTRA_NAMES"
RESTORE_ID = "POSTBUS_RUNTIME_RESTORE_ID"
LATER_START_OCTETS = 32 * 1024 * 1024


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Registers the command."""
    parser = subparsers.add_parser("up", help="start everything on this machine", description=__doc__)
    add_data_dir(parser)
    parser.add_argument("--detach", action="store_true", help="return when everything is ready")
    parser.add_argument(
        "--port-base",
        type=int,
        metavar="N",
        help=f"SMTP on N+25, submission N+587, IMAPS N+993, API N+80 … (default {DEFAULT_PORT_BASE})",
    )
    parser.add_argument("--standard-ports", action="store_true", help="25, 587, 465, 993 …, the API on 8443")
    parser.add_argument("--host", default="127.0.0.1", metavar="ADDRESS", help="where to listen (default 127.0.0.1)")
    parser.add_argument("--plain-imap", action="store_true", help="IMAP and POP3 without TLS too, on N+143 and N+110")
    parser.add_argument(
        "--workers", choices=("grouped", "separate"), default="grouped", help="separate: one process a service"
    )
    parser.add_argument(
        "--restored",
        action="store_true",
        help="the data folder is a copy that was put back: folders skip the UIDs of the time that is lost, outgoing "
        "mail is held (postbus queue release)",
    )
    parser.add_argument("--resolver", metavar="HOST:PORT", help="the DNS server that every check uses")
    parser.set_defaults(handler=run_up)


def run_up(args: argparse.Namespace) -> int:
    """Runs until SIGTERM or Ctrl-C, or with --detach until all is ready."""
    if args.standard_ports and args.port_base is not None:
        return fail("up", "--standard-ports and --port-base exclude each other")
    layout = layout_from(args)
    if args.detach:
        return run_detached(lambda tell, ready: _serve(args, layout, tell, lambda _: ready(), None))
    report = LiveReport(sys.stdout)
    return _serve(args, layout, report.tell, lambda _: None, report)


def _serve(
    args: argparse.Namespace,
    layout: Layout,
    tell: Callable[[str], None],
    on_ready: Callable[[Platform], None],
    report: LiveReport | None,
) -> int:
    lock = Lock(layout)
    try:
        addresses = _addresses(args)
        make_folders(layout)
        lock.take()
        _log_to_file(layout)
        plan = _prepare(args, layout, addresses, tell)
        platform = Platform(plan, tell)

        def ready() -> None:
            tell(format_welcome(layout, read_connection(layout), platform.state()))
            on_ready(platform)

        asyncio.run(_run(platform, ready, report.watch if report else _ignore))
    except (StartError, SettingsError) as error:
        return fail("up", error)
    except OSError as error:
        return fail("up", f"{error.filename or layout.root}: {error.strerror or error}")
    tell("Postbus is down.")
    return 0


def _log_to_file(layout: Layout) -> None:
    """The supervisor's own events."""
    handler = logging.FileHandler(layout.logs / "supervisor.log", delay=True)
    handler.setFormatter(JsonFormatter())
    logging.getLogger().addHandler(handler)
    logging.getLogger("postbus").setLevel(logging.INFO)


def _ignore(_: State) -> None:
    return None


async def _run(platform: Platform, on_ready: Callable[[], None], on_watch: Callable[[State], None]) -> None:
    stop = asyncio.Event()

    def on_signal() -> None:
        if stop.is_set():
            platform.kill()
        stop.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        loop.add_signal_handler(number, on_signal)
    await platform.run(stop, on_ready, on_watch)


def _addresses(args: argparse.Namespace) -> Addresses:
    base = args.port_base if args.port_base is not None else DEFAULT_PORT_BASE
    return allot_addresses(args.host, None if args.standard_ports else base, plain_imap=args.plain_imap)


def _prepare(args: argparse.Namespace, layout: Layout, addresses: Addresses, tell: Callable[[str], None]) -> Plan:
    """Everything that a start needs, in the data folder. Raises StartError, SettingsError, OSError."""
    started = time.monotonic()
    is_first = not layout.settings_file.exists()
    _check_disk(layout, FIRST_START_OCTETS if is_first else LATER_START_OCTETS)
    check_free(addresses)
    layout.connection_file.unlink(missing_ok=True)
    make_secrets(layout.secrets)
    make_demo_mailboxes(layout)
    if is_first:
        tell(f"First start: making a database, keys and settings in {layout.root}")
        make_settings_file(layout)
    postgres, nats = prepare_postgres(layout), prepare_nats(layout)
    if settle_restore(layout, postgres, args.restored):
        tell("After a restore: folders skip the UIDs of the lost time; outgoing mail is held (postbus queue list)")
    groups = tuple((service,) for group in GROUPS for service in group) if args.workers == "separate" else GROUPS
    given = {**read_env_file(layout.settings_file), **process_environment()}
    resolver = {"POSTBUS_RUNTIME_RESOLVER": args.resolver} if args.resolver else {}
    return Plan(
        layout=layout,
        addresses=addresses,
        groups=groups,
        observe_ports=tuple(allot_loopback_ports(len(groups))),
        environment={
            **given,
            **resolver,
            **_certificate_names(given, args.host),
            **_restore_id(given, layout),
            **addresses.settings(),
            "POSTBUS_RUNTIME_DATA_DIR": str(layout.root),
            "POSTBUS_RUNTIME_RUN_DIR": str(layout.run),
            "POSTBUS_RUNTIME_SECRETS_DIR": str(layout.secrets),
            "POSTBUS_RUNTIME_POSTGRES_DSN": postgres.dsn,
            "POSTBUS_RUNTIME_NATS_URL": nats.url,
        },
        postgres=postgres,
        nats=nats,
        is_first=not (layout.secrets / DONE_FILE).exists(),
        started=started,
    )


def _restore_id(given: dict[str, str], layout: Layout) -> dict[str, str]:
    """What was set and what the last restore made: a change of either is a new id."""
    return {RESTORE_ID: " ".join(filter(None, (given.get(RESTORE_ID, ""), read_restore_id(layout))))}


def _certificate_names(given: dict[str, str], host: str) -> dict[str, str]:
    """The listeners' own address belongs into the certificate."""
    if host in {"127.0.0.1", "::1", "localhost", "0.0.0.0", "::"}:  # noqa: S104 (compared, not bound)
        return {}
    return {EXTRA_NAMES: ",".join(filter(None, (given.get(EXTRA_NAMES, ""), host)))}


def _check_disk(layout: Layout, needed: int) -> None:
    free = shutil.disk_usage(layout.root).free
    if free < needed:
        raise StartError(f"the disk of {layout.root} is full: {free >> 20} MB free, {needed >> 20} MB needed to start")
