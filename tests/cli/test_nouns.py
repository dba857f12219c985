"""The administrator's nouns against the real API over fakes: what they make, print, refuse and return."""

import argparse
from pathlib import Path

import pytest
from tests.cli.desk import Desk, Say

from postbus.runtime.layout import StartError
from postbusd.admin_api.webhooks.values import Answer
from postbusd.cli import deleting
from postbusd.cli.main import COMMANDS, main

NOUNS = ("domain", "user", "group", "app", "mailbox", "alias", "list", "queue")


@pytest.mark.parametrize("noun", NOUNS)
def test_a_noun_without_a_verb_prints_its_help(noun: str, desk: Desk) -> None:
    assert desk.run(noun) == 2
    assert f"usage: postbus {noun}" in desk.out
    assert "commands:" in desk.out


@pytest.mark.parametrize("noun", NOUNS)
def test_every_verb_explains_itself_and_each_of_its_options(noun: str) -> None:
    parser = argparse.ArgumentParser()
    module = __import__(f"postbusd.cli.{noun}", fromlist=["add_parser"])
    module.add_parser(parser.add_subparsers())
    verbs = _verbs(_verbs(parser)[noun])
    assert len(verbs) >= 4
    for verb in verbs.values():
        assert verb.description
        for action in verb._actions:
            assert action.help, f"{verb.prog} {action.dest}"


def _verbs(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    found = next(each for each in parser._actions if isinstance(each, argparse._SubParsersAction))
    return dict(found.choices)


def test_an_installation_that_is_not_up_is_one_clear_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["domain", "list"], ["events"], ["trace", "0" * 26], ["queue", "retry", "--all"]):
        assert main([*words, "--data-dir", str(tmp_path)]) == 1
        error = capsys.readouterr().err
        assert "Postbus is not up" in error
        assert error.count("\n") == 1


def test_a_user_comes_with_a_password_and_keeps_it(desk: Desk, say: Say) -> None:
    say("correct horse\n")
    desk.ok("user", "add", "kim", "--display-name", "Kim", "--password-stdin")
    assert desk.installation.directory.passwords["kim"] == "correct horse"
    desk.ok("domain", "add", "demo.example")
    desk.ok("user", "set", "kim", "--admin-of", "demo.example", "--recovery-address", "kim@else.example")
    changed = desk.json("user", "set", "kim", "--active", "off")
    assert changed == {
        "username": "kim",
        "display_name": "Kim",
        "active": False,
        "superadmin": False,
        "admin_of": ["demo.example"],
        "recovery_address": "kim@else.example",
    }
    assert "admin of demo.example" in desk.ok("user", "list")
    assert "superadmin" in desk.ok("user", "set", "kim", "--superadmin", "on", "--admin-of", "")
    assert desk.installation.directory.passwords["kim"] == "correct horse"
    generated = desk.ok("user", "set", "kim", "--generate").rpartition("password: ")[2].strip()
    assert desk.installation.directory.passwords["kim"] == generated
    assert "Kim" in desk.ok("user", "list")
    assert "inactive" in desk.ok("user", "show", "kim")
    assert "nobody" in desk.fails("user", "set", "nobody", "--active", "on")
    assert "no password" in desk.fails("user", "add", "robin", "--password-stdin")


def test_members_of_a_group_are_set_added_and_removed(demo: Desk) -> None:
    for name in ("a", "b", "c"):
        demo.ok("user", "add", name)
    demo.ok("group", "add", "sales", "--member", "a", "--member", "b", "--address", "sales@demo.example")
    changed = demo.json("group", "set", "sales", "--add-member", "c", "--add-member", "A", "--remove-member", "B")
    assert changed == {"name": "sales", "members": ["a", "c"], "address": "sales@demo.example"}
    assert demo.json("group", "set", "sales", "--member", "b")["members"] == ["b"]  # type: ignore[index]
    assert "member   b" in demo.ok("group", "show", "sales")
    assert "no" in demo.fails("group", "set", "nothing", "--member", "a")


def test_an_app_tells_its_credential_once_and_how_to_log_in(demo: Desk) -> None:
    text = demo.ok("app", "add", "shop", "--domain", "demo.example")
    credential = text.partition("password")[2].split()[0].strip(":")
    assert demo.installation.directory.is_credential("shop", credential)
    assert text.count(credential) == 1
    for part in ("localhost", "2465 (TLS) or 2587 (STARTTLS)", "shop.app@demo.example"):
        assert part in text
    assert credential not in demo.ok("app", "show", "shop") + demo.ok("app", "list", "--domain", "demo.example")
    assert "app rotate shop" in demo.fails("app", "add", "shop", "--domain", "demo.example")
    assert demo.installation.directory.is_credential("shop", credential)
    rotated = demo.json("app", "rotate", "shop")
    assert demo.installation.directory.is_credential("shop", rotated["credential"])  # type: ignore[index]
    assert rotated["credential"] != credential  # type: ignore[index]
    assert demo.json("app", "set", "shop", "--active", "off")["active"] is False  # type: ignore[index]
    assert demo.run("app", "add", "other") == 2


