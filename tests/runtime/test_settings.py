"""Settings from variables, files and postbus.env; what people read about them."""

from pathlib import Path
from typing import Annotated, Literal

import msgspec
import pytest

from postbus.runtime.settings import (
    RuntimeSettings,
    SettingsError,
    field_doc,
    load_settings,
    parse_env_file,
    read_env_file,
)
from postbus.runtime.settings_docs import format_configuration, format_env_template


class Demo(msgspec.Struct, frozen=True, kw_only=True):
    """A service for these tests."""

    listen: Annotated[str, field_doc("Listener; empty: off.")] = "127.0.0.1:25"
    limit_octets: Annotated[int, msgspec.Meta(ge=1, description="Limit | octets.")] = 10
    wait_seconds: float = 1.5
    strict: bool = False
    networks: tuple[str, ...] = ()
    quota: int | None = 5
    mode: Literal["a", "b"] = "a"
    password: str = ""


def load(**variables: str) -> Demo:
    return load_settings(Demo, "smtp-edge", {f"POSTBUS_SMTP_EDGE_{name}": text for name, text in variables.items()})


def test_without_variables_all_is_default() -> None:
    assert load_settings(Demo, "smtp-edge", {"POSTBUS_FILTER_X": "1", "HOME": "/"}) == Demo()


def test_every_type_is_read() -> None:
    found = load(
        LISTEN="", LIMIT_OCTETS="7", WAIT_SECONDS="2", STRICT="Yes", NETWORKS=" 10.0.0.0/8, ::1 ,", QUOTA="", MODE="b"
    )
    expected = Demo(
        listen="",
        limit_octets=7,
        wait_seconds=2.0,
        strict=True,
        networks=("10.0.0.0/8", "::1"),
        quota=None,
        mode="b",
    )
    assert found == expected


def test_all_problems_are_told_at_once_without_values() -> None:
    with pytest.raises(SettingsError) as raised:
        load(
            LIMIT_OCTETS="s3cret", WAIT_SECONDS="s3cret", STRICT="s3cret", MODE="s3cret", LISTN="s3cret", QUOTA="s3cret"
        )
    names = [problem.name.removeprefix("POSTBUS_SMTP_EDGE_") for problem in raised.value.problems]
    assert names == ["LIMIT_OCTETS", "WAIT_SECONDS", "STRICT", "QUOTA", "MODE", "LISTN"]
    assert "s3cret" not in str(raised.value)
    assert "POSTBUS_SMTP_EDGE_LIMIT_OCTETS: must be: whole number" in str(raised.value)
    assert "POSTBUS_SMTP_EDGE_LISTN: no such setting" in str(raised.value)
    assert "POSTBUS_SMTP_EDGE_MODE: must be: a or b" in str(raised.value)


def test_bounds_of_a_field_hold() -> None:
    with pytest.raises(SettingsError, match="LIMIT_OCTETS: must be `int` >= 1"):
        load(LIMIT_OCTETS="0")


def test_a_file_gives_the_value(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("with space \n")
    assert load(PASSWORD_FILE=str(tmp_path / "secret")).password == "with space "
    with pytest.raises(SettingsError, match=r"can't read .*nowhere"):
        load(PASSWORD_FILE=str(tmp_path / "nowhere"))
    with pytest.raises(SettingsError, match="set twice"):
        load(PASSWORD_FILE=str(tmp_path / "secret"), PASSWORD="x")


def test_runtime_settings_check_the_log_level_and_expand_templates() -> None:
    with pytest.raises(SettingsError, match="POSTBUS_RUNTIME_LOG_LEVEL: must be debug"):
        load_settings(RuntimeSettings, "runtime", {"POSTBUS_RUNTIME_LOG_LEVEL": "loud"})
    settings = RuntimeSettings(data_dir="/d")
    assert settings.expand(settings.rpc_listen, "smtp-edge") == "unix:/d/run/smtp-edge.sock"
    assert RuntimeSettings(run_dir="/r").expand("{run_dir}/x") == "/r/x"


def test_env_files_have_comments_and_quotes(tmp_path: Path) -> None:
    text = "# a comment\n\nA=1\nexport B='two words'\nC=\"x=y\" \nD=\n"
    (tmp_path / "postbus.env").write_text(text)
    assert read_env_file(tmp_path / "postbus.env") == {"A": "1", "B": "two words", "C": "x=y", "D": ""}


def test_env_file_problems_name_their_lines(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as raised:
        parse_env_file("A=1\nnonsense\nA=2\n2x=3\n")
    assert [str(problem) for problem in raised.value.problems] == [
        "postbus.env line 2: must be NAME=VALUE",
        "postbus.env line 3: A is set twice",
        "postbus.env line 4: must be NAME=VALUE",
    ]
    with pytest.raises(SettingsError, match="No such file"):
        read_env_file(tmp_path / "nowhere")


def test_the_template_is_a_valid_file_that_changes_nothing() -> None:
    template = format_env_template([("runtime", RuntimeSettings), ("smtp-edge", Demo)])
    assert parse_env_file(template) == {}
    uncommented = "\n".join(line[1:] for line in template.splitlines() if line.startswith("#POSTBUS_"))
    variables = parse_env_file(uncommented)
    assert load_settings(Demo, "smtp-edge", variables) == Demo()
    assert load_settings(RuntimeSettings, "runtime", variables) == RuntimeSettings()


def test_configuration_lists_every_setting() -> None:
    text = format_configuration([("smtp-edge", Demo)])
    assert "## smtp-edge\n\nA service for these tests.\n" in text
    assert "| `POSTBUS_SMTP_EDGE_LIMIT_OCTETS` | whole number | `10` | Limit \\| octets. |" in text
    assert "| `POSTBUS_SMTP_EDGE_NETWORKS` | list | empty |  |" in text
    assert "| `POSTBUS_SMTP_EDGE_QUOTA` | whole number, or empty | `5` |" in text
    assert "| `POSTBUS_SMTP_EDGE_MODE` | a or b | `a` |" in text
