"""docs/rfc.md and the code agree: every cited RFC is listed, and what is claimed as done is cited."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ROW = re.compile(r"^\| (\d+) \| ([^|]+) \| (yes|partial|planned) \|", re.MULTILINE)
CITATION = re.compile(r"\bRFCs? (\d{3,5})")
SOURCES = ("libs/**/*.py", "libs/**/*.sql", "services/**/*.py", "services/**/*.sql")


def listed() -> dict[int, str]:
    rows = ROW.findall((ROOT / "docs/rfc.md").read_text())
    assert len({number for number, _, _ in rows}) == len(rows)
    return {int(number): status for number, _, status in rows}


def cited() -> set[int]:
    text = "\n".join(path.read_text() for pattern in SOURCES for path in ROOT.glob(pattern))
    return {int(number) for number in CITATION.findall(text)}


def test_every_cited_rfc_is_listed() -> None:
    assert cited() - set(listed()) == set()


def test_every_yes_is_cited() -> None:
    claimed = {number for number, status in listed().items() if status == "yes"}
    assert claimed - cited() == set()
