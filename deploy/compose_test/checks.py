"""What must be true of every running container: no root, no capabilities, nothing to write to, only its own secrets."""

import json
import time
from pathlib import Path
from typing import Any

from engine import Engine
from shell import TrialError, attempt, say
from stack import SERVICES, Stack

INSIDE_ONLY = ("indexer", "postgres", "nats")
OWN_KEYS = {
    "directory": {"master.key"},
    "dns-provisioner": {"master.key"},
    "admin-api": {"admin-token", "master.key"},
    "postgres": {"postgres-superuser"},
    "nats": {"nats.conf"},
}
"""Secrets besides postgres-<service> and nats-<service>."""


def check_hardening(stack: Stack) -> None:
    """All containers. Raises TrialError with everything that is wrong."""
    problems: list[str] = []
    found = stack.containers()
    services = {each["Config"]["Labels"]["com.docker.compose.service"] for each in found.values()}
    problems += [f"{name} does not run" for name in SERVICES if name not in services]
    for name, inspected in found.items():
        problems += [f"{name}: {problem}" for problem in _problems(stack.engine, inspected)]
    if problems:
        raise TrialError("\n".join(problems))


def _problems(engine: Engine, inspected: dict[str, Any]) -> list[str]:
    service = inspected["Config"]["Labels"]["com.docker.compose.service"]
    problems = []
    status = _process_status(engine, inspected["Id"])
    if "0" in status.get("Uid", "0").split() or "0" in status.get("Gid", "0").split():
        problems.append(f"runs as uid {status.get('Uid')}, gid {status.get('Gid')}")
    capabilities = {field: status.get(field, "1") for field in ("CapPrm", "CapEff", "CapInh", "CapBnd", "CapAmb")}
    problems += [f"{field} is {value}" for field, value in capabilities.items() if int(value, 16)]
    if status.get("NoNewPrivs") != "1":
        problems.append("new privileges are possible")
    if not inspected["HostConfig"]["ReadonlyRootfs"] or inspected["HostConfig"]["Privileged"]:
        problems.append("its root is not read-only")
    code = attempt(("docker", "exec", inspected["Id"], "sh", "-c", "echo >/probe"), engine.environment)[0]
    if code == 0:
        problems.append("a file could be made in /")
    if not inspected["HostConfig"]["Memory"] or not inspected["HostConfig"]["PidsLimit"]:
        problems.append("memory or processes have no limit")
    if inspected["State"].get("Health", {}).get("Status") != "healthy":
        problems.append("is not healthy")
    return [*problems, *_network_problems(service, inspected), *_secret_problems(service, inspected)]


def _process_status(engine: Engine, container: str) -> dict[str, str]:
    text = engine.docker("exec", container, "cat", "/proc/1/status")
    return {line.partition(":")[0]: line.partition(":")[2].strip() for line in text.splitlines()}


def _network_problems(service: str, inspected: dict[str, Any]) -> list[str]:
    problems = []
    networks = {name.rpartition("_")[2] for name in inspected["NetworkSettings"]["Networks"]}
    if "inside" not in networks or (service in INSIDE_ONLY and "outside" in networks):
        problems.append(f"is in the networks {sorted(networks)}")
    published = [key for key, value in inspected["NetworkSettings"]["Ports"].items() if value]
    if published and service not in ("smtp-edge", "imap-gateway", "admin-api"):
        problems.append(f"publishes {published}")
    return problems


def _secret_problems(service: str, inspected: dict[str, Any]) -> list[str]:
    has = {
        mount["Destination"].rpartition("/")[2]
        for mount in inspected["Mounts"]
        if mount["Destination"].startswith("/run/secrets/")
    }
    own = OWN_KEYS.get(service, set())
    wanted = own if service in ("postgres", "nats") else {f"postgres-{service}", f"nats-{service}", *own}
    problems = [] if has == wanted else [f"has the secrets {sorted(has)} instead of {sorted(wanted)}"]
    values = [line for line in inspected["Config"]["Env"] if "PASSWORD=" in line or "TOKEN=" in line]
    return [*problems, *(f"{line.partition('=')[0]} is in the environment" for line in values)]


def check_inside(stack: Stack) -> None:
    """Who is in the network `inside` only does not get out of it, those in both do. Raises TrialError."""
    project = stack.environment["COMPOSE_PROJECT_NAME"]
    gateway = next(iter(stack.containers(("imap-gateway",)).values()))
    address = gateway["NetworkSettings"]["Networks"][f"{project}_outside"]["IPAddress"]
    script = f"import socket; socket.create_connection(({address!r}, 2993), 3.0).close()"
    for service, may in (("admin-api", True), ("directory", True), ("indexer", False)):
        command = ("docker", "compose", "exec", "-T", service, "python", "-c", script)
        code, _, errors = attempt(command, stack.environment, folder=stack.folder, seconds=60.0)
        if (code == 0) is not may:
            raise TrialError(f"{service} {'does not get' if may else 'gets'} out of the network `inside`: {errors}")


def check_profiles(stack: Stack) -> None:
    """Profiles whose images can be had are started, the others only read by compose. Raises TrialError."""
    compose = ("docker", "compose")
    small = set(stack.compose("config", "--images").split())
    for profile in ("opensearch", "observability"):
        environment = {**stack.environment, "COMPOSE_PROFILES": f"small,{profile}"}
        code, output, errors = attempt(
            (*compose, "config", "--format", "json"), environment, folder=stack.folder, seconds=60.0
        )
        if code:
            raise TrialError(f"profile {profile}: {errors}")
        services = {
            name: each for name, each in json.loads(output)["services"].items() if profile in each.get("profiles", ())
        }
        _check_files(profile, services)
        if not services:
            raise TrialError(f"there is no profile {profile}")
        images = {each["image"] for each in services.values()} - small
        absent = sorted(image for image in images if not stack.engine.get_image(image))
        for image in absent:
            say(f"profile {profile}: its configuration is in order; skipped: image {image} can't be had here")
        if not absent:
            say(f"profile {profile}: starting {', '.join(services)}")
            up = (*compose, "up", "--detach", "--wait", "--wait-timeout", "240", "--no-build", *services)
            code, _, errors = attempt(up, environment, folder=stack.folder, seconds=300.0)
            if code:
                raise TrialError(f"profile {profile}: {errors[-2000:]}")


def _check_files(profile: str, services: dict[str, Any]) -> None:
    for name, service in services.items():
        for mount in service.get("volumes", ()):
            if mount["type"] == "bind" and not Path(mount["source"]).exists():
                raise TrialError(f"profile {profile}: {name} wants {mount['source']}, which is not there")


def tell_memory(stack: Stack) -> None:
    """Prints what the containers take."""
    time.sleep(5.0)
    ids = stack.compose("ps", "--quiet").split()
    rows = stack.engine.docker("stats", "--no-stream", "--format", "{{.Name}} {{.MemUsage}}", *ids).splitlines()
    project = stack.environment["COMPOSE_PROJECT_NAME"]
    told = [(line.split()[0].removeprefix(f"{project}-"), line.split()[1]) for line in sorted(rows)]
    total = sum(_mebibytes(amount) for _, amount in told)
    say(f"memory: {', '.join(f'{name} {amount}' for name, amount in told)}; in all {total:.0f} MiB")


def _mebibytes(amount: str) -> float:
    for unit, factor in (("GiB", 1024.0), ("MiB", 1.0), ("KiB", 1 / 1024)):
        if amount.endswith(unit):
            return float(amount.removesuffix(unit)) * factor
    return 0.0
