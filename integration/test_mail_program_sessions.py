"""Sessions as mail programs hold them, line by line: Thunderbird's, a telephone's, and one that pipelines.

Written after what these programs send; the answers are those that they build on.
"""

import base64
import contextlib
import json
import re
import uuid
from collections.abc import Iterator

import pytest

from postbus.testing.imap_dialogue import Dialogue
from postbus.testing.installation import Platform, postbus

MESSAGE = (
    "From: =?UTF-8?Q?J=C3=BCrg?= <a@b.example>\r\nTo: c@d.example\r\nDate: Mon, 2 Nov 2026 10:00:00 +0100\r\n"
    "Message-ID: <1@b.example>\r\nSubject: =?UTF-8?B?R3LDvMOfZQ==?=\r\nX-Other: y\r\n"
    "Content-Type: text/plain; charset=UTF-8\r\n\r\nGrüße aus Zürich\r\n"
).encode()
FIELDS = (
    b"From To Cc Bcc Subject Date Message-ID Priority X-Priority References Newsgroups In-Reply-To "
    b"Content-Type Reply-To"
)


@pytest.fixture(scope="module")
def login(platform: Platform) -> tuple[bytes, bytes]:
    """A mailbox of this file."""
    address = f"sessions-{uuid.uuid4().hex[:8]}@demo.example"
    made = postbus("mailbox", "add", address, "--generate", "--json", "--data-dir", str(platform.data_dir))
    return address.encode(), json.loads(made.stdout)["password"].encode()


@contextlib.contextmanager
def opened(platform: Platform, login: tuple[bytes, bytes]) -> Iterator[Dialogue]:
    with contextlib.closing(Dialogue(platform)) as dialogue:
        dialogue.ask(b'LOGIN "%b" "%b"' % login)
        yield dialogue
        dialogue.ask(b"LOGOUT")


@pytest.fixture
def thunderbird(platform: Platform, login: tuple[bytes, bytes]) -> Iterator[Dialogue]:
    with opened(platform, login) as dialogue:
        yield dialogue


@pytest.fixture
def folder(thunderbird: Dialogue) -> Iterator[bytes]:
    """A folder with five messages, selected."""
    name = f"Work {uuid.uuid4().hex[:6]}".encode()
    thunderbird.ask(b'create "%b"' % name)
    for uid in range(1, 6):
        assert b"APPENDUID " in (answer := thunderbird.append(name, MESSAGE))
        assert answer.split(b"]")[0].endswith(b" %d" % uid)
    thunderbird.ask(b'select "%b"' % name)
    yield name
    thunderbird.ask(b"unselect")
    thunderbird.ask(b'delete "%b"' % name)


def test_the_start_of_a_session(thunderbird: Dialogue) -> None:
    capabilities = set(thunderbird.ask(b"CAPABILITY")[0].split())
    assert {b"IMAP4rev1", b"IDLE", b"NAMESPACE", b"SPECIAL-USE", b"UIDPLUS", b"MOVE", b"CONDSTORE"} <= capabilities
    assert thunderbird.ask(b'ID ("name" "Thunderbird" "version" "128.4.0")')[0] == b'* ID ("name" "Postbus")'
    assert thunderbird.ask(b"ENABLE UTF8=ACCEPT CONDSTORE")[0] == b"* ENABLED CONDSTORE"
    assert thunderbird.ask(b"NAMESPACE")[0] == b'* NAMESPACE (("" "/")) NIL NIL'
    listed = thunderbird.ask(b'list (subscribed) "" "*" return (special-use)')
    assert b'* LIST (\\HasNoChildren \\Trash \\Subscribed) "/" "Trash"' in listed
    assert b'* LIST (\\HasNoChildren \\Junk \\Subscribed) "/" "Spam"' in listed
    assert thunderbird.ask(b'LIST "" ""')[0] == b'* LIST (\\Noselect) "/" ""'
    for name in (b"INBOX", b"Archive", b"Drafts", b"Sent", b"Spam", b"Trash"):
        status = thunderbird.ask(b'STATUS "%b" (UIDNEXT MESSAGES UNSEEN RECENT)' % name)[0]
        assert re.fullmatch(rb"\* STATUS %b \(UIDNEXT \d+ MESSAGES \d+ UNSEEN \d+ RECENT 0\)" % name, status)


