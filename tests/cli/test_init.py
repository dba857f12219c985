"""`postbus init`: one command prepares a folder, a second one changes nothing."""

from pathlib import Path

import pytest

from postbus.runtime.settings import read_env_file
from postbusd.cli.main import main


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "compose.yaml").write_text("services: {}\n")
    return tmp_path


def test_the_settings_name_the_mail_host_and_are_in_order(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init", "--dir", str(folder), "--mail-host", "Mail.Example.org"]) == 0
    told = capsys.readouterr().out
    assert "made: " in told
    assert "up --detach --wait" in told
    assert read_env_file(folder / "postbus.env") == {"POSTBUS_RUNTIME_MAIL_HOST": "mail.example.org"}
    assert main(["check-config", "--env-file", str(folder / "postbus.env")]) == 0


def test_no_secret_is_printed(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init", "--dir", str(folder)]) == 0
    told = capsys.readouterr().out
    values = [path.read_text().strip() for path in (folder / "secrets").iterdir()]
    assert len(values) > 20
    assert not [value for value in values if value in told]


def test_a_second_run_says_that_nothing_changed(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init", "--dir", str(folder), "--mail-host", "mail.example.org"]) == 0
    capsys.readouterr()
    assert main(["init", "--dir", str(folder)]) == 0
    told = capsys.readouterr().out
    assert "nothing changed" in told
    assert "mail.example.org" in told


def test_a_changed_nats_configuration_asks_for_a_restart(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init", "--dir", str(folder)]) == 0
    (folder / "secrets/nats.conf").chmod(0o600)
    (folder / "secrets/nats.conf").write_text("{}")
    capsys.readouterr()
    assert main(["init", "--dir", str(folder)]) == 0
    assert "restart nats" in capsys.readouterr().out


def test_a_dry_run_makes_nothing(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init", "--dir", str(folder), "--dry-run"]) == 0
    assert "would be made: " in capsys.readouterr().out
    assert [path.name for path in folder.iterdir()] == ["compose.yaml"]


@pytest.mark.parametrize("name", ["mail", "mail_1.example.org", "192.0.2.1", "-mail.example.org", "mail.example.org\n"])
def test_a_name_that_is_no_host_is_refused(name: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init", "--dir", str(folder), f"--mail-host={name}"]) == 1
    assert "no full host name" in capsys.readouterr().err
    assert [path.name for path in folder.iterdir()] == ["compose.yaml"]


def test_another_mail_host_is_not_taken_silently(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init", "--dir", str(folder), "--mail-host", "mail.example.org"]) == 0
    assert main(["init", "--dir", str(folder), "--mail-host", "mx.example.org"]) == 1
    assert "POSTBUS_RUNTIME_MAIL_HOST" in capsys.readouterr().err


def test_a_folder_without_compose_file_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init", "--dir", str(tmp_path)]) == 1
    assert "--dir" in capsys.readouterr().err
