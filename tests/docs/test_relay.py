"""docs/relay.md has the presets of the code."""

from pathlib import Path

from postbus.smtp.relay_presets import RELAY_PRESETS

PAGE = Path(__file__).parents[2] / "docs" / "relay.md"


def test_every_preset_stands_in_the_page() -> None:
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in PAGE.read_text().splitlines()
        if line.startswith("| `")
    ]
    told = {row[0].strip("`"): (row[1], int(row[2]), row[4].partition("include:")[2]) for row in rows}
    assert told == {each.name: (each.host, each.port, each.spf) for each in RELAY_PRESETS}
