"""`postbus import`, `export` and `apply` on a running installation."""

import imaplib
import json
import os
from pathlib import Path

import pytest

from postbus.testing.installation import CLIENT_SECONDS, Platform, postbus


def run(platform: Platform, *words: object, check: bool = True) -> str:
    return postbus(*map(str, words), "--data-dir", str(platform.data_dir), check=check).stdout


def test_imported_mailboxes_receive_and_are_read(platform: Platform, tmp_path: Path) -> None:
    word = os.urandom(4).hex()
    domain = f"{word}.example"
    platform.administer(f"domains/{domain}", {"incoming": True})
    platform.administer(f"users/{word}", {"password": "a long pass phrase"})
    table = tmp_path / "mailboxes.csv"
    table.write_text(f"kim,{domain},{word},user,info s*,true\nlee,{domain},{word},user,,false\n")
    assert run(platform, "import", table).strip() == "2 created, 0 changed, 0 unchanged, 0 refused"
    assert run(platform, "import", table).strip() == "0 created, 0 changed, 2 unchanged, 0 refused"
    message = f"From: friend@example.org\r\nSubject: {word}\r\n\r\nx\r\n".encode()
    assert platform.send(message, f"info@{domain}", f"sales@{domain}", f"lee@{domain}").keys() == {f"lee@{domain}"}
    with imaplib.IMAP4_SSL(
        platform.host, platform.port("imaps"), ssl_context=platform.tls(), timeout=CLIENT_SECONDS
    ) as client:
        client.login(f"kim@{domain}", "a long pass phrase")
        folders = [line.decode().rpartition(" ")[2].strip('"') for line in client.list()[1] if isinstance(line, bytes)]
        assert sorted(folders) == ["Archive", "Drafts", "INBOX", "Sent", "Spam", "Trash"]
    with (
        pytest.raises(imaplib.IMAP4.error),
        imaplib.IMAP4_SSL(
            platform.host, platform.port("imaps"), ssl_context=platform.tls(), timeout=CLIENT_SECONDS
        ) as client,
    ):
        client.login(f"lee@{domain}", "a long pass phrase")
    exported = tmp_path / "out.json"
    run(platform, "export", exported, "--domain", domain)
    assert [(each["name"], each["active"]) for each in json.loads(exported.read_text())] == [
        ("kim", True),
        ("lee", False),
    ]
    run(platform, "import", exported)


def test_a_site_is_applied_and_exported(platform: Platform, tmp_path: Path) -> None:
    word = os.urandom(4).hex()
    domain = f"{word}.example"
    file = tmp_path / "site.yaml"
    file.write_text(
        f"domains: {{{domain}: {{incoming: true, catch_all: [kim@{domain}]}}}}\n"
        f"mailboxes: {{kim@{domain}: {{password: a long pass phrase, pop3: true}}}}\n"
        f"aliases: {{info@{domain}: {{mailbox: kim@{domain}}}}}\n"
    )
    assert run(platform, "apply", file).splitlines()[-1] == "3 created, 1 changed, 0 deleted, 0 unchanged"
    assert run(platform, "apply", file).strip() == "0 created, 0 changed, 0 deleted, 3 unchanged"
    message = f"From: friend@example.org\r\nSubject: {word}\r\n\r\nx\r\n".encode()
    assert platform.send(message, f"whatever@{domain}") == {}
    site = tmp_path / "all.yaml"
    run(platform, "export", site, "--all")
    assert run(platform, "apply", site, "--prune").startswith("0 created, 0 changed, 0 deleted, ")
