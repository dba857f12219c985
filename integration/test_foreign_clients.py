"""Foreign mail programs on the running platform: what `up` prints, submission, synchronisation, fetching, rules.

Several of these clients look for host names only in a certificate, never for addresses: they go to `localhost`.
"""

import contextlib
import imaplib
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from postbus.runtime.settings import process_environment
from postbus.runtime.supervisor_connection import Connection
from postbus.testing.installation import Platform, postbus
from postbusd.cli.up_report import format_commands

HOST = "localhost"
CLIENT_SECONDS = 60
MESSAGES = 40
MESSAGE = (
    b"From: a@b.example\r\nTo: c@d.example\r\nDate: Mon, 2 Nov 2026 10:00:00 +0100\r\nMessage-ID: <%d@b.example>\r\n"
    b"Subject: number %d\r\n\r\nBody of %d.\r\n"
)


class Account(msgspec.Struct, frozen=True):
    """A mailbox of its own for a test."""

    platform: Platform
    address: str
    password: str

    @contextlib.contextmanager
    def reader(self) -> Iterator[imaplib.IMAP4_SSL]:
        """An IMAP session."""
        tls = self.platform.tls()
        client = imaplib.IMAP4_SSL(HOST, self.platform.port("imaps"), ssl_context=tls, timeout=CLIENT_SECONDS)
        with contextlib.closing(client.file):
            client.login(self.address, self.password)
            yield client
            client.logout()

    def fill(self, count: int) -> None:
        """Messages with the subjects `number 0` and so on; every other one is read."""
        with self.reader() as client:
            for number in range(count):
                client.append("INBOX", "(\\Seen)" if number % 2 else "", "", MESSAGE % (number, number, number))

    def search(self, *criteria: str, folder: str = "INBOX") -> list[bytes]:
        """Uids of what is found."""
        with self.reader() as client:
            client.select(folder, readonly=True)
            found: list[bytes] = client.uid("SEARCH", *criteria)[1][0].split()
            return found


@pytest.fixture
def account(platform: Platform, request: pytest.FixtureRequest) -> Account:
    address = f"{request.node.name.split('[')[0].removeprefix('test_').replace('_', '-')}@demo.example"
    made = postbus("mailbox", "add", address, "--generate", "--json", "--data-dir", str(platform.data_dir))
    return Account(platform, address, json.loads(made.stdout)["password"])


