"""A container engine: the one that runs, or one that the scripts beside the project start; and the images it needs.

The scripts (POSTBUS_SHARED/engine) make stand-ins for public images where no registry can be reached: for tests only.
"""

import os
import sys
from pathlib import Path

from shell import attempt, run, say

PULL_SECONDS = 300.0
SCRIPT_SECONDS = 900.0
ENGINE_ROOT = "/var/tmp/engine"
"""Where the scripts keep the engine that they start."""
PYTHONS = ("3.13", "3.12", "3.11")
STAND_INS = {"postgres:18-bookworm": ("postgres18",), "nats:2.15-alpine": ("nats",)}
"""Image → what base-images.sh calls it."""


class NoEngineError(Exception):
    """There is no container engine and none can be started: why."""


class Engine:
    """The environment in which `docker` and `docker compose` work."""

    def __init__(self, environment: dict[str, str], scripts: Path, *, is_ours: bool) -> None:
        self.environment = environment
        self._scripts = scripts
        self._is_ours = is_ours
        """Whether this run started it, and so stops it."""

    def docker(self, *words: str, seconds: float = 120.0) -> str:
        """The output of a docker command. Raises TrialError."""
        return run(("docker", *words), self.environment, seconds=seconds)

    def has_image(self, image: str) -> bool:
        """Whether the image is here."""
        return attempt(("docker", "image", "inspect", image), self.environment)[0] == 0

    def get_image(self, image: str) -> bool:
        """Whether the image is here or a registry gives it."""
        if self.has_image(image):
            return True
        return attempt(("docker", "pull", "--quiet", image), self.environment, seconds=PULL_SECONDS)[0] == 0

    def need_images(self, images: tuple[str, ...], python: str) -> list[str]:
        """Gets images, or makes stand-ins; those that could not be had. `python` is a stand-in's version."""
        missing = [image for image in images if not self.get_image(image)]
        wanted = [part for image in missing for part in self._stand_in(image)]
        is_known = (Path(self.environment["ENGINE_ROOT"]) / "env").is_file()
        if wanted and is_known and (self._scripts / "base-images.sh").is_file():
            first = () if self.has_image("debian:bookworm-slim") else ("debian",)
            say(f"no registry gives {', '.join(missing)}: making stand-ins")
            environment = {**self.environment, "WHAT": " ".join((*first, *wanted)), "PYTHONS": python}
            run(("bash", str(self._scripts / "base-images.sh")), environment, seconds=SCRIPT_SECONDS)
        return [image for image in missing if not self.has_image(image)]

    def choose_python(self) -> str:
        """The version of Python whose base image can be had: PYTHON_VERSION, one that is here, the newest."""
        asked = self.environment.get("PYTHON_VERSION", "")
        if asked:
            return asked
        for version in PYTHONS:
            if self.has_image(base_image(version)):
                return version
        if self.get_image(base_image(PYTHONS[0])):
            return PYTHONS[0]
        return f"{sys.version_info[0]}.{sys.version_info[1]}"

    def close(self) -> None:
        """Stops the engine if this run started it; its images stay on the disk."""
        if self._is_ours:
            say("stopping the engine")
            attempt(("bash", str(self._scripts / "engine-down.sh")), self.environment)

    def _stand_in(self, image: str) -> tuple[str, ...]:
        return ("python",) if image.startswith("python:") else STAND_INS.get(image, ())


def base_image(python: str) -> str:
    """What deploy/Dockerfile builds on."""
    return f"python:{python}-slim-bookworm"


def find_engine(root: Path) -> Engine:
    """The engine that runs, else one started by the scripts. Raises NoEngineError, TrialError."""
    shared = Path(os.environ.get("POSTBUS_SHARED") or root.parent / "shared")
    scripts = Path(os.environ.get("ENGINE") or shared / "engine")
    engine_root = os.environ.get("ENGINE_ROOT") or ENGINE_ROOT
    environment = {**os.environ, "DOCKER_BUILDKIT": "1", "ENGINE_ROOT": engine_root}
    if _works(environment):
        return Engine(environment, scripts, is_ours=False)
    if not (scripts / "engine-up.sh").is_file():
        raise NoEngineError(
            f"docker compose does not work here, and there is no {scripts}/engine-up.sh (ENGINE=FOLDER)"
        )
    if os.geteuid() != 0:
        raise NoEngineError("docker compose does not work here, and only root can start an engine")
    sourced = _source(Path(engine_root) / "env", environment)
    if sourced and _works(sourced):
        return Engine(sourced, scripts, is_ours=False)
    say(f"starting an engine in {engine_root}")
    run(("bash", str(scripts / "engine-up.sh")), environment, seconds=SCRIPT_SECONDS)
    return Engine(_source(Path(engine_root) / "env", environment), scripts, is_ours=True)


def _works(environment: dict[str, str]) -> bool:
    return all(
        attempt(("docker", *words), environment, seconds=60.0)[0] == 0
        for words in (("version",), ("compose", "version"))
    )


def _source(file: Path, environment: dict[str, str]) -> dict[str, str]:
    if not file.is_file():
        return {}
    output = run(("bash", "-c", '. "$1" && env -0', "bash", str(file)), environment)
    return dict(line.split("=", 1) for line in output.split("\0") if "=" in line)
