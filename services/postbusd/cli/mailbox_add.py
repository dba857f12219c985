"""`postbus mailbox add`: one or many mailboxes in one call, a few requests side by side."""

import argparse
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Any

import msgspec

from postbus.runtime.layout import StartError
from postbusd.cli.api import ApiClient, ApiError, path_of
from postbusd.cli.braces import expand_all
from postbusd.cli.common import DEFAULT_LIMIT, fail, format_amount, format_table
from postbusd.cli.objects import Session, find, print_json
from postbusd.cli.secrets_options import ask_password, given_password, make_password

PARALLEL_REQUESTS = 4
"""More than hash passwords at the same time only wait in the server."""
MAX_COMPLAINTS = 10
KINDS = ("user", "group", "app")
_COMMAND = "mailbox add"


class Made(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one address."""

    mailbox: Any
    """The API's mailbox."""
    created: bool
    password: str
    """Made up for it; empty: given."""


def parse_owner(text: str) -> dict[str, str]:
    """`group:sales` as the API takes it. For argparse."""
    kind, _, name = text.partition(":")
    if kind not in KINDS or not name:
        raise argparse.ArgumentTypeError("an owner is user:NAME, group:NAME or app:NAME")
    return {"kind": kind, "name": name}


def run_add(session: Session, args: argparse.Namespace) -> int:
    """Makes or changes mailboxes; asks for the password unless told where it comes from."""
    addresses = expand_all(args.addresses)
    password = given_password(args)
    if password is None and not args.generate and args.owner is None:
        password = ask_password(addresses[0] if len(addresses) == 1 else f"all {len(addresses)} mailboxes")
    made: dict[str, Made] = {}
    failed: dict[str, StartError] = {}

    def make(address: str) -> Made:
        generated = make_password() if args.generate else ""
        return _make(session.api, address, _changes(args, generated or password), generated)

    for address, result in _side_by_side(make, addresses):
        if isinstance(result, Made):
            made[address] = result
        else:
            failed[address] = result
    _show([made[address] for address in addresses if address in made], args, single=len(addresses) == 1)
    _complain([(address, failed[address]) for address in addresses if address in failed])
    return 1 if failed else 0


def _changes(args: argparse.Namespace, password: str | None) -> dict[str, object]:
    changes: dict[str, object] = {} if password is None else {"password": password}
    if args.quota is not None:
        changes["quota_octets"] = None if args.quota == DEFAULT_LIMIT else args.quota
    if args.owner is not None:
        changes["owner"] = args.owner
    return changes


def _make(api: ApiClient, address: str, changes: dict[str, object], generated: str) -> Made:
    """Makes one mailbox, or changes of the one that is there what is named."""
    path = path_of("mailboxes", address)
    created = find(api, path) is None
    mailbox = api.put(path, changes) if created else api.patch(path, changes)
    return Made(mailbox=mailbox, created=created, password=generated)


def _side_by_side(make: Callable[[str], Made], addresses: list[str]) -> Iterator[tuple[str, Made | StartError]]:
    """Results as they come. The first answer is awaited alone: an API that can't be reached is told once."""
    progress = Progress(len(addresses))
    first = _try(make, addresses[0])
    progress.step()
    yield addresses[0], first
    if isinstance(first, StartError) and not isinstance(first, ApiError):
        raise first
    with ThreadPoolExecutor(PARALLEL_REQUESTS) as pool:
        running = {pool.submit(_try, make, address): address for address in addresses[1:]}
        try:
            for done in as_completed(running):
                progress.step()
                yield running[done], done.result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)  # Ctrl-C: what is under way ends, the rest is not begun
    progress.clear()


def _try(make: Callable[[str], Made], address: str) -> Made | StartError:
    try:
        return make(address)
    except StartError as error:
        return error


class Progress:
    """A line on a terminal that counts; silent elsewhere."""

    def __init__(self, total: int, what: str = "mailboxes") -> None:
        self._total = total
        self._what = what
        self._done = 0
        self._shown = total > 1 and sys.stderr.isatty()

    def step(self) -> None:
        """One more is done."""
        self._done += 1
        if self._shown:
            print(f"\r{self._done} of {self._total} {self._what}", end="", file=sys.stderr, flush=True)

    def clear(self) -> None:
        """Takes the line away."""
        if self._shown:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def _show(made: list[Made], args: argparse.Namespace, *, single: bool) -> None:
    """A table, or JSON: an object for one address, else a list."""
    if args.json:
        shown = [{**each.mailbox, **({"password": each.password} if each.password else {})} for each in made]
        if shown or not single:
            print_json(shown[0] if single else shown)
    elif made:
        head, rows = ["MAILBOX", "QUOTA", "RESULT"], [_row(each) for each in made]
        print(format_table([*head, "PASSWORD"] if args.generate else head, rows))


def _row(made: Made) -> list[str]:
    result = "made" if made.created else "changed"
    row = [made.mailbox["address"], format_amount(made.mailbox["effective_quota_octets"]), result]
    return [*row, made.password] if made.password else row


def _complain(failed: list[tuple[str, StartError]]) -> None:
    """One line a reason: fifty mailboxes of a domain that is not there have one."""
    reasons: dict[str, list[str]] = {}
    for address, error in failed:
        reasons.setdefault(str(error), []).append(address)
    for reason, addresses in list(reasons.items())[:MAX_COMPLAINTS]:
        more = f" and {len(addresses) - 1} more" if len(addresses) > 1 else ""
        fail(_COMMAND, f"{addresses[0]}{more}: {reason}")
    if len(reasons) > MAX_COMPLAINTS:
        left = sum(len(addresses) for addresses in list(reasons.values())[MAX_COMPLAINTS:])
        fail(_COMMAND, f"and {left} more failed")
