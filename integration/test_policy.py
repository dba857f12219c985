"""The policy of a running installation: services follow it without a restart."""

import imaplib
import smtplib
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from postbus.testing.installation import Platform, postbus, short_folder, start_platform
from postbus.testing.probes import submit

FOLLOW_SECONDS = 5.0
"""Asked for by the design: what is set holds everywhere within these."""
PATIENCE_SECONDS = 30.0
SENDER = "ann@example.net"


@pytest.fixture(scope="module")
def platform() -> Iterator[Platform]:
    with short_folder() as folder:
        yield start_platform(folder, "--workers", "separate")


@pytest.fixture
def set_policy(platform: Platform) -> Iterator[Callable[..., None]]:
    """Changes it; `back` is set afterwards."""
    undo: list[str] = []

    def change(*words: str, back: tuple[str, ...]) -> None:
        postbus("policy", "set", *words, "--data-dir", str(platform.data_dir))
        undo.extend(back)

    yield change
    if undo:
        postbus("policy", "set", *undo, "--data-dir", str(platform.data_dir))


def connect(platform: Platform) -> smtplib.SMTP:
    session = smtplib.SMTP(platform.host, platform.port("smtp"), "client.example.net", timeout=PATIENCE_SECONDS)
    session.ehlo()
    return session


def soon(found: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not found():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_the_largest_message_follows_without_a_restart(platform: Platform, set_policy: Callable[..., None]) -> None:
    with connect(platform) as before:
        assert before.esmtp_features["size"] == str(25 * 1024 * 1024)
        set_policy("--max-message", "100K", back=("--max-message", "25M"))

        def advertised() -> str:
            with connect(platform) as session:
                return session.esmtp_features["size"]

        soon(lambda: advertised() == "102400", FOLLOW_SECONDS)
        assert before.mail(SENDER, ["SIZE=200000"])[0] == 250  # what it was told holds to its end
    with connect(platform) as session:
        assert session.mail(SENDER, ["SIZE=200000"])[:1] == (552,)
        session.rset()
        session.mail(SENDER)
        session.rcpt(platform.mailboxes[0][0])
        assert session.data(b"Subject: x\r\n\r\n" + b"line\r\n" * 30_000)[0] == 552


def test_a_blocked_network_reaches_postmaster_only(platform: Platform, set_policy: Callable[..., None]) -> None:
    set_policy("--add-network", "127.0.0.0/8", back=())

    def reply() -> tuple[int, bytes]:
        with connect(platform) as session:
            session.mail(SENDER)
            return session.rcpt(platform.mailboxes[0][0])

    soon(lambda: reply()[0] == 550, FOLLOW_SECONDS)
    assert reply() == (550, b"5.7.1 127.0.0.1 is on our block list")
    with connect(platform) as session:
        session.mail(SENDER)
        assert session.rcpt("postmaster@demo.example")[0] == 250
    set_policy("--remove-network", "127.0.0.0/8", back=())
    soon(lambda: reply()[0] == 250, FOLLOW_SECONDS)


def test_blocked_senders_go_to_spam(platform: Platform, set_policy: Callable[..., None]) -> None:
    set_policy("--add-blocked", "example.net", back=("--remove-blocked", "example.net"))
    address, password = platform.mailboxes[0]
    sent: list[str] = []

    def in_spam() -> bool:
        sent.append(f"{len(sent)}@blocked")
        submit(platform, sent[-1], address)
        with imaplib.IMAP4_SSL(platform.host, platform.port("imaps"), ssl_context=platform.tls()) as session:
            session.login(address, password)
            session.select("Spam")
            found = session.search(None, "HEADER", "X-Spam-Status", "USER_IN_BLACKLIST")[1][0]
            return bool(found)

    soon(in_spam, PATIENCE_SECONDS)


RULES = r"""
header SUBJECT_HAS_DISCOUNT  Subject =~ /\bdiscount\b/i
describe SUBJECT_HAS_DISCOUNT    I hate email discounts
"""


def test_rules_of_the_administrator(platform: Platform, set_policy: Callable[..., None], tmp_path: Path) -> None:
    """The manual's two lines, then with a score."""
    rules = tmp_path / "rules.cf"
    rules.write_text(RULES)
    set_policy("--spam-rules", str(rules), back=("--spam-rules", ""))
    address, password = platform.mailboxes[0]
    sent = 0

    def offer() -> None:
        nonlocal sent
        sent += 1
        with connect(platform) as session:
            text = f"From: {SENDER}\r\nSubject: A Discount for you\r\nMessage-ID: <{sent}@offer>\r\n\r\nBuy.\r\n"
            session.sendmail(SENDER, [address], text)

    def found_in(folder: str) -> bool:
        offer()
        with imaplib.IMAP4_SSL(platform.host, platform.port("imaps"), ssl_context=platform.tls()) as session:
            session.login(address, password)
            session.select(folder)
            return bool(session.search(None, "HEADER", "X-Spam-Status", "SUBJECT_HAS_DISCOUNT")[1][0])

    soon(lambda: found_in("INBOX"), PATIENCE_SECONDS)
    rules.write_text(RULES + "score SUBJECT_HAS_DISCOUNT 9\n")
    set_policy("--spam-rules", str(rules), back=())
    soon(lambda: found_in("Spam"), PATIENCE_SECONDS)
    rules.write_text("body A /x")
    with pytest.raises(AssertionError, match="line 1: the closing / is missing"):
        set_policy("--spam-rules", str(rules), back=())


def test_a_mailbox_may_submit_as_much_as_the_policy_says(platform: Platform, set_policy: Callable[..., None]) -> None:
    set_policy("--messages-per-hour", "1", back=("--messages-per-hour", "2000"))
    address, password = platform.mailboxes[1]

    def refused() -> bool:
        with smtplib.SMTP_SSL(platform.host, platform.port("submissions"), context=platform.tls()) as session:
            session.login(address, password)
            return session.mail(address)[0] == 450

    soon(refused, FOLLOW_SECONDS)
