"""`postbus import`, `export` and `apply` against the real API over fakes."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from litestar import Litestar
from litestar.testing import TestClient

from postbus.runtime.layout import StartError
from postbus.runtime.supervisor_connection import Admin, Connection, Tls
from postbus.testing.admin_rest import TOKEN, FakeInstallation, RestClient
from postbusd.cli import objects
from postbusd.cli.api import ApiClient
from postbusd.cli.main import main
from postbusd.cli.objects import Session
from postbusd.cli.site_document import MAX_OCTETS, Site, compare, read_document

CONNECTION = Connection(
    host="127.0.0.1",
    ports={},
    metrics={},
    tls=Tls(ca_file="ca.pem"),
    admin=Admin(url="https://127.0.0.1:2080", token=TOKEN),
    mailboxes=(),
)
DOCUMENT = """\
policy: {required_score: 6.5}
aliases:
  Info@demo.example: {mailbox: kim@demo.example}
lists:
  team@demo.example: {members: [lee@demo.example, kim@demo.example, friend@example.org]}
mailboxes:
  kim@demo.example: {password: a long pass phrase, send_as: [team@demo.example], quota_octets: 1000}
  lee@demo.example: {owner: {kind: group, name: staff}, quota_octets: 1000}
groups:
  staff: {members: [lee], address: staff@demo.example}
users:
  lee: {display_name: Lee, password: another pass phrase, admin_of: [demo.example]}
apps:
  shop: {domain: demo.example}
domains:
  demo.example:
    incoming: true
    catch_all: [lee@demo.example, kim@demo.example]
    quota_octets: 5000
    default_quota_octets: 500
    relay: {host: smtp.example.net, port: 587, security: starttls, username: me, password: a relay secret}
  alias.example: {alias_of: demo.example}
