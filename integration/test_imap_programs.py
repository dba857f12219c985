"""Daily use with Debian's programs: mbsync both ways with 500 messages, neomutt, curl."""

import contextlib
import imaplib
import json
import re
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from postbus.runtime.settings import process_environment
from postbus.testing.imap_dialogue import Dialogue
from postbus.testing.installation import Platform, postbus
from postbus.testing.neomutt import Person

HOST = "localhost"
PROGRAM_SECONDS = 120
FAR_MESSAGES = 300
NEAR_MESSAGES = 200
MESSAGE = (
    "From: a@b.example\r\nTo: c@d.example\r\nDate: Mon, 2 Nov 2026 10:00:00 +0100\r\nMessage-ID: <%s@b.example>\r\n"
    "Subject: %s\r\n\r\nBody of %s, Grüße.\r\n"
)
MESSAGE_ID = re.compile(rb"Message-ID: <([^@>]+)@b.example>", re.IGNORECASE)
LETTERS = {b"\\Seen": "S", b"\\Answered": "R", b"\\Flagged": "F", b"\\Draft": "D", b"\\Deleted": "T"}

State = dict[str, dict[str, str]]
"""By folder and Message-ID: Maildir's letters of the flags."""


def make_message(name: str) -> bytes:
    return (MESSAGE % (name, name, name)).encode()


class Account(msgspec.Struct, frozen=True):
    """A mailbox of its own for a test."""

    platform: Platform
    address: str
    password: str

    @contextlib.contextmanager
    def session(self) -> Iterator[Dialogue]:
        with contextlib.closing(Dialogue(self.platform)) as dialogue:
            dialogue.ask(f'LOGIN "{self.address}" "{self.password}"'.encode())
            yield dialogue
            dialogue.ask(b"LOGOUT")

    def status(self) -> list[bytes]:
        """Everything that tells whether any folder changed."""
        items = b"MESSAGES UNSEEN UIDNEXT UIDVALIDITY HIGHESTMODSEQ"
        with self.session() as dialogue:
            return dialogue.ask(b'LIST "" "*" RETURN (SUBSCRIBED STATUS (%b))' % items)[:-1]

    def state(self) -> State:
        """What is in all folders."""
        found: State = {}
        with self.session() as dialogue:
            names = [line.rpartition(b'"/" ')[2] for line in dialogue.ask(b'LIST "" "*"')[:-1]]
            for name in names:
                dialogue.ask(b"EXAMINE " + name)
                lines = dialogue.ask(b"FETCH 1:* (FLAGS BODY.PEEK[HEADER.FIELDS (MESSAGE-ID)])")[:-1]
                found[name.decode().strip('"')] = dict(map(_read_line, lines))
        return found


def _read_line(line: bytes) -> tuple[str, str]:
    flags = re.search(rb"FLAGS \(([^)]*)\)", line)
    message_id = MESSAGE_ID.search(line)
    assert flags is not None
    assert message_id is not None
    return message_id[1].decode(), "".join(sorted(LETTERS[flag] for flag in flags[1].split() if flag in LETTERS))


@pytest.fixture
def account(platform: Platform, request: pytest.FixtureRequest) -> Account:
    name = request.node.name.split("[")[0].removeprefix("test_").replace("_", "-")[:30]
    address = f"{name}-{uuid.uuid4().hex[:6]}@demo.example"
    made = postbus("mailbox", "add", address, "--generate", "--json", "--data-dir", str(platform.data_dir))
    return Account(platform, address, json.loads(made.stdout)["password"])