def test_a_folder_is_listed_and_read_in_pieces(thunderbird: Dialogue, folder: bytes) -> None:
    flags = thunderbird.ask(b"UID fetch 1:* (FLAGS)")
    assert flags[:-1] == [b"* %d FETCH (UID %d FLAGS ())" % (uid, uid) for uid in range(1, 6)]
    query = b"UID fetch 1:5 (UID RFC822.SIZE FLAGS BODY.PEEK[HEADER.FIELDS (%b)])" % FIELDS
    header = MESSAGE.partition(b"\r\n\r\n")[0].replace(b"X-Other: y\r\n", b"") + b"\r\n\r\n"
    start = b"* 3 FETCH (UID 3 RFC822.SIZE %d FLAGS () BODY[HEADER.FIELDS (%b)] " % (len(MESSAGE), FIELDS)
    assert thunderbird.ask(query)[2] == start + b"{%d}\r\n%b)" % (len(header), header)
    assert b"{%d}\r\n%b" % (len(MESSAGE), MESSAGE) in thunderbird.ask(b"UID fetch 1 (UID RFC822.SIZE BODY.PEEK[])")[0]
    first = thunderbird.ask(b"UID fetch 2 (UID RFC822.SIZE BODY[]<0.50>)")[0]
    assert b"FLAGS (\\Seen) BODY[]<0> {50}\r\n%b" % MESSAGE[:50] in first
    rest = thunderbird.ask(b"UID fetch 2 (UID BODY[]<50.65536>)")[0]
    assert rest == b"* 2 FETCH (UID 2 BODY[]<50> {%d}\r\n%b)" % (len(MESSAGE) - 50, MESSAGE[50:])
    structure = b'("text" "plain" ("charset" "UTF-8") NIL NIL "7bit" %d 1 NIL NIL NIL NIL)'
    size = len(MESSAGE.partition(b"\r\n\r\n")[2])
    assert thunderbird.ask(b"UID fetch 1 (BODYSTRUCTURE)")[0].endswith(b"BODYSTRUCTURE %b)" % (structure % size))


def test_filing_marking_and_deleting(thunderbird: Dialogue, folder: bytes) -> None:
    marked = thunderbird.ask(b"uid store 1 +Flags ($Forwarded NonJunk)")[0]
    assert marked == b"* 1 FETCH (UID 1 FLAGS ($Forwarded NonJunk))"
    moved = thunderbird.ask(b'uid move 4 "Trash"')
    assert re.match(rb"\* OK \[COPYUID \d+ 4 \d+\]", moved[0])
    assert moved[1] == b"* 4 EXPUNGE"
    assert re.search(rb"OK \[COPYUID \d+ 5 \d+\]", thunderbird.ask(b'uid copy 5 "Archive"')[-1])
    thunderbird.ask(b"uid store 2:3 +FLAGS (\\Seen \\Deleted)")
    assert thunderbird.ask(b"uid expunge 2")[0] == b"* 2 EXPUNGE"
    assert thunderbird.ask(b"EXPUNGE")[0] == b"* 2 EXPUNGE"
    assert thunderbird.ask(b"UID SEARCH ALL")[0] == b"* SEARCH 1 5"


def test_a_copy_of_sent_mail_is_found_by_its_id(thunderbird: Dialogue) -> None:
    uid = thunderbird.append(b"Sent", MESSAGE, b"(\\Seen)").split(b"]")[0].rsplit(b" ", 1)[1]
    thunderbird.ask(b'select "Sent"')
    assert thunderbird.ask(b"UID SEARCH HEADER Message-ID <1@b.example>")[0].split()[-1] == uid
    assert thunderbird.ask(b"uid fetch %b (UID FLAGS)" % uid)[0].endswith(b"FETCH (UID %b FLAGS (\\Seen))" % uid)


def test_folders_with_names_beyond_ascii(thunderbird: Dialogue) -> None:
    thunderbird.ask(b'create "Gr&APw-n"')
    thunderbird.ask(b'create "Gr&APw-n/&AMQ-rger &- mehr"')
    listed = thunderbird.ask(b'list "" "Gr*" return (subscribed children)')
    assert b"\\HasChildren" in listed[0]
    thunderbird.ask(b'rename "Gr&APw-n" "Blau/&ZeVnLIqe-"')
    names = [line.rpartition(b'"/" ')[2] for line in thunderbird.ask(b'list "" "Blau*"')[:-1]]
    assert names == [b'"Blau"', b'"Blau/&ZeVnLIqe-"', b'"Blau/&ZeVnLIqe-/&AMQ-rger &- mehr"']
    assert b'* LSUB () "/" "Blau/&ZeVnLIqe-"' in thunderbird.ask(b'lsub "" "*"')
    thunderbird.ask(b'delete "Blau"', kind=b"NO")
    for name in reversed(names):
        thunderbird.ask(b"delete " + name)
    thunderbird.ask(b'create "Gr&APw"', kind=b"BAD")