def test_an_alias_domain_and_the_switches_of_a_mailbox(demo: Desk) -> None:
    assert demo.json("domain", "add", "other.example", "--alias-of", "demo.example")["alias_of"] == "demo.example"  # type: ignore[index]
    assert "as demo.example" in demo.ok("domain", "list")
    demo.ok("mailbox", "add", "lee@demo.example", "--password", "secret", "--quota", "1G")
    changed = demo.json("mailbox", "set", "kim@demo.example", "--pop3", "on", "--send-as", "lee@demo.example")
    assert (changed["pop3"], changed["send_as"]) == (True, ["lee@demo.example"])  # type: ignore[index]
    shown = demo.ok("mailbox", "show", "kim@demo.example")
    for line in ("unlimited (of the domain)", "lee@demo.example"):
        assert line in shown
    assert demo.json("mailbox", "set", "kim@demo.example", "--quota", "unlimited")["quota_octets"] == 0  # type: ignore[index]
    assert demo.json("mailbox", "set", "kim@demo.example", "--quota", "default")["quota_octets"] is None  # type: ignore[index]
    assert demo.json("mailbox", "set", "kim@demo.example", "--send-as", "")["send_as"] == []  # type: ignore[index]


def test_fifty_mailboxes_in_one_call(demo: Desk) -> None:
    made = demo.json("mailbox", "add", "u{1..50}@demo.example", "--password", "secret")
    assert [each["address"] for each in made] == [f"u{number}@demo.example" for number in range(1, 51)]  # type: ignore[attr-defined]
    assert len(demo.installation.directory.mailboxes) == 51
    assert {demo.installation.directory.passwords[f"u{number}@demo.example"] for number in (1, 50)} == {"secret"}
    assert demo.err == ""


def test_what_fails_of_many_mailboxes_is_told_and_the_rest_made(demo: Desk) -> None:
    words = ("mailbox", "add", "{a,b}@demo.example", "x y@demo.example", "c@no.example", "--generate")
    assert demo.run(*words) == 1
    assert [line.split(": ")[1] for line in demo.err.splitlines()] == ["x y@demo.example", "c@no.example"]
    rows = demo.out.splitlines()
    assert rows[0].split() == ["MAILBOX", "QUOTA", "RESULT", "PASSWORD"]
    passwords = {row.split()[0]: row.split()[3] for row in rows[1:]}
    assert passwords.keys() == {"a@demo.example", "b@demo.example"}
    assert len(set(passwords.values())) == 2
    assert all(demo.installation.directory.passwords[name] == password for name, password in passwords.items())


def test_many_failures_are_not_all_told(demo: Desk) -> None:
    assert demo.run("mailbox", "add", "u@no{1..30}.example", "--password", "secret") == 1
    assert demo.err.count("\n") == 11
    assert demo.err.endswith("and 20 more failed\n")


def test_a_missing_domain_is_told_once_with_the_command_that_makes_it(demo: Desk) -> None:
    assert demo.run("mailbox", "add", "u{1..30}@no.example", "--password", "secret") == 1
    (line,) = demo.err.splitlines()
    assert "u1@no.example and 29 more: address: there is no domain no.example here" in line
    assert line.endswith("first: postbus domain add no.example")


def test_what_was_added_with_braces_is_deleted_with_braces(demo: Desk) -> None:
    demo.ok("mailbox", "add", "b{1..3}@demo.example", "--password", "secret")
    assert demo.ok("mailbox", "delete", "b{1..3}@demo.example", "--yes").count("deleted: mailbox") == 3


def test_a_mailbox_that_is_there_keeps_what_is_not_named(demo: Desk) -> None:
    demo.ok("mailbox", "set", "kim@demo.example", "--quota", "1.5G", "--active", "off")
    text = demo.ok("mailbox", "add", "kim@demo.example", "--password", "another")
    assert "changed" in text
    mailbox = demo.json("mailbox", "show", "kim@demo.example")
    assert (mailbox["quota_octets"], mailbox["active"]) == (1_610_612_736, False)  # type: ignore[index]
    assert demo.json("mailbox", "set", "kim@demo.example", "--quota", "unlimited")["quota_octets"] == 0  # type: ignore[index]
    assert "unlimited" in demo.ok("mailbox", "list", "--domain", "demo.example")


