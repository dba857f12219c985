"""Which start follows a restore: by what we are told, and by marks in both folders."""

import shutil
from pathlib import Path

import pytest

from postbus.runtime import supervisor_restore
from postbus.runtime.embedded import EmbeddedPostgres
from postbus.runtime.layout import Layout, write_private
from postbus.runtime.supervisor_restore import read_restore_id, settle_restore


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(root=tmp_path, run=tmp_path / "run")


@pytest.fixture
def postgres(tmp_path: Path) -> EmbeddedPostgres:
    (tmp_path / "pg" / "data").mkdir(parents=True)
    return EmbeddedPostgres(home=tmp_path / "pg", socket_dir=tmp_path, programs=tmp_path)


def start(layout: Layout, postgres: EmbeddedPostgres, told: bool = False) -> str:
    """A start; the new restore id, empty when it follows none."""
    before = read_restore_id(layout)
    restored = settle_restore(layout, postgres, told)
    after = read_restore_id(layout)
    assert restored is (before != after)
    return after if restored else ""


def test_starts_one_after_the_other_follow_no_restore(layout: Layout, postgres: EmbeddedPostgres) -> None:
    assert [start(layout, postgres) for _ in range(3)] == [""] * 3


def test_a_folder_of_an_older_version_follows_none(layout: Layout, postgres: EmbeddedPostgres) -> None:
    """It bears no marks at all."""
    (postgres.data / "PG_VERSION").write_text("18")
    assert start(layout, postgres) == ""


def test_who_says_so_gets_a_new_id_each_time(layout: Layout, postgres: EmbeddedPostgres) -> None:
    start(layout, postgres)
    ids = {start(layout, postgres, told=True) for _ in range(2)}
    assert len(ids) == 2
    assert "" not in ids
    assert start(layout, postgres) == ""


def test_files_of_postgres_that_were_put_back_are_known(
    layout: Layout, postgres: EmbeddedPostgres, tmp_path: Path
) -> None:
    """Once for each time that they are put back; files from elsewhere too."""
    start(layout, postgres)
    shutil.copytree(postgres.data, tmp_path / "copy")
    start(layout, postgres)
    for _ in range(2):
        shutil.rmtree(postgres.data)
        shutil.copytree(tmp_path / "copy", postgres.data)
        assert start(layout, postgres)
        assert start(layout, postgres) == ""
    (postgres.data / supervisor_restore.MARK_FILE).unlink()
    assert start(layout, postgres)


def test_a_start_that_is_killed_in_the_middle_is_no_restore(
    layout: Layout, postgres: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever of its writes was the last."""
    start(layout, postgres)
    for number in range(3):
        left = number

        def killed(path: Path, content: bytes) -> None:
            nonlocal left
            if not left:
                raise KeyboardInterrupt
            left -= 1
            write_private(path, content)

        monkeypatch.setattr(supervisor_restore, "write_private", killed)
        with pytest.raises(KeyboardInterrupt):
            settle_restore(layout, postgres, False)
        monkeypatch.setattr(supervisor_restore, "write_private", write_private)
        assert start(layout, postgres) == ""