def test_searching_beyond_ascii_by_literal(thunderbird: Dialogue, folder: bytes) -> None:
    for key, text in ((b"BODY", "Zürich"), (b"SUBJECT", "Grüße"), (b"FROM", "Jürg")):
        word = text.encode()
        found = thunderbird.ask(b"UID SEARCH CHARSET UTF-8 UNDELETED %b {%d}" % (key, len(word)), word)
        assert b"* SEARCH 1 2 3 4 5" in found
    assert b"[BADCHARSET " in thunderbird.ask(b"UID SEARCH CHARSET KOI8-R TEXT a", kind=b"NO")[-1]
    counted = thunderbird.ask(b"UID SEARCH RETURN (MIN MAX COUNT ALL) UNSEEN")[0]
    assert counted.endswith(b"UID MIN 1 MAX 5 COUNT 5 ALL 1:5")


def test_a_pipelining_program_idles_while_another_one_works(
    platform: Platform, login: tuple[bytes, bytes], thunderbird: Dialogue, folder: bytes
) -> None:
    with contextlib.closing(Dialogue(platform)) as other:
        other.ask(b"LOGIN {%d}" % len(login[0]), login[0] + b' "' + login[1] + b'"')
        select = b'select "%b"\r\n' % folder
        other.send(
            b'a ID ("vendor" "Microsoft")\r\nb LIST "" "*"\r\nc ' + select + b"d UID FETCH 1:* (FLAGS)\r\ne IDLE\r\n"
        )
        while not other.read().startswith(b"+ "):
            pass
        thunderbird.ask(b"UID STORE 1 FLAGS.SILENT (\\Flagged)")
        assert other.read() == b"* 1 FETCH (UID 1 FLAGS (\\Flagged))"
        thunderbird.append(folder, MESSAGE)
        assert other.read() == b"* 6 EXISTS"
        thunderbird.ask(b'UID MOVE 2 "Trash"')
        assert other.read() == b"* 2 EXPUNGE"
        other.send(b"DONE\r\nf LOGOUT\r\n")
        assert other.read().startswith(b"e OK ")


def credentials(login: tuple[bytes, bytes]) -> bytes:
    return base64.b64encode(b"\0%b\0%b" % login)


def test_the_ways_to_log_in(platform: Platform, login: tuple[bytes, bytes]) -> None:
    """With an initial response, without, and as Outlook does; a wrong password tells nothing more."""
    for lines in (
        (b"AUTHENTICATE PLAIN " + credentials(login),),
        (b"authenticate PLAIN", credentials(login)),
        (b"AUTHENTICATE LOGIN", *map(base64.b64encode, login)),
        (b'login "%b" {%d+}\r\n%b' % (login[0], len(login[1]), login[1]),),
    ):
        with contextlib.closing(Dialogue(platform)) as dialogue:
            assert b"AUTH=PLAIN" in dialogue.greeting
            answers = dialogue.ask(lines[0], *lines[1:])
            assert b"[CAPABILITY IMAP4rev1 " in answers[-1]
            assert b" AUTH=" not in answers[-1]
    with contextlib.closing(Dialogue(platform)) as dialogue:
        wrong = dialogue.ask(b"AUTHENTICATE PLAIN " + credentials((login[0], b"wrong")), kind=b"NO")
        assert b"[AUTHENTICATIONFAILED]" in wrong[-1]
        dialogue.ask(b"LOGOUT")