"""
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def installation() -> FakeInstallation:
    return FakeInstallation()


@pytest.fixture
def run(
    installation: FakeInstallation,
    http: TestClient[Litestar],
    monkeypatch: pytest.MonkeyPatch,
    capsysbinary: pytest.CaptureFixture[bytes],
) -> Run:
    """Exit code, output, error."""
    session = Session(api=ApiClient(RestClient(installation, http), TOKEN), connection=CONNECTION)
    monkeypatch.setattr(objects, "open_session", lambda args, seconds: session)

    def run(*words: object) -> tuple[int, str, str]:
        code = main([str(word) for word in words])
        out, err = capsysbinary.readouterr()
        return code, out.decode(), err.decode()

    return run


@pytest.fixture
def document(tmp_path: Path) -> Path:
    file = tmp_path / "site.yaml"
    file.write_text(DOCUMENT)
    return file


def test_a_document_becomes_a_site_and_applying_it_again_changes_nothing(
    run: Run, installation: FakeInstallation, document: Path
) -> None:
    code, out, err = run("apply", document, "--plan")
    assert (code, err) == (0, "")
    assert out.splitlines()[-1] == "9 to create, 3 to change, 0 to delete, 0 unchanged"
    assert "pass phrase" not in out
    assert 'secret"' not in out
    assert installation.directory.domains == {}
    code, out, err = run("apply", document)
    assert (code, err) == (0, ""), out
    assert out.splitlines()[-1] == "9 created, 3 changed, 0 deleted, 0 unchanged"
    assert installation.directory.domains["demo.example"].catch_all == ("kim@demo.example", "lee@demo.example")
    assert installation.directory.relay_passwords["demo.example"] == "a relay secret"
    assert installation.directory.passwords["kim@demo.example"] == "a long pass phrase"
    assert installation.directory.mailboxes["kim@demo.example"].send_as == ("team@demo.example",)
    before = installation.directory.rows.number
    code, out, _ = run("apply", document)
    assert (code, out) == (0, "0 created, 0 changed, 0 deleted, 10 unchanged\n")
    assert installation.directory.rows.number == before


def test_an_exported_site_is_there_already_and_makes_an_equal_one(
    run: Run, installation: FakeInstallation, document: Path, tmp_path: Path
) -> None:
    assert run("apply", document)[0] == 0
    file = tmp_path / "export.yaml"
    assert run("export", file, "--all") == (0, "", "")
    site = yaml.safe_load(file.read_text())
    assert "password" not in file.read_text()
    code, out, _ = run("apply", file, "--prune")
    assert (code, out) == (0, "0 created, 0 changed, 0 deleted, 12 unchanged\n"), site
    rows = installation.directory.rows
    kept = {name: dict(getattr(rows, name)) for name in ("domains", "users", "groups", "lists", "aliases", "apps")}
    mailboxes = set(rows.mailboxes)
    for section in ("aliases", "lists", "mailboxes", "apps", "groups", "users", "domains"):
        site[section] = {}
    empty = tmp_path / "empty.yaml"
    empty.write_text(yaml.safe_dump(site))
    code, out, _ = run("apply", empty, "--prune")
    assert (code, out.splitlines()[-1]) == (0, "0 created, 0 changed, 10 deleted, 1 unchanged"), out
    assert not any(getattr(rows, name) for name in kept)
    file.write_text(file.read_text().replace("username: me", "username: me\n      password: x"))
    code, out, _ = run("apply", file)
    assert code == 0, out
    assert {name: getattr(rows, name) for name in kept} == kept
    assert set(rows.mailboxes) == mailboxes


def test_differences_are_told_field_by_field_and_pruning_deletes_the_rest(run: Run, document: Path) -> None:
    assert run("apply", document)[0] == 0
    document.write_text("mailboxes: {KIM@demo.example: {quota_octets: 2000, active: true}}\naliases:\nlists: {}\n")
    code, out, _ = run("apply", document, "--plan", "--prune")
    assert code == 0
    assert out.splitlines() == [
        "~ mailboxes kim@demo.example",
        "    quota_octets: 1000 → 2000",
        "- lists team@demo.example",
        "- aliases info@demo.example",
        "- mailboxes lee@demo.example",
        "0 to create, 1 to change, 3 to delete, 0 unchanged",
    ]
    code, out, _ = run("apply", document, "--prune", "--json")
    report: Any = json.loads(out)
    assert (code, len(report["steps"]), report["refused"]) == (0, 4, [])
    code, out, _ = run("apply", document)
    assert (code, out) == (0, "0 created, 0 changed, 0 deleted, 1 unchanged\n")


def test_what_is_refused_keeps_no_other_out(run: Run, document: Path) -> None:
    document.write_text(
        "domains: {a.example: {}, 'b b': {}}\nmailboxes: {kim@a.example: {}}\nusers: {lee: {password: a long one}}\n"
    )
    code, out, _ = run("apply", document)
    assert code == 1
    assert out.splitlines()[-1] == "4 created, 0 changed, 0 deleted, 0 unchanged, 2 of them refused"
    refused = [line for line in out.splitlines() if "REFUSED" in line]
    assert [line.partition("  REFUSED: ")[0] for line in refused] == ["+ domains b b", "+ mailboxes kim@a.example"]
    assert "password: a new mailbox needs one" in refused[1]


TAKES = {section: frozenset({"active", "alias_of"}) for section in ("domains", "users", "policy")}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a: [", "line 1: "),
        ("[]", "the document is a mapping of sections"),
        ("", "the document is a mapping of sections"),
        ("domain: {}", "domain: there is no such section; there are domains, users"),
        ("domains: []", "domains: a mapping of names to fields"),
        ("domains: {1: {}}", "domains: a mapping of names to fields"),
        ("domains: {a: 1}", "domains.a: a mapping of fields to values"),
        ("domains: {a: {b: 1}}", "domains.a.b: there is no such field; there are active, alias_of"),
        ("policy: {b: 1}", "policy.b: there is no such field"),
        ("domains: {a: {active: true, active: false}}", "line 1: active is there twice"),
        ("domains: {a: &x {active: true}, b: *x}", "line 1: references (*name) are not taken"),
        ("domains: !!python/object:os.system {}", "line 1: could not determine a constructor"),
        ("\x00", "the document is not well-formed YAML or JSON"),
        ("[" * 100_000, "the document is not well-formed YAML or JSON"),
        ("a" * (MAX_OCTETS + 1), "the document has more than"),
    ],
)
def test_a_document_is_read_strictly(text: str, reason: str) -> None:
    with pytest.raises(StartError) as refused:
        read_document(text.encode(), TAKES)
    assert str(refused.value).startswith(reason)


def test_a_document_may_be_json_and_dates_stay_text() -> None:
    assert read_document(b'\xef\xbb\xbf{"domains": {"A.example": {"active": true}}}', TAKES) == {
        "domains": {"a.example": {"active": True}}
    }
    assert read_document(b"domains: {a: {active: 2026-03-01}}", TAKES) == {"domains": {"a": {"active": "2026-03-01"}}}
    with pytest.raises(StartError, match="not UTF-8"):
        read_document(b"\xff", TAKES)


def test_alias_domains_come_after_what_they_are_aliases_of_and_go_before() -> None:
    site: Site = {"domains": {"a": {"alias_of": "z"}, "z": {}}}
    assert [step.name for step in compare(site, {"domains": {}}, prune=True)] == ["z", "a"]
    assert [step.name for step in compare({"domains": {}}, site, prune=True)] == ["a", "z"]


def test_tables_go_in_and_out(run: Run, tmp_path: Path) -> None:
    for words in (("domain", "add", "a.example"), ("user", "add", "kim", "--display-name", "Kim")):
        run(*words)
    file = tmp_path / "in.csv"
    file.write_text("kim,a.example,kim,user\nlee,a.example,nobody,user\n")
    code, out, _ = run("import", file, "--plan")
    assert (code, out.splitlines()[-1]) == (
        1,
        "Nothing was written. It would be: 1 created, 0 changed, 0 unchanged, 1 refused",
    )
    code, out, _ = run("import", file, "--atomic")
    assert (code, out.splitlines()[-1]) == (1, "Nothing was written: 1 created, 0 changed, 0 unchanged, 1 refused")
    code, out, _ = run("import", file)
    assert code == 1
    assert out.splitlines() == [
        "ROW  ADDRESS        REFUSED",
        "2    lee@a.example  owner: there is no user nobody here",
        "1 created, 0 changed, 0 unchanged, 1 refused",
    ]
    code, out, _ = run("export")
    assert (code, out) == (0, "name,domain,owner,owner type,aliases,active\r\nkim,a.example,kim,user,,true\r\n")
    exported = tmp_path / "out.json"
    assert run("export", exported, "--domain", "a.example") == (0, "", "")
    assert [each["name"] for each in json.loads(exported.read_text())] == ["kim"]
    code, out, _ = run("import", exported, "--json")
    assert (code, json.loads(out)["unchanged"]) == (0, 1)
    code, _, err = run("import", tmp_path / "absent.csv")
    assert (code, err.count("\n")) == (1, 1)
    code, _, err = run("export", tmp_path / "absent" / "x.csv")
    assert (code, err.count("\n")) == (1, 1)
    assert run("export", "--all", "--format", "json")[0] == 2
