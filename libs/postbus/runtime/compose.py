"""What `docker compose` needs beside compose.yaml: secrets as files, nats-server's configuration, settings.

Invariant: a secret that is there is never changed. Only nats.conf, which follows from them, is written again when it
differs. The folder of the secrets is closed (700), and only that keeps other users of the machine out: the files
themselves are readable by everybody (444), because the engine mounts each of them alone, with the owner that it has
here, into containers whose users are others (and with rootless engines or user namespaces are not known here at all).
"""

import os
import socket
import stat
from pathlib import Path

import msgspec

from postbus.runtime.embedded.nats import format_configuration
from postbus.runtime.embedded.secrets import make_secret, missing_secrets, secret_names
from postbus.runtime.layout import StartError, make_private, write_private

COMPOSE_FILE = "compose.yaml"
SECRETS = "secrets"
NATS_CONFIGURATION = "nats.conf"
SETTINGS = "postbus.env"
GRAFANA_ADMIN = "grafana-admin"
SECRET_MODE = 0o444
NATS_PORT = 4222
NATS_STORE = "/var/lib/postbus/nats"
NATS_MONITOR = "127.0.0.1:8222"
"""For its health check; nobody outside the container reaches it."""
MAIL_HOST = "POSTBUS_RUNTIME_MAIL_HOST"


class ComposeFolder(msgspec.Struct, frozen=True, kw_only=True):
    """A folder with compose.yaml."""

    root: Path

    @property
    def secrets(self) -> Path:
        """The secrets, one file each."""
        return self.root / SECRETS

    @property
    def settings(self) -> Path:
        """Settings of the services, as `postbus up` has them in its data folder."""
        return self.root / SETTINGS


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """Something that was done, or would be."""

    file: Path
    what: str


def compose_secrets() -> tuple[str, ...]:
    """The names of all secrets that are made up."""
    return (*secret_names(), GRAFANA_ADMIN)


def find_folder(root: Path) -> ComposeFolder:
    """The folder, which must hold compose.yaml. Raises StartError."""
    root = Path(os.path.realpath(root))
    if not (root / COMPOSE_FILE).is_file():
        raise StartError(f"there is no {COMPOSE_FILE} in {root}: name its folder with --dir")
    return ComposeFolder(root=root)


def prepare(folder: ComposeFolder, settings: bytes, *, dry_run: bool = False) -> list[Step]:
    """Makes what is missing; the steps, none when all was there. `settings` is what a new postbus.env holds.

    With `dry_run` nothing is touched. Raises StartError, OSError.
    """
    steps = [*_secrets(folder, dry_run), *_nats(folder, dry_run)]
    if not folder.settings.exists():
        steps.append(Step(file=folder.settings, what="made"))
        if not dry_run:
            write_private(folder.settings, settings, 0o644)
            folder.settings.chmod(0o644)
    return steps


def _secrets(folder: ComposeFolder, dry_run: bool) -> list[Step]:
    steps = []
    place = folder.secrets
    if not dry_run:
        make_private(place)
        place.chmod(0o700)
    for name in missing_secrets(place, compose_secrets()):
        steps.append(Step(file=place / name, what="made"))
        if not dry_run:
            make_secret(place, name)
    for name in compose_secrets():
        if not dry_run and stat.S_IMODE((place / name).stat().st_mode) != SECRET_MODE:
            (place / name).chmod(SECRET_MODE)
    return steps


def _nats(folder: ComposeFolder, dry_run: bool) -> list[Step]:
    path = folder.secrets / NATS_CONFIGURATION
    if dry_run and missing_secrets(folder.secrets, secret_names()):
        return [Step(file=path, what="made")]
    wanted = format_configuration(folder.secrets, "0.0.0.0", NATS_PORT, NATS_STORE, NATS_MONITOR)  # noqa: S104
    existed = path.exists()
    if existed and path.read_bytes() == wanted:
        return []
    if not dry_run:
        write_private(path, wanted, SECRET_MODE)
        path.chmod(SECRET_MODE)
    return [Step(file=path, what="changed" if existed else "made")]


def guess_mail_host() -> str | None:
    """The machine's full name, where it has one that others can know."""
    name = socket.getfqdn().lower().rstrip(".")
    labels = name.split(".")
    is_real = len(labels) > 1 and not labels[-1].isdecimal() and labels[-1] not in ("localdomain", "local", "arpa")
    return name if is_real and name.isascii() and ":" not in name else None


def set_mail_host(template: str, mail_host: str) -> str:
    """The settings with the mail host's line set."""
    lines = [f"{MAIL_HOST}={mail_host}" if line.startswith(f"#{MAIL_HOST}=") else line for line in template.split("\n")]
    return "\n".join(lines)