def test_two_connections_of_one_program(
    platform: Platform, login: tuple[bytes, bytes], thunderbird: Dialogue, folder: bytes
) -> None:
    """One reads and idles, the other one files: as Thunderbird does with CONDSTORE."""
    with opened(platform, login) as other:
        other.ask(b"ENABLE CONDSTORE")
        selected = other.ask(b'select "%b" (CONDSTORE)' % folder)
        highest = next(int(found[1]) for line in selected if (found := re.search(rb"HIGHESTMODSEQ (\d+)", line)))
        tag = other.start(b"IDLE")
        assert other.read().startswith(b"+ ")
        thunderbird.ask(b"uid store 2:3 +Flags.SILENT (\\Seen)")
        for uid in (2, 3):
            changed = b"* %d FETCH (UID %d FLAGS (\\Seen) MODSEQ (%d))" % (uid, uid, highest + 1)
            assert other.read() == changed
        thunderbird.append(folder, MESSAGE, b"(\\Seen)")
        assert other.read() == b"* 6 EXISTS"
        other.send(b"DONE\r\n")
        assert other.read().startswith(tag + b" OK")
        since = other.ask(b"UID fetch 1:* (FLAGS) (CHANGEDSINCE %d)" % highest)
        assert [line.split()[4] for line in since[:-1]] == [b"2", b"3", b"6"]
        assert other.ask(b"UID STORE 2 (UNCHANGEDSINCE %d) +FLAGS (\\Flagged)" % highest)[-1].split()[2:4] == [
            b"[MODIFIED",
            b"2]",
        ]
        known = int(re.findall(rb"MODSEQ \((\d+)\)", since[0])[0])
        stored = other.ask(b"UID STORE 2 (UNCHANGEDSINCE %d) +FLAGS (\\Flagged)" % known)
        assert re.fullmatch(rb"\* 2 FETCH \(UID 2 FLAGS \(\\Seen \\Flagged\) MODSEQ \(\d+\)\)", stored[0])
        assert thunderbird.ask(b"noop")[:-1] == [b"* 2 FETCH (UID 2 FLAGS (\\Seen \\Flagged))"]


def test_a_draft_is_kept_and_replaced(thunderbird: Dialogue) -> None:
    """Each saving appends, then removes the one before by its uid alone."""
    first = thunderbird.append(b"Drafts", MESSAGE, b"(\\Draft \\Seen)").split(b"]")[0].rsplit(b" ", 1)[1]
    second = thunderbird.append(b"Drafts", MESSAGE + b"More\r\n", b"(\\Draft \\Seen)")
    uid = second.split(b"]")[0].rsplit(b" ", 1)[1]
    thunderbird.ask(b'select "Drafts"')
    thunderbird.ask(b"uid store %b +FLAGS.SILENT (\\Deleted)" % first)
    assert len(thunderbird.ask(b"uid expunge %b" % first)) == 2
    assert thunderbird.ask(b"UID SEARCH DRAFT")[0] == b"* SEARCH " + uid
    assert thunderbird.ask(b"uid fetch %b (FLAGS)" % uid)[0].endswith(b"FLAGS (\\Seen \\Draft))")
    status = thunderbird.ask(b"STATUS Drafts (MESSAGES UNSEEN HIGHESTMODSEQ)")[-2]
    assert re.fullmatch(rb"\* STATUS Drafts \(MESSAGES 1 UNSEEN 0 HIGHESTMODSEQ \d+\)", status)


def test_a_telephone_looks_in(platform: Platform, login: tuple[bytes, bytes], folder: bytes) -> None:
    """As K-9 does: folders with their uses, uids by SEARCH, sizes first, small messages whole, large ones by part."""
    with opened(platform, login) as phone:
        listed = phone.ask(b'LIST "" "*" RETURN (SUBSCRIBED SPECIAL-USE STATUS (MESSAGES UNSEEN UIDNEXT UIDVALIDITY))')
        kinds = [line.split()[1] for line in listed[:-1]]
        assert kinds == [b"LIST", b"STATUS"] * (len(kinds) // 2)
        assert len(kinds) >= 14
        phone.ask(b'SELECT "%b"' % folder)
        assert phone.ask(b"UID SEARCH 1:5 NOT DELETED")[0] == b"* SEARCH 1 2 3 4 5"
        assert phone.ask(b"UID SEARCH RETURN (COUNT) SINCE 1-Nov-2020 UNSEEN")[0].endswith(b"UID COUNT 5")
        sizes = phone.ask(
            b"UID FETCH 1,3,5 (UID FLAGS INTERNALDATE RFC822.SIZE BODY.PEEK[HEADER.FIELDS (date subject from "
            b"content-type to cc reply-to message-id references in-reply-to sender X-K9mail-Identity)])"
        )
        assert len(sizes) == 4
        parts = phone.ask(b"UID FETCH 3 (UID BODYSTRUCTURE BODY.PEEK[1.MIME] BODY.PEEK[1]<0.5120>)")[0]
        assert MESSAGE.partition(b"\r\n\r\n")[2] in parts
        assert phone.ask(b"UID FETCH 3 (UID BODY.PEEK[])")[0].endswith(b"%b)" % MESSAGE)
        moved = phone.ask(b'UID MOVE 1,3 "Archive"')
        assert [line for line in moved if line.endswith(b"EXPUNGE")] == [b"* 3 EXPUNGE", b"* 1 EXPUNGE"]
        phone.ask(b"UNSELECT")
