"""Mail clients of the trial: smtplib and imaplib with verified TLS, and what must be found afterwards."""

import collections
import email.policy
import imaplib
import smtplib
import ssl
import threading
import time
from email.message import EmailMessage

from shell import TrialError
from stack import ADDRESS

IO_SECONDS = 60.0
ARRIVE_SECONDS = 90.0
STRANGER = "friend@elsewhere.example"


class Mailboxes:
    """Two mailboxes, what was accepted for each, and what they hold."""

    def __init__(self, ca_pem: str, imaps: int, passwords: dict[str, str]) -> None:
        self.tls = ssl.create_default_context(cadata=ca_pem)
        self._imaps = imaps
        self._passwords = passwords
        self._number = 0
        self.accepted: dict[str, set[str]] = {address: set() for address in passwords}
        """Words of the subjects of messages that were answered with 250."""
        self.offered: dict[str, set[str]] = {address: set() for address in passwords}
        """Words of those that got no answer: they may be there once, or not."""

    def send(self, port: int, recipient: str) -> None:
        """A message from outside on port 25, with STARTTLS. Raises TrialError when it is refused."""
        with smtplib.SMTP(ADDRESS, port, timeout=IO_SECONDS) as client:
            client.starttls(context=self.tls)
            self._hand_over(client, STRANGER, recipient)

    def submit(self, port: int, author: str, recipient: str, *, within_tls: bool) -> None:
        """A message from one of us, with login."""
        if within_tls:
            client: smtplib.SMTP = smtplib.SMTP_SSL(ADDRESS, port, timeout=IO_SECONDS, context=self.tls)
        else:
            client = smtplib.SMTP(ADDRESS, port, timeout=IO_SECONDS)
            client.starttls(context=self.tls)
        with client:
            client.login(author, self._passwords[author])
            self._hand_over(client, author, recipient)

    def _hand_over(self, client: smtplib.SMTP, author: str, recipient: str) -> None:
        word, message = self.make(author, recipient)
        self.offered[recipient].add(word)
        refused = client.send_message(message, author, [recipient])
        if refused:
            raise TrialError(f"{recipient} was refused: {refused}")
        self.accepted[recipient].add(word)

    def make(self, author: str, recipient: str) -> tuple[str, EmailMessage]:
        """A new message and the word that it is known by."""
        self._number += 1
        word = f"trial{self._number:05}x"
        message = EmailMessage()
        message["From"], message["To"], message["Subject"] = author, recipient, word
        message["Message-ID"] = f"<{word}@elsewhere.example>"
        message.set_content(f"The body of {word}.\n" + "Some more words to carry.\n" * (self._number % 50))
        return word, message

    def reader(self, address: str) -> imaplib.IMAP4_SSL:
        """A session with INBOX open."""
        client = imaplib.IMAP4_SSL(ADDRESS, self._imaps, ssl_context=self.tls, timeout=IO_SECONDS)
        client.login(address, self._passwords[address])
        client.select("INBOX", readonly=True)
        return client

    def read(self, address: str) -> collections.Counter[str]:
        """How often each word is in INBOX and in Spam; the bodies must be theirs. Raises TrialError."""
        found: collections.Counter[str] = collections.Counter()
        client = self.reader(address)
        try:
            for folder in ("INBOX", "Spam"):
                if client.select(folder, readonly=True)[0] == "OK":
                    found += self._read_folder(client)
        finally:
            client.logout()
        return found

    def _read_folder(self, client: imaplib.IMAP4_SSL) -> collections.Counter[str]:
        found: collections.Counter[str] = collections.Counter()
        _, parts = client.fetch("1:*", "(BODY.PEEK[])")
        for part in parts:
            if isinstance(part, tuple):
                message = email.message_from_bytes(part[1], policy=email.policy.default)
                word = str(message["Subject"])
                body = message.get_content()
                if f"The body of {word}." not in body:
                    raise TrialError(f"{word} has another body: {body[:80]!r}")
                found[word] += 1
        return found

    def expect_everything(self) -> int:
        """Waits until all that was accepted is there, each exactly once; how many there are. Raises TrialError."""
        deadline = time.monotonic() + ARRIVE_SECONDS
        for address, accepted in self.accepted.items():
            found = self.read(address)
            while accepted - set(found):
                if time.monotonic() > deadline:
                    raise TrialError(f"{address}: accepted, but not there: {sorted(accepted - set(found))[:10]}")
                time.sleep(1.0)
                found = self.read(address)
            twice = [word for word, times in found.items() if times > 1]
            strange = set(found) - self.offered[address]
            if twice or strange:
                raise TrialError(f"{address}: more than once: {twice[:10]}, never sent: {sorted(strange)[:10]}")
        return sum(map(len, self.accepted.values()))

    def expect_search(self, address: str) -> None:
        """Waits until a search for a body's word finds its message and no other. Raises TrialError."""
        word = min(self.accepted[address])
        deadline = time.monotonic() + ARRIVE_SECONDS
        while True:
            client = self.reader(address)
            try:
                found = client.search(None, "TEXT", word)[1][0].split()
            finally:
                client.logout()
            if len(found) == 1:
                return
            if time.monotonic() > deadline:
                raise TrialError(f"a search for {word} finds {len(found)} messages")
            time.sleep(1.0)


class Sender(threading.Thread):
    """Sends one message after the other until told to stop; refusals and broken connections are borne."""

    def __init__(self, mailboxes: Mailboxes, port: int, recipient: str) -> None:
        super().__init__(daemon=True)
        self._mailboxes, self._port, self._recipient = mailboxes, port, recipient
        self._ended = threading.Event()
        self.failures = 0

    def run(self) -> None:
        """Until `end`."""
        while not self._ended.is_set():
            try:
                self._mailboxes.send(self._port, self._recipient)
            except (OSError, smtplib.SMTPException):
                self.failures += 1
                self._ended.wait(0.2)

    def end(self) -> None:
        """Waits for the message under way."""
        self._ended.set()
        self.join(IO_SECONDS * 3)