def needs(program: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(shutil.which(program) is None, reason=f"{program} is not installed")


def run(*command: str, home: Path, text: bytes = b"", codes: tuple[int, ...] = (0,)) -> bytes:
    """Runs a program to its end; its output."""
    environment = {**process_environment(), "HOME": str(home), "LC_ALL": "C.UTF-8"}
    done = subprocess.run(
        command, input=text, env=environment, cwd=home, capture_output=True, check=False, timeout=PROGRAM_SECONDS
    )
    assert done.returncode in codes, f"{command}: {done.returncode}\n{done.stdout!r}\n{done.stderr!r}"
    return done.stdout


MBSYNC = """\
FSync no

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
CopyArrivalDate yes
SyncState *
"""


class Maildirs:
    """mbsync's side: a folder of Maildirs."""

    def __init__(self, account: Account, home: Path) -> None:
        self.path = home / "mail"
        self.path.mkdir()
        self._home = home
        self._settings = home / "mbsyncrc"
        self._settings.write_text(
            MBSYNC.format(
                port=account.platform.port("imaps"),
                user=account.address,
                password=account.password,
                ca_file=account.platform.ca_file,
                folder=self.path,
            )
        )
        self._settings.chmod(0o600)

    def sync(self) -> None:
        run("mbsync", "-c", str(self._settings), "all", home=self._home)

    def add(self, folder: str, *names: str) -> None:
        for part in ("cur", "new", "tmp"):
            (self.path / folder / part).mkdir(parents=True, exist_ok=True)
        for name in names:
            content = make_message(name).replace(b"\r\n", b"\n")
            (self.path / folder / "new" / f"1.{name}.here").write_bytes(content)

    def files(self) -> dict[Path, str]:
        """Every message: its file and Message-ID."""
        found = {}
        for path in self.path.rglob("*"):
            if path.parent.name in ("cur", "new") and path.is_file():
                message_id = MESSAGE_ID.search(path.read_bytes())
                assert message_id is not None, path
                found[path] = message_id[1].decode()
        return found

    def find(self, folder: str, *names: str) -> list[Path]:
        wanted = self.path / folder
        return [path for path, name in self.files().items() if name in names and path.parent.parent == wanted]

    def state(self) -> State:
        found: State = {str(path.parent.relative_to(self.path)): {} for path in self.path.rglob("cur") if path.is_dir()}
        for path, name in self.files().items():
            letters = path.name.rpartition(":2,")[2] if ":2," in path.name else ""
            folder = str(path.parent.parent.relative_to(self.path))
            assert name not in found[folder], "a double"
            found[folder][name] = "".join(sorted(letters))
        return found


def far(first: int, last: int) -> list[str]:
    return [f"far-{number}" for number in range(first, last)]


def near(first: int, last: int) -> list[str]:
    return [f"near-{number}" for number in range(first, last)]


def change_far(account: Account) -> None:
    """Flags, deletions, moves, new messages and folders; uids are those of the order of appending."""
    with account.session() as dialogue:
        dialogue.ask(b"SELECT INBOX")
        dialogue.ask(b"UID STORE 1:50 +FLAGS (\\Flagged)")
        dialogue.ask(b"UID STORE 51:70 +FLAGS (\\Deleted)")
        dialogue.ask(b"UID EXPUNGE 51:70")
        dialogue.ask(b"UID MOVE 71:100 Archive")
        dialogue.ask(b"UID COPY 1:5 Trash")
        dialogue.ask(b'CREATE "Projekte/&ANw-bung &- mehr"')
        for name in far(1000, 1005):
            dialogue.append(b"Projekte/&ANw-bung &- mehr", make_message(name), b"(\\Seen)")
        for name in far(1005, 1010):
            dialogue.append(b"INBOX", make_message(name))


def change_near(maildirs: Maildirs) -> None:
    for path in maildirs.find("INBOX", *far(100, 140)):
        path.rename(path.parent.parent / "cur" / (path.name.partition(":2,")[0] + ":2,RS"))
    for path in maildirs.find("INBOX", *near(0, 10), *far(140, 145)):
        path.unlink()
    maildirs.add("INBOX", *near(1000, 1010))
    maildirs.add("Local/Notes", *near(1010, 1013))
    maildirs.add("Local")


def check_outcome(state: State) -> None:
    inbox = state["INBOX"]
    expected = {*far(0, 50), *far(100, 140), *far(145, FAR_MESSAGES), *far(1005, 1010)}
    assert set(inbox) == expected | {*near(10, NEAR_MESSAGES), *near(1000, 1010)}
    assert {inbox[name] for name in far(0, 50)} == {"F", "FS"}
    assert {inbox[name] for name in far(100, 140)} == {"RS"}
    assert set(state["Archive"]) == set(far(70, 100))
    assert set(state["Trash"]) == set(far(0, 5))
    assert state["Projekte/&ANw-bung &- mehr"] == dict.fromkeys(far(1000, 1005), "S")
    assert set(state["Local/Notes"]) == set(near(1010, 1013))
    assert state["Local"] == {}


@needs("mbsync")
def test_mbsync_keeps_500_messages_the_same_on_both_sides(account: Account, tmp_path: Path) -> None:
    maildirs = Maildirs(account, tmp_path)
    with account.session() as dialogue:
        for number, name in enumerate(far(0, FAR_MESSAGES)):
            dialogue.append(b"INBOX", make_message(name), b"(\\Seen)" if number % 2 else b"()")
    maildirs.add("INBOX", *near(0, NEAR_MESSAGES))
    maildirs.sync()
    both = account.state()
    assert len(both["INBOX"]) == FAR_MESSAGES + NEAR_MESSAGES
    assert maildirs.state() == both
    change_far(account)
    change_near(maildirs)
    maildirs.sync()
    both = account.state()
    check_outcome(both)
    assert maildirs.state() == both
    before, files = account.status(), maildirs.files()
    maildirs.sync()
    assert account.status() == before, "a run without news changed something on the server"
    assert maildirs.files() == files


@needs("neomutt")
def test_neomutt_reads_answers_and_keeps_a_copy(account: Account, tmp_path: Path) -> None:
    (tmp_path / "h").mkdir()
    person = Person(
        platform=account.platform, address=account.address, password=account.password, home=tmp_path / "h" / "n"
    )
    other = account.platform.mailboxes[1][0]
    word = uuid.uuid4().hex[:12]
    question = (
        f"From: {other}\r\nTo: {account.address}\r\nSubject: Question {word}\r\nMessage-ID: <{word}@b.example>\r\n"
    )
    with account.session() as dialogue:
        dialogue.append(b"INBOX", f"{question}\r\nHow are you?\r\n".encode())
    person.answer_last(f"Fine {word}, thank you.")
    answer = account.platform.wait_message(f"Question {word}", 1)
    assert b"Fine %b, thank you." % word.encode() in answer
    assert b"> How are you?" in answer
    assert b"In-Reply-To: <%b@b.example>" % word.encode() in answer
    with account.session() as dialogue:
        dialogue.ask(b"EXAMINE INBOX")
        assert b"FLAGS (\\Seen \\Answered)" in dialogue.ask(b"FETCH 1 (FLAGS)")[0]
        dialogue.ask(b"EXAMINE Sent")
        kept = dialogue.ask(b"FETCH 1:* (FLAGS BODY.PEEK[])")
    assert len(kept) == 2
    assert b"FLAGS (\\Seen)" in kept[0]
    assert b"Fine %b, thank you." % word.encode() in kept[0]


@needs("curl")
def test_curl_does_all_that_a_script_needs(account: Account, tmp_path: Path) -> None:
    platform = account.platform
    base = f"imaps://{platform.host}:{platform.port('imaps')}"
    identity = ("--cacert", platform.ca_file, "--user", f"{account.address}:{account.password}")

    def curl(*arguments: str, codes: tuple[int, ...] = (0,)) -> bytes:
        return run("curl", "--silent", "--show-error", *identity, *arguments, home=tmp_path, codes=codes)

    names = [uuid.uuid4().hex[:12] for _ in range(3)]
    for name in names:
        path = tmp_path / name
        path.write_bytes(make_message(name))
        curl(f"{base}/INBOX", "-T", str(path))
    assert curl(f"{base}/INBOX;UID=2") == make_message(names[1])
    assert curl(f"{base}/INBOX;MAILINDEX=3;SECTION=TEXT") == make_message(names[2]).partition(b"\r\n\r\n")[2]
    assert curl(f"{base}/INBOX?SUBJECT%20{names[2]}").strip() == b"* SEARCH 3"
    assert curl(f"{base}/INBOX", "-X", "UID SEARCH UNDELETED").strip() == b"* SEARCH 1 2 3"
    assert b"FLAGS (\\Seen \\Flagged)" in curl(f"{base}/INBOX", "-X", "STORE 1 +FLAGS (\\Flagged)")
    assert b"* 2 EXPUNGE" in curl(f"{base}/INBOX", "-X", "UID MOVE 2 Archive")
    assert curl(f"{base}/Archive;UID=1") == make_message(names[1])
    listed = curl(f"{base}/").splitlines()
    assert b'* LIST (\\HasNoChildren \\Sent) "/" "Sent"' in listed
    assert curl(base, "-X", "EXAMINE Nowhere", codes=(21,)) == b""
    assert curl(f"{base}/INBOX;UID=77", codes=(78,)) == b""


def test_imaplib_does_what_scripts_do(account: Account) -> None:
    """The verbs that scripts use, by Python's own client."""
    platform = account.platform
    with imaplib.IMAP4_SSL(platform.host, platform.port("imaps"), ssl_context=platform.tls(), timeout=30) as client:
        secret = f"\0{account.address}\0{account.password}".encode()
        assert client.authenticate("PLAIN", lambda _: secret)[0] == "OK"
        assert b" CONDSTORE" in client.capability()[1][0]
        assert client.enable("CONDSTORE")[0] == "OK"
        assert client.namespace()[1] == [b'(("" "/")) NIL NIL']
        assert client.create("Scripts")[0] == "OK"
        for number in range(5):
            assert (
                client.append("Scripts", "(\\Seen $Mine)", imaplib.Time2Internaldate(1e9), make_message(f"{number}"))[0]
                == "OK"
            )
        assert client.select("Scripts")[1] == [b"5"]
        assert client.uid("STORE", "2:3", "(UNCHANGEDSINCE 1)", "+FLAGS", "(\\Deleted)")[0] == "OK"
        assert client.response("MODIFIED")[1] == [b"2:3"]
        assert client.uid("STORE", "2:3", "+FLAGS", "(\\Deleted)")[0] == "OK"
        assert client.expunge()[1] == [b"3", b"2"]
        assert client.uid("SEARCH", "KEYWORD", "$Mine", "ON", "9-Sep-2001")[1] == [b"1 4 5"]
        assert client.rename("Scripts", "Scripts2")[0] == "OK"
        assert client.close()[0] == "OK"
        assert client.delete("Scripts2")[0] == "OK"
        assert client.delete("Scripts2")[0] == "NO"
