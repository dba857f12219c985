"""One trial's compose project: a copy of the files in a folder of its own, ports that are free, a name of its own."""

import json
import os
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from engine import Engine
from shell import TrialError, attempt, run, say

IMAGE = "postbus:compose-test"
MAIL_HOST = "mail.compose.example"
ADDRESS = "127.0.0.1"
WAIT_SECONDS = 240
SERVICES = (
    *("directory", "dns-provisioner", "filter", "delivery", "indexer", "smtp-edge", "imap-gateway", "admin-api"),
    *("postgres", "nats"),
)
PORTS = {
    "PUBLISH_SMTP": 2,
    "PUBLISH_SUBMISSION": 2,
    "PUBLISH_SUBMISSIONS": 2,
    "PUBLISH_IMAPS": 1,
    "PUBLISH_POP3S": 1,
    "PUBLISH_API": 1,
}
"""How many ports each gets: smtp-edge is scaled to 2."""
TARGETS = {"smtp": 2025, "submission": 2587, "submissions": 2465}


class Stack:
    """`docker compose` of this trial, and the command line as administrators call it from outside."""

    def __init__(self, engine: Engine, root: Path) -> None:
        self.engine = engine
        self.checkout = root
        self.folder = Path(tempfile.mkdtemp(prefix="postbus-compose-"))
        for name in ("compose.yaml", ".env"):
            shutil.copy(root / name, self.folder / name)
        if (root / "deploy/observability").is_dir():
            shutil.copytree(root / "deploy/observability", self.folder / "deploy/observability")
        self.environment = {
            **{name: value for name, value in engine.environment.items() if not name.startswith("POSTBUS_")},
            **_free_ports(),
            "COMPOSE_PROJECT_NAME": f"postbus-trial-{os.getpid()}",
            "COMPOSE_PROFILES": "small",
            "IMAGE_POSTBUS": IMAGE,
            "PUBLISH_ADDRESS": ADDRESS,
            "PUBLISH_API_ADDRESS": ADDRESS,
        }

    def compose(self, *words: str, seconds: float = 300.0) -> str:
        """The output of a docker compose command. Raises TrialError."""
        return run(("docker", "compose", *words), self.environment, folder=self.folder, seconds=seconds)

    def up(self, *words: str) -> float:
        """Starts what is not running and waits until all is healthy; the seconds it took. Raises TrialError."""
        started = time.monotonic()
        wait = ("--detach", "--wait", "--wait-timeout", str(WAIT_SECONDS))
        command = ("docker", "compose", "up", *wait, "--no-build", *words)
        code, output, errors = attempt(command, self.environment, folder=self.folder, seconds=WAIT_SECONDS + 60)
        if code:
            raise TrialError(f"docker compose up {' '.join(words)} ended with {code}:\n{(output + errors)[-1500:]}")
        return time.monotonic() - started

    def command(self, *words: str) -> str:
        """The command line on this machine, by POSTBUS_API_URL and with the CA's certificate. Raises TrialError."""
        own = {
            "POSTBUS_API_URL": f"https://{ADDRESS}:{self.environment['PUBLISH_API']}",
            "POSTBUS_API_TOKEN_FILE": str(self.folder / "secrets/admin-token"),
            "POSTBUS_API_CA_FILE": str(self.folder / "ca.pem"),
        }
        return run(postbus(self.checkout, *words), {**self.environment, **own, **python_path(self.checkout)})

    def containers(self, services: Iterable[str] = ()) -> dict[str, dict[str, Any]]:
        """`docker inspect` of the running containers by name, of all services or those named."""
        ids = self.compose("ps", "--quiet", *services).split()
        found = json.loads(self.engine.docker("inspect", *ids)) if ids else []
        return {each["Name"].lstrip("/"): each for each in found}

    def port(self, listener: str, index: int = 1) -> int:
        """Where the listener of one smtp-edge is published."""
        told = self.compose("port", "--index", str(index), "smtp-edge", str(TARGETS[listener]))
        return int(told.strip().rpartition(":")[2])

    @property
    def imaps(self) -> int:
        """Where imap-gateway is published."""
        return int(self.environment["PUBLISH_IMAPS"])

    def explain(self) -> None:
        """After a failure: what runs, and the last lines of all logs."""
        for words in (("ps", "--all"), ("logs", "--no-color", "--tail", "25")):
            _, output, errors = attempt(
                ("docker", "compose", *words), self.environment, folder=self.folder, seconds=60.0
            )
            print(output or errors, flush=True)

    def close(self) -> None:
        """Takes everything down: containers, volumes, networks, the folder."""
        say("taking everything down")
        down = ("docker", "compose", "down", "--volumes", "--remove-orphans", "--timeout", "10")
        profiles = {**self.environment, "COMPOSE_PROFILES": "small,opensearch,observability"}
        code, _, errors = attempt(down, profiles, folder=self.folder, seconds=180.0)
        if code:
            print(errors, flush=True)
        shutil.rmtree(self.folder, ignore_errors=True)


def postbus(root: Path, *words: str) -> tuple[str, ...]:
    """Our command line, in the checkout's Python."""
    return (sys.executable, "-P", "-m", "postbusd.cli.main", *words)


def python_path(root: Path) -> dict[str, str]:
    """Where it finds the checkout."""
    return {"PYTHONPATH": os.pathsep.join((str(root / "libs"), str(root / "services")))}


def _free_ports() -> dict[str, str]:
    """Ports below the system's own range that nobody listens on now, ranges where several are needed."""
    found: dict[str, str] = {}
    port = 21_000 + os.getpid() % 5000
    for name, count in PORTS.items():
        while not all(_is_free(port + each) for each in range(count)):
            port += 1
        found[name] = str(port) if count == 1 else f"{port}-{port + count - 1}"
        port += count
    return found


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind((ADDRESS, port))
        except OSError:
            return False
        return True
