"""compose.yaml, .env and the code agree: services, secrets, settings, defaults, which compose itself can't see."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from postbus.runtime.compose import NATS_CONFIGURATION, compose_secrets
from postbus.runtime.roster import SERVICES
from postbus.runtime.settings import RuntimeSettings, load_settings, parse_env_file
from postbusd.cli.remote import NAMES as COMMAND_LINE_NAMES
from postbusd.cli.run import load_specs

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "compose.yaml").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load(TEXT)
ENV = parse_env_file((ROOT / ".env").read_text(), ".env")
NAME = re.compile(r"\$\{([A-Z0-9_]+)")
DEFAULT = re.compile(r"\$\{([A-Z0-9_]+):?-([^}]*)\}")
HAS_WRITABLE_ROOT = {"opensearch"}


def settings_of(name: str) -> dict[str, str]:
    return {key: DEFAULT.sub(r"\2", value) for key, value in COMPOSE["services"][name]["environment"].items()}


def test_every_service_runs_alone() -> None:
    commands = {name: service.get("command") for name, service in COMPOSE["services"].items()}
    assert [name for name in SERVICES if commands[name] != ["run", name]] == []


@pytest.mark.parametrize("name", SERVICES)
def test_settings_are_known_and_fit(name: str) -> None:
    environ = settings_of(name)
    runtime = load_settings(RuntimeSettings, "runtime", environ)
    load_settings(load_specs([name])[0].settings, name, environ)
    prefixes = ("POSTBUS_RUNTIME_", f"POSTBUS_{name.upper().replace('-', '_')}_")
    assert [key for key in environ if not key.startswith(prefixes) and key not in COMMAND_LINE_NAMES] == []
    grace = COMPOSE["services"][name]["stop_grace_period"]
    assert int(grace.removesuffix("s")) > runtime.drain_seconds + 10


def test_every_secret_is_made_by_init_and_given_to_somebody() -> None:
    made = {*compose_secrets(), NATS_CONFIGURATION}
    declared = {name: secret["file"] for name, secret in COMPOSE["secrets"].items()}
    assert set(declared) <= made
    assert [name for name, file in declared.items() if file != f"secrets/{name}"] == []
    given = {
        secret if isinstance(secret, str) else secret["source"]
        for service in COMPOSE["services"].values()
        for secret in service.get("secrets", ())
    }
    assert given == set(declared)


def test_containers_are_hardened() -> None:
    for name, service in COMPOSE["services"].items():
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service.get("read_only", False) is (name not in HAS_WRITABLE_ROOT), name
        assert "privileged" not in service, name
        own_image = service["image"].startswith("${IMAGE_POSTBUS")
        assert own_image != ("user" in service), f"{name}: the user is the Dockerfile's or stands here"
        assert own_image or not str(service["user"]).startswith(("0", "root")), name
    assert COMPOSE["networks"]["inside"] == {"internal": True}


def test_defaults_are_those_of_the_env_file() -> None:
    assert set(ENV) == {*NAME.findall(TEXT), "COMPOSE_PROFILES"}
    assert [(name, default) for name, default in DEFAULT.findall(TEXT) if ENV[name] != default] == []
    assert ENV["COMPOSE_PROFILES"] == "small"


def test_every_profile_is_explained() -> None:
    profiles = {profile for service in COMPOSE["services"].values() for profile in service.get("profiles", ())}
    assert profiles == {"opensearch", "observability"}
    assert [profile for profile in profiles if profile not in (ROOT / ".env").read_text()] == []


def test_mounted_files_exist() -> None:
    mounts = [mount for service in COMPOSE["services"].values() for mount in service.get("volumes", ())]
    files = [ROOT / mount.partition(":")[0] for mount in mounts if mount.startswith("./")]
    assert len(files) == 4
    assert [file for file in files if not file.exists()] == []


def test_nothing_of_this_installation_is_committed() -> None:
    ignored = (ROOT / ".gitignore").read_text().splitlines()
    assert {"/secrets/", "/postbus.env"} <= set(ignored)
    assert (ROOT / ".dockerignore").read_text().splitlines()[1] == "*"
