"""What is wrong is told in one clear line, with an exit code, and nothing is damaged (or left running)."""

import os
import shutil
from pathlib import Path

import pytest

from postbus.testing.installation import free_port_base, postbus, short_folder, start_platform


def _refusal(data_dir: Path, *options: str, environment: dict[str, str] | None = None) -> str:
    done = postbus(
        *("up", "--detach", "--data-dir", str(data_dir), "--port-base", str(free_port_base()), *options),
        check=False,
        environment=environment,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    assert "Traceback" not in done.stderr
    _assert_nothing_runs(data_dir)
    return done.stderr


def _assert_nothing_runs(data_dir: Path) -> None:
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and entry.name != str(os.getpid()):
            try:
                command = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            assert os.fsencode(data_dir) + b"/" not in command, command


def test_a_file_in_the_place_of_the_folder() -> None:
    with short_folder() as folder:
        folder.write_text("")
        assert "not a folder" in _refusal(folder)


def test_a_setting_that_does_not_exist() -> None:
    with short_folder() as folder:
        environment = {"POSTBUS_FILTER_NO_SUCH_THING": "1"}
        assert "POSTBUS_FILTER_NO_SUCH_THING" in _refusal(folder, environment=environment)


def test_a_settings_file_with_a_broken_line() -> None:
    with short_folder() as folder:
        folder.mkdir(mode=0o700)
        (folder / "postbus.env").write_text("this is no setting\n")
        assert "line 1" in _refusal(folder)


def test_an_address_of_another_machine() -> None:
    with short_folder() as folder:
        assert "no such address" in _refusal(folder, "--host", "192.0.2.1")


@pytest.fixture(scope="module")
def stopped_installation(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder that was up once; copies of it are damaged."""
    with short_folder() as folder:
        start_platform(folder)
        postbus("down", "--data-dir", str(folder))
        kept = tmp_path_factory.mktemp("kept") / "d"
        shutil.copytree(folder, kept, symlinks=True)
        _copy_owners(folder, kept)
    return kept


def _copy_owners(source: Path, target: Path) -> None:
    for place, folders, files in os.walk(source):
        for name in ("", *folders, *files):
            path = Path(place) / name
            found = path.lstat()
            os.chown(target / path.relative_to(source), found.st_uid, found.st_gid, follow_symlinks=False)


@pytest.mark.parametrize(
    ("damaged", "telling"),
    [
        ("postgres/data/global/pg_control", "pg_control"),
        ("postgres/data/PG_VERSION", "not empty"),
        ("secrets/demo-mailboxes.json", "damaged"),
    ],
)
def test_a_damaged_folder(stopped_installation: Path, damaged: str, telling: str) -> None:
    with short_folder() as folder:
        shutil.copytree(stopped_installation, folder, symlinks=True)
        _copy_owners(stopped_installation, folder)
        if damaged.endswith(".json"):
            (folder / damaged).write_text("{")
        else:
            (folder / damaged).unlink()
        assert telling in _refusal(folder)
