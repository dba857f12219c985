"""Secrets: made once, private, never changed."""

from pathlib import Path

from postbus.runtime.embedded.secrets import make_secrets, read_secret, secret_names
from postbus.runtime.roster import SERVICES


def test_every_service_has_its_own_passwords(tmp_path: Path) -> None:
    assert len(set(SERVICES)) == 8
    make_secrets(tmp_path / "secrets")
    found = {name: read_secret(tmp_path / "secrets", name) for name in secret_names()}
    assert {f"postgres-{name}" for name in SERVICES} | {f"nats-{name}" for name in SERVICES} <= set(found)
    assert len(set(found.values())) == len(found)


def test_secrets_are_readable_by_their_owner_only(tmp_path: Path) -> None:
    make_secrets(tmp_path / "secrets")
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "secrets").iterdir()} == {0o600}


def test_a_second_start_changes_nothing_and_fills_gaps(tmp_path: Path) -> None:
    folder = tmp_path / "secrets"
    make_secrets(folder)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    (folder / "nats-filter").write_bytes(b"")
    make_secrets(folder)
    after = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert after.pop("nats-filter") != b""
    before.pop("nats-filter")
    assert after == before