def test_a_mailbox_of_a_group_needs_no_password(demo: Desk) -> None:
    demo.ok("group", "add", "sales")
    demo.ok("mailbox", "add", "sales@demo.example", "--owner", "group:sales", "--quota", "500M")
    assert "group:sales" in demo.ok("mailbox", "show", "sales@demo.example")
    assert demo.run("mailbox", "add", "x@demo.example", "--owner", "cat:tom") == 2
    assert demo.run("mailbox", "add", "x@demo.example", "--quota", "lots") == 2
    assert demo.run("mailbox", "add", "x@demo.example", "--generate", "--password", "secret") == 2
    assert "--password-stdin" in demo.fails("mailbox", "add", "x@demo.example")


def test_aliases_and_lists(demo: Desk) -> None:
    demo.ok("alias", "add", "info*@demo.example", "kim@demo.example")
    assert demo.json("alias", "show", "info*@demo.example") == {
        "address": "info*@demo.example",
        "mailbox": "kim@demo.example",
    }
    demo.ok("list", "add", "team@demo.example", "--member", "kim@demo.example", "--member", "x@far.example")
    demo.ok("list", "add", "team@demo.example", "--members-only")
    found = demo.json("list", "set", "team@demo.example", "--active", "off", "--remove-member", "x@far.example")
    expected = {
        "address": "team@demo.example",
        "members": ["kim@demo.example"],
        "active": False,
        "members_only": True,
        "groups": [],
    }
    assert found == expected
    assert demo.json("list", "set", "team@demo.example", "--anybody")["members_only"] is False  # type: ignore[index]
    assert "team@demo.example  inactive  anybody" in demo.ok("list", "list")
    assert "info*@demo.example" in demo.ok("alias", "list", "--domain", "demo.example")
    assert "member" in demo.ok("list", "show", "team@demo.example")


def test_deleting_asks_on_a_terminal_only(demo: Desk, terminal: Say, say: Say) -> None:
    demo.ok("mailbox", "add", "{a,b,c}@demo.example", "--password", "secret")
    demo.ok("alias", "add", "info@demo.example", "a@demo.example")
    dry = demo.ok("mailbox", "delete", "a@demo.example", "--dry-run")
    assert dry == "".join(f"would delete: {each}@demo.example\n" for each in ("mailbox a", "alias info", "user a"))
    terminal("n\n")
    assert demo.run("mailbox", "delete", "a@demo.example") == 1
    assert "alias info@demo.example" in demo.err
    assert "Delete this? [y/N]" in demo.err
    assert "a@demo.example" in demo.installation.directory.mailboxes
    terminal("y\n")
    assert demo.ok("mailbox", "delete", "a@demo.example").startswith("deleted: mailbox a@demo.example\n")
    terminal("")
    demo.ok("mailbox", "delete", "b@demo.example", "--yes")
    say("")
    assert demo.json("mailbox", "delete", "c@demo.example") == {
        "deleted": ["mailbox c@demo.example", "user c@demo.example"],
        "dry_run": False,
    }
    assert list(demo.installation.directory.mailboxes) == ["kim@demo.example"]


def test_of_several_deletions_the_possible_ones_happen(demo: Desk) -> None:
    demo.ok("user", "add", "robin")
    assert demo.run("user", "delete", "kim@demo.example", "nobody", "robin") == 1
    assert [line.split(": ")[1] for line in demo.err.splitlines()] == ["kim@demo.example", "nobody"]
    assert demo.out == "deleted: user robin\n"


def test_an_api_that_goes_away_ends_many_deletions_at_once(demo: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: object, **__: object) -> object:
        raise StartError("can't be reached")

    monkeypatch.setattr(deleting, "_ask_api", away)
    assert "can't be reached" in demo.fails("user", "delete", "a", "b", "c")


def test_every_noun_is_a_command() -> None:
    assert set(NOUNS) | {"events", "trace"} <= set(COMMANDS)


def test_a_webhook_lives(desk: Desk) -> None:
    told = desk.ok("webhook", "add", "one", "--url", "https://hooks.example/in", "--type", "bounced", "--type", "dns")
    assert "whsec_" in told
    assert "there is one already" in desk.fails("webhook", "add", "one", "--url", "https://hooks.example/in")
    assert "bounced dns" in desk.ok("webhook", "list")
    desk.ok("webhook", "set", "one", "--all-types", "--domain", "demo.example", "--active", "off")
    shown = desk.json("webhook", "show", "one")
    assert isinstance(shown, dict)
    assert (shown["types"], shown["domain"], shown["active"]) == ([], "demo.example", False)
    assert shown["url"] == "https://hooks.example/in"
    assert "nothing sent yet" in desk.ok("webhook", "show", "one")
    assert "whsec_" in desk.ok("webhook", "rotate", "one")
    assert "told in" in desk.ok("webhook", "test", "one")
    desk.installation.poster.answers = [Answer(status=500, text="broken")]
    assert desk.run("webhook", "test", "one") == 3
    assert "NOT told" in desk.out
    assert "500 broken" in desk.out
    assert desk.run("webhook", "set", "one", "--type", "dns", "--all-types") == 2
    assert desk.run("webhook", "retry", "one") == 2
    assert desk.ok("webhook", "retry", "one", "--all") == "0 events to be told again\n"
    assert "sequence" in desk.fails("webhook", "discard", "one", "7")
    assert desk.ok("webhook", "deliveries", "one") == "no event is given up\n"
    assert "would delete: webhook one" in desk.ok("webhook", "delete", "one", "--dry-run")
    assert "deleted: webhook one" in desk.ok("webhook", "delete", "one")
    assert "there is no webhook one" in desk.fails("webhook", "show", "one")


