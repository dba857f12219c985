"""`postbus init`: prepares a folder with compose.yaml for `docker compose up`: secrets, nats.conf, postbus.env.

It can be repeated, and is to be after every upgrade: what is there stays, only nats.conf follows the version's
permissions. Nothing is started and nothing is sent anywhere.
"""

import argparse
import re
from collections.abc import Sequence
from pathlib import Path

from postbus.runtime import compose
from postbus.runtime.layout import StartError
from postbus.runtime.settings import SettingsError, read_env_file
from postbusd.cli.common import fail, format_facts

HOST_NAME = re.compile(r"(?=.{1,253}\Z)([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z][a-z0-9-]*[a-z0-9]\Z")


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Registers the command."""
    parser = subparsers.add_parser("init", help="prepare a folder for docker compose", description=__doc__)
    parser.add_argument("--dir", type=Path, default=Path(), metavar="DIR", help="the folder with compose.yaml")
    parser.add_argument(
        "--mail-host",
        metavar="NAME",
        help="this installation's host name, for a new postbus.env (default: the machine's full name)",
    )
    parser.add_argument("--dry-run", action="store_true", help="only tell what would be made")
    parser.set_defaults(handler=run_init)


def run_init(args: argparse.Namespace) -> int:
    """Makes what is missing and says what comes next."""
    try:
        folder = compose.find_folder(args.dir)
        is_new = not folder.settings.exists()
        mail_host = _choose_mail_host(folder, args.mail_host)
        steps = compose.prepare(folder, _settings(mail_host), dry_run=args.dry_run)
    except (StartError, SettingsError, OSError) as error:
        reason = f"{error.filename}: {error.strerror}" if isinstance(error, OSError) and error.filename else error
        return fail("init", reason)
    print(format_steps(steps, args.dry_run))
    print(
        format_facts([("mail host", mail_host), ("secrets", str(folder.secrets)), ("settings", str(folder.settings))])
    )
    if args.dry_run:
        return 0
    if is_new and not args.mail_host:
        print(f"If that is not the host's name in the DNS: {compose.MAIL_HOST} in {folder.settings.name}.")
    print("\n".join(format_next(folder, args.dir, [step.file.name for step in steps if step.what == "changed"])))
    return 0


def format_steps(steps: Sequence[compose.Step], dry_run: bool) -> str:
    """One line about each kind of step."""
    if not steps:
        return "All is there already: nothing changed."
    told = []
    for what in ("made", "changed"):
        names = [step.file.name for step in steps if step.what == what]
        if names:
            told.append(f"{'would be ' if dry_run else ''}{what}: {', '.join(names)}")
    return "\n".join(told)


def format_next(folder: compose.ComposeFolder, given: Path, changed: Sequence[str]) -> list[str]:
    """The commands that follow."""
    command = "docker compose" if given == Path() else f"docker compose --project-directory {folder.root}"
    restart = [f"  {command} restart nats                  # reads {', '.join(changed)} again"] if changed else []
    return [
        "",
        "Next:",
        f"  {command} build                         # or name an image in .env",
        f"  {command} up --detach --wait",
        *restart,
        f"  {command} exec admin-api postbus domain add example.org",
        f"  {command} exec admin-api postbus mailbox add ann@example.org --generate",
        "docs/deploy.md tells the rest: ports, DNS, command line from outside, back-ups, upgrades.",
    ]


def _choose_mail_host(folder: compose.ComposeFolder, given: str | None) -> str:
    """The name of now, or of a new postbus.env. Raises StartError, SettingsError."""
    if folder.settings.exists():
        found = read_env_file(folder.settings).get(compose.MAIL_HOST, "")
        if given and given.lower() != found:
            raise StartError(f"{folder.settings} is there already: change {compose.MAIL_HOST} in it")
        return found or _default_mail_host()
    if given and not HOST_NAME.match(given.lower()):
        raise StartError(f"--mail-host: {given} is no full host name, as mail.example.org")
    return (given or compose.guess_mail_host() or _default_mail_host()).lower()


def _default_mail_host() -> str:
    from postbus.runtime.settings import RuntimeSettings

    return RuntimeSettings().mail_host


def _settings(mail_host: str) -> bytes:
    from postbus.runtime.settings_docs import format_env_template
    from postbusd.cli.up_settings import settings_kinds

    head = "# What compose.yaml decides by itself (folders, addresses, Postgres, NATS) is not taken from here.\n"
    template = head + format_env_template(settings_kinds())
    return compose.set_mail_host(template, mail_host).encode("utf-8")
