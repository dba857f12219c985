"""state.json tells the truth also while the disk takes no new file."""

from pathlib import Path

from postbus.runtime.layout import layout_of
from postbus.runtime.supervisor_state import State, read_state, write_state


def _state(*, ready: bool, data_dir: str) -> State:
    return State(pid=1, started_ms=2, data_dir=data_dir, host="127.0.0.1", ready=ready)


def test_the_state_is_replaced_also_when_no_new_file_can_be_made(tmp_path: Path) -> None:
    layout = layout_of(tmp_path, {})
    layout.state_file.parent.mkdir(parents=True, exist_ok=True)
    first, second = _state(ready=True, data_dir="a much longer folder"), _state(ready=False, data_dir="short")
    write_state(layout, first)
    assert read_state(layout) == first
    layout.state_file.with_suffix(".new").mkdir()  # as good as a full disk: it can't be written
    write_state(layout, second)
    assert read_state(layout) == second


def test_without_any_place_for_it_nothing_is_raised(tmp_path: Path) -> None:
    layout = layout_of(tmp_path / "nowhere", {})
    write_state(layout, _state(ready=True, data_dir=""))
    assert read_state(layout) is None