def test_the_life_of_a_mailbox(demo: Desk) -> None:
    assert demo.ok("mailbox", "rename", "kim@demo.example", "chief@demo.example", "--keep-alias") == (
        "kim@demo.example is chief@demo.example now; kim@demo.example is an alias of it\n"
    )
    assert demo.ok("mailbox", "usage", "chief@demo.example").splitlines()[-2:] == [
        "together         0               0",
        "quota: unlimited",
    ]
    demo.ok("mailbox", "delete", "chief@demo.example", "--yes")
    assert "chief@demo.example" in demo.ok("mailbox", "archived", "--domain", "demo.example")
    assert demo.ok("mailbox", "restore", "chief@demo.example") == "chief@demo.example is back with 0 of mail\n"
    assert "no archived mailbox" in demo.fails("mailbox", "restore", "chief@demo.example")
    assert "would delete: mailbox" in demo.ok("mailbox", "delete", "chief@demo.example", "--purge", "--dry-run")
    demo.ok("mailbox", "delete", "chief@demo.example", "--yes")
    demo.ok("user", "add", "chief")
    demo.ok("mailbox", "add", "chief@demo.example", "--owner", "user:chief")
    demo.ok("mailbox", "delete", "chief@demo.example", "--yes")
    assert "2 archived mailboxes were chief@demo.example: say which by id" in demo.fails(
        "mailbox", "purge", "chief@demo.example"
    )
    for each in demo.json("mailbox", "archived"):  # type: ignore[attr-defined]
        assert demo.ok("mailbox", "purge", each["mailbox_id"], "--dry-run").startswith("would delete: mail of deleted")
        assert demo.ok("mailbox", "purge", each["mailbox_id"], "--yes").startswith("deleted: mail of deleted mailbox")
    assert "purging now" in demo.ok("mailbox", "archived")
    assert "30 days" in demo.ok("policy", "set", "--archive-days", "30")


def test_lists_are_searched(demo: Desk) -> None:
    demo.ok("mailbox", "add", "lee@demo.example", "--password", "secret")
    demo.ok("domain", "add", "other.example")
    assert [each["address"] for each in demo.json("mailbox", "list", "LEE")] == ["lee@demo.example"]  # type: ignore[attr-defined]
    assert [each["name"] for each in demo.json("domain", "list", "oth")] == ["other.example"]  # type: ignore[attr-defined]
    assert demo.json("user", "list", "nobody") == []


def test_who_one_is_and_the_own_password(demo: Desk, say: Say) -> None:
    assert demo.ok("me", "show").splitlines()[:2] == ["actor      admin", "role       superadmin"]
    say("current\nanother pass phrase\n")
    assert "admin has API tokens" in demo.fails("me", "password", "--stdin")
    assert "--stdin" in demo.fails("me", "password")


def test_lists_may_be_reversed(demo: Desk) -> None:
    demo.ok("mailbox", "add", "{a,b}@demo.example", "--password", "secret")
    names = [each["address"].partition("@")[0] for each in demo.json("mailbox", "list", "--reverse")]  # type: ignore[attr-defined]
    assert names == ["kim", "b", "a"]


def test_groups_are_members_of_lists(demo: Desk) -> None:
    demo.ok("group", "add", "staff", "--member", "kim@demo.example")
    demo.ok("group", "add", "board")
    demo.ok("list", "add", "team@demo.example", "--group", "staff")
    demo.ok("list", "set", "team@demo.example", "--add-group", "board", "--add-member", "x@far.example")
    assert "board staff" in demo.ok("list", "list")
    demo.ok("list", "set", "team@demo.example", "--remove-group", "staff")
    assert "group   board" in demo.ok("list", "show", "team@demo.example")
    assert "there is no group none" in demo.fails("list", "set", "team@demo.example", "--group", "none")
    assert "place in list team@demo.example" in demo.ok("group", "delete", "board", "--yes")