def needs(program: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(shutil.which(program) is None, reason=f"{program} is not installed")


def run(*command: str, home: Path, text: str = "", codes: tuple[int, ...] = (0,)) -> str:
    """Runs a client to its end; its output."""
    done = subprocess.run(
        command,
        input=text,
        env={**process_environment(), "HOME": str(home), "LC_ALL": "C.UTF-8"},
        cwd=home,
        capture_output=True,
        text=True,
        check=False,
        timeout=CLIENT_SECONDS,
    )
    assert done.returncode in codes, f"{command}: {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout + done.stderr


def write(path: Path, text: str) -> str:
    """A settings file that nobody else may read, as clients demand."""
    path.write_text(text)
    path.chmod(0o600)
    return str(path)


@needs("curl")
@needs("swaks")
def test_every_command_that_up_prints(platform: Platform, tmp_path: Path) -> None:
    connection = msgspec.json.decode((platform.data_dir / "connection.json").read_bytes(), type=Connection)
    commands = [line for line in format_commands(connection) if line.startswith("  ")]
    *sending, reading, searching = commands
    assert len(sending) == 3
    for command in sending:
        run("sh", "-c", command, home=tmp_path)
    platform.wait_message("Hello")
    assert b"From me." in platform.wait_message("Hello", 1)
    assert "Subject: " in run("sh", "-c", reading, home=tmp_path)
    assert run("sh", "-c", searching, home=tmp_path).startswith("* SEARCH ")


@needs("openssl")
@pytest.mark.parametrize("listener", ["smtp", "submission", "submissions", "imaps", "api"])
def test_tls_begins_at_1_2(platform: Platform, tmp_path: Path, listener: str) -> None:
    starttls = ("-starttls", "smtp") if listener in {"smtp", "submission"} else ()
    call = ("openssl", "s_client", "-connect", f"{platform.host}:{platform.port(listener)}", *starttls)
    trust = ("-CAfile", platform.ca_file, "-verify_return_error", "-verify_hostname", HOST)
    for version in ("-tls1_2", "-tls1_3"):
        assert "Verify return code: 0 (ok)" in run(*call, version, *trust, home=tmp_path)
    for version in ("-tls1", "-tls1_1"):
        old = (version, "-cipher", "ALL:@SECLEVEL=0")
        assert "Cipher is (NONE)" in run(*call, *old, home=tmp_path, codes=(1,))


MSMTP = """\
defaults
auth on
tls on
tls_trust_file {ca_file}
host localhost
user {user}
password {password}
from {user}
account submission
port {submission}
tls_starttls on
account submissions
port {submissions}
tls_starttls off
"""


@needs("msmtp")
@pytest.mark.parametrize("listener", ["submission", "submissions"])
def test_msmtp_submits(platform: Platform, tmp_path: Path, listener: str) -> None:
    user, password = platform.mailboxes[0]
    other = platform.mailboxes[1][0]
    ports = {name: platform.port(name) for name in ("submission", "submissions")}
    settings = write(tmp_path / "rc", MSMTP.format(ca_file=platform.ca_file, user=user, password=password, **ports))
    message = f"From: {user}\nTo: {other}\nSubject: msmtp by {listener}\n\nHello\n"
    call = ("msmtp", "-C", settings, "-a", listener)
    run(*call, other, home=tmp_path, text=message)
    assert b"Hello" in platform.wait_message(f"msmtp by {listener}", 1)
    refused = run(*call, "nobody@demo.example", home=tmp_path, text=message, codes=(os.EX_DATAERR,))
    assert "550 5.1.1" in refused
    refused = run(*call, "-f", other, other, home=tmp_path, text=message, codes=(os.EX_DATAERR,))
    assert "550 5.7.1" in refused


MBSYNC = """\
IMAPAccount far
Host localhost
Port {port}
User {user}
Pass {password}
SSLType IMAPS
CertificateFile {ca_file}

IMAPStore far
Account far

MaildirStore near
Path {folder}/
Inbox {folder}/INBOX
SubFolders Verbatim

Channel all
Far :far:
Near :near:
Patterns *
Create Both
Expunge Both
SyncState *
"""


def fill_in(template: str, account: Account, folder: Path) -> str:
    return template.format(
        port=account.platform.port("imaps"),
        user=account.address,
        password=account.password,
        ca_file=account.platform.ca_file,
        folder=folder,
    )


def maildir_files(folder: Path) -> list[Path]:
    return sorted(path for part in ("cur", "new") for path in (folder / part).iterdir())


def change_maildir(folder: Path) -> None:
    """Of the files with the highest uids among those in `cur`, two go and three are flagged; a new one comes."""
    files = sorted((folder / "cur").iterdir(), key=lambda path: int(re.findall(r"U=(\d+)", path.name)[0]))
    for path in files[-2:]:
        path.unlink()
    for path in files[-5:-2]:
        path.rename(path.with_name(path.name.partition(":2,")[0] + ":2,FRS"))
    (folder / "new" / "1.2.here").write_text("Subject: from here\nMessage-ID: <here@b.example>\n\nHello\n")


def change_server(account: Account) -> None:
    with account.reader() as client:
        client.select("INBOX")
        client.uid("STORE", "1:4", "+FLAGS", "($Label1)")
        client.uid("STORE", "5:8", "+FLAGS", "(\\Deleted)")
        client.expunge()
        client.uid("COPY", "1:4", "Archive")
        client.uid("MOVE", "9:10", "Trash")
        client.create('"Gr&APw-n &- mehr"')


def check_both_sides(account: Account, folder: Path) -> None:
    assert len(account.search("ALL")) == MESSAGES - 4 - 2 - 2 + 1
    assert len(account.search("FLAGGED", "ANSWERED")) == 3
    assert len(account.search("SUBJECT", '"from here"')) == 1
    assert account.search("KEYWORD", "$Label1") == [b"1", b"2", b"3", b"4"]
    assert len(account.search("ALL", folder="Archive")) == 4
    assert len(maildir_files(folder / "INBOX")) == MESSAGES - 4 - 2 - 2 + 1
    assert len(maildir_files(folder / "Trash")) == 2
    assert (folder / "Gr&APw-n &- mehr" / "cur").is_dir()


@needs("mbsync")
def test_mbsync_both_ways(account: Account, tmp_path: Path) -> None:
    folder = tmp_path / "mail"
    folder.mkdir()
    call = ("mbsync", "-c", write(tmp_path / "rc", fill_in(MBSYNC, account, folder)), "all")
    account.fill(MESSAGES)
    run(*call, home=tmp_path)
    assert len(maildir_files(folder / "INBOX")) == MESSAGES
    change_server(account)
    change_maildir(folder / "INBOX")
    run(*call, home=tmp_path)
    check_both_sides(account, folder)
    before = maildir_files(folder / "INBOX")
    run(*call, home=tmp_path)
    assert maildir_files(folder / "INBOX") == before


OFFLINEIMAP = """\
[general]
accounts = all
metadata = {folder}-state
[Account all]
localrepository = near
remoterepository = far
[Repository near]
type = Maildir
localfolders = {folder}
[Repository far]
type = IMAP
remotehost = localhost
remoteport = {port}
remoteuser = {user}
remotepass = {password}
ssl = yes
sslcacertfile = {ca_file}
"""


@needs("offlineimap")
def test_offlineimap_both_ways(account: Account, tmp_path: Path) -> None:
    folder = tmp_path / "mail"
    call = ("offlineimap", "-c", write(tmp_path / "rc", fill_in(OFFLINEIMAP, account, folder)), "-o", "-u", "basic")
    account.fill(MESSAGES)
    run(*call, home=tmp_path)
    assert len(maildir_files(folder / "INBOX")) == MESSAGES
    change_server(account)
    change_maildir(folder / "INBOX")
    run(*call, home=tmp_path)
    check_both_sides(account, folder)


@needs("fetchmail")
def test_fetchmail_takes_what_is_unread(account: Account, tmp_path: Path) -> None:
    account.fill(10)
    login = (
        f'user "{account.address}" password "{account.password}" ssl sslcertck sslcertfile "{account.platform.ca_file}"'
    )
    line = f'poll {HOST} proto IMAP service {account.platform.port("imaps")} {login} mda "cat >> {tmp_path}/box"\n'
    run("fetchmail", "-f", write(tmp_path / "rc", line), "--pidfile", str(tmp_path / "pid"), home=tmp_path)
    assert (tmp_path / "box").read_bytes().count(b"\nSubject: number") == 5
    assert len(account.search("ALL")) == 5


IMAPFILTER = """\
options.create = true
options.subscribe = true
account = IMAP {{ server = 'localhost', port = {port}, username = '{user}', password = '{password}', ssl = 'auto' }}
inbox = account.INBOX;
(inbox:is_unseen() * inbox:contain_subject('number')):mark_flagged()
inbox:contain_subject('number 3'):add_flags({{ 'mine' }})
inbox:match_body('Body of 5'):move_messages(account['Ärger/Übung'])
inbox:sent_since('01-Nov-2026'):copy_messages(account['Archive'])
inbox:contain_subject('number 7'):delete_messages()
"""


@needs("imapfilter")
def test_imapfilter_sorts(account: Account, tmp_path: Path) -> None:
    account.fill(10)
    rules = write(tmp_path / "rules.lua", fill_in(IMAPFILTER, account, tmp_path))
    (tmp_path / ".imapfilter").mkdir()
    run("imapfilter", "-c", rules, "-t", account.platform.ca_file, home=tmp_path)
    assert account.search("FLAGGED") == [b"1", b"3", b"5", b"7", b"9"]
    assert account.search("KEYWORD", "mine") == [b"4"]
    assert account.search("ALL") == [b"1", b"2", b"3", b"4", b"5", b"7", b"9", b"10"]
    assert len(account.search("ALL", folder="&AMQ-rger/&ANw-bung")) == 1
    assert len(account.search("ALL", folder="Archive")) == 9
