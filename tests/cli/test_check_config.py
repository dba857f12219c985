"""`postbus check-config` tells every problem; `postbus run` knows the services by name."""

import argparse
from pathlib import Path

import msgspec
import pytest

from postbusd.cli import check_config
from postbusd.cli.check_config import check_command, find_problems
from postbusd.cli.run import load_specs


class Demo(msgspec.Struct, frozen=True, kw_only=True):
    """Settings."""

    limit: int = 1


def test_problems_of_services_and_names_of_nobody_are_told() -> None:
    environ = {
        "POSTBUS_FILTER_LIMIT": "x",
        "POSTBUS_FILTR_LIMIT": "1",
        "POSTBUS_SHARED": "/s",
        "POSTBUS_DELIVERY_A": "1",
    }
    assert find_problems([("filter", Demo)], environ) == [
        "POSTBUS_FILTER_LIMIT: must be: whole number",
        "POSTBUS_FILTR_LIMIT: belongs to no service",
    ]


def test_services_are_known_by_name() -> None:
    assert [spec.name for spec in load_specs(["dns-provisioner"])] == ["dns-provisioner"]
    with pytest.raises(ValueError, match="no such service: dns"):
        load_specs(["dns"])
    with pytest.raises(ValueError, match="twice"):
        load_specs(["filter", "filter"])


def test_the_settings_file_is_checked_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(check_config, "setting_kinds", lambda services: [("filter", Demo)])
    file = tmp_path / "postbus.env"
    args = argparse.Namespace(services=[], env_file=file, markdown=False, template=False)
    for text, code, told in (
        ("POSTBUS_FILTER_LIMIT=7\n", 0, ""),
        ("POSTBUS_FILTER_LIMIT=many\n", 78, "POSTBUS_FILTER_LIMIT: must be: whole number\n"),
        ("nonsense\n", 78, f"{file} line 1: must be NAME=VALUE\n"),
    ):
        file.write_text(text)
        assert check_command(args) == code
        assert capsys.readouterr().err == told
