"""The data folder's names, and the run folder that keeps socket paths short."""

import os
from pathlib import Path

import pytest

from postbus.runtime.layout import (
    LONGEST_SOCKET_NAME,
    MAX_SOCKET_PATH_OCTETS,
    StartError,
    layout_of,
    make_folders,
    make_private,
    write_private,
)


def test_run_folder_lies_inside_a_short_data_folder() -> None:
    assert layout_of(Path("/srv/postbus"), {}).run == Path("/srv/postbus/run")


@pytest.mark.parametrize("length", [60, 70, 80, 200, 250])
def test_socket_paths_are_short_whatever_the_data_folder_is(length: int) -> None:
    layout = layout_of(Path("/srv/" + "x" * length), {})
    assert len(os.fsencode(layout.run / LONGEST_SOCKET_NAME)) < MAX_SOCKET_PATH_OCTETS


def test_long_data_folders_use_the_runtime_folder_of_the_session(tmp_path: Path) -> None:
    session = tmp_path / "s"
    session.mkdir()
    layout = layout_of(Path("/srv/" + "x" * 200), {"XDG_RUNTIME_DIR": str(session)})
    assert layout.run.parent in {session, Path("/tmp")}


def test_different_data_folders_have_different_run_folders() -> None:
    assert layout_of(Path("/srv/" + "x" * 200), {}).run != layout_of(Path("/srv/" + "y" * 200), {}).run


def test_a_symlink_and_its_target_are_one_installation(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    assert layout_of(tmp_path / "link", {}) == layout_of(tmp_path / "real", {})


def test_folders_are_private(tmp_path: Path) -> None:
    layout = layout_of(tmp_path / "d", {})
    make_folders(layout)
    assert {folder.stat().st_mode & 0o777 for folder in (layout.root, layout.secrets, layout.blobs, layout.run)} == {
        0o700
    }
    make_folders(layout)


def test_a_file_in_the_way_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "d").write_text("")
    with pytest.raises(StartError, match="not a folder"):
        make_private(tmp_path / "d")


def test_a_folder_below_a_file_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StartError, match="can't make"):
        make_folders(layout_of(tmp_path / "file" / "d", {}))


def test_write_private_replaces_and_leaves_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    write_private(path, b"one")
    write_private(path, b"two")
    assert path.read_bytes() == b"two"
    assert path.stat().st_mode & 0o777 == 0o600
    assert [found.name for found in tmp_path.iterdir()] == ["secret"]
