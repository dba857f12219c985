"""Mail that goes on while an installation is broken: senders that retry as real MTAs do and note what was promised.

A sender offers each message until it is answered by 250, over one connection while that lasts. Where the answer got
lost the message may have been owned all the same; its repetition is another message then (RFC 5321 §6.1), so that
everything is counted by queue_id.
"""

import contextlib
import re
import smtplib
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator, Sequence

import msgspec

from postbus.testing.installation import Platform
from postbus.testing.probes import HEAL_SECONDS, logged_in, wait_ready
from postbus.testing.sink import Sink

PAUSE_SECONDS = 0.05
RETRY_SECONDS = 0.2
TIMEOUT_SECONDS = 75.0
"""smtp-edge tries for a minute to own a message."""
LAST_SECONDS = 90.0
"""How long a sender may take for its last message."""
QUEUE_ID = re.compile(rb"\bid ([0-9A-HJKMNP-TV-Z]{26})\b")
TEMPORARY = frozenset({421, 451, 452, 454})
"""What a client may hear while something is broken; 454: AUTH (RFC 4954 §6)."""


class Road(msgspec.Struct, frozen=True, kw_only=True):
    """Where a sender's messages go."""

    recipient: str
    owner: int | None = None
    """The mailbox that submits; None: from outside, on port 25."""


class Sender(threading.Thread):
    """One message after the other."""

    def __init__(self, platform: Platform, road: Road) -> None:
        super().__init__(name=f"sender {road}")
        self._platform = platform
        self._road = road
        self._ending = threading.Event()
        self._client: smtplib.SMTP | None = None
        self.owned: set[str] = set()
        """queue_ids that were answered by 250."""
        self.refused: list[str] = []
        """Replies of 400 and above."""
        self.unfinished = False

    def end(self) -> None:
        """After the message in hand."""
        self._ending.set()

    def run(self) -> None:
        """Until `end`."""
        while not self._ending.is_set():
            self._offer(f"{uuid.uuid4()}@traffic.example")
            self._ending.wait(PAUSE_SECONDS)
        self._hang_up()

    def _offer(self, message_id: str) -> None:
        last = 0.0
        while True:
            try:
                reply = self._transact(message_id)
            except smtplib.SMTPResponseException as error:
                reply = f"{error.smtp_code} {error.smtp_error!r}"
            except (smtplib.SMTPException, OSError):
                reply = ""
            if reply.startswith("250"):
                self.owned.add(reply.split()[-1])
                return
            if reply:
                self.refused.append(reply)
            self._hang_up()
            if self._ending.is_set():
                last = last or time.monotonic() + LAST_SECONDS
                if time.monotonic() > last:
                    self.unfinished = True
                    return
            time.sleep(RETRY_SECONDS)

    def _transact(self, message_id: str) -> str:
        """The first reply that is no yes, or the last one."""
        client = self._client or self._connect()
        sender = self._platform.mailboxes[self._road.owner][0] if self._road.owner is not None else "ann@example.net"
        for verb, argument in (("MAIL", f"FROM:<{sender}>"), ("RCPT", f"TO:<{self._road.recipient}>")):
            code, text = client.docmd(verb, argument)
            if code >= 400:
                return f"{code} {text.decode()}"
        content = f"From: {sender}\r\nMessage-ID: <{message_id}>\r\nSubject: traffic\r\n\r\nHello.\r\n"
        code, text = client.data(content)
        return f"{code} {text.decode()}"

    def _connect(self) -> smtplib.SMTP:
        platform, host, name = self._platform, self._platform.host, "client.example.net"
        if self._road.owner is None:
            self._client = smtplib.SMTP(host, platform.port("smtp"), name, TIMEOUT_SECONDS)
            self._client.ehlo()
            return self._client
        port = platform.port("submissions")
        self._client = smtplib.SMTP_SSL(host, port, name, context=platform.tls(), timeout=TIMEOUT_SECONDS)
        self._client.login(*platform.mailboxes[self._road.owner])
        return self._client

    def _hang_up(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            client.close()


class Traffic:
    """All senders."""

    def __init__(self, platform: Platform, roads: Sequence[Road]) -> None:
        self._platform = platform
        self._senders = [(road, Sender(platform, road)) for road in roads]

    def owned(self, recipient: str) -> set[str]:
        """queue_ids that were promised to a recipient."""
        return set().union(*(sender.owned for road, sender in self._senders if road.recipient == recipient))

    @property
    def count(self) -> int:
        """Of all promises."""
        return sum(len(sender.owned) for _, sender in self._senders)

    @contextlib.contextmanager
    def flowing(self) -> Iterator[None]:
        """While the block runs; each sender then finishes what it has in hand."""
        for _, sender in self._senders:
            sender.start()
        try:
            yield
        finally:
            for _, sender in self._senders:
                sender.end()
            for _, sender in self._senders:
                sender.join()

    def wait_more(self, each: int = 3) -> None:
        """Until every sender has got so many more promises."""
        wanted = [(sender, len(sender.owned) + each) for _, sender in self._senders]
        deadline = time.monotonic() + HEAL_SECONDS
        while any(len(sender.owned) < number for sender, number in wanted):
            assert time.monotonic() < deadline, [sender.refused[-2:] for sender, _ in wanted]
            time.sleep(0.02)

    def assert_only_delayed(self) -> None:
        """Nobody was refused for good, and everybody got through in the end (promise 4)."""
        replies = [reply for _, sender in self._senders for reply in sender.refused]
        assert [reply for reply in replies if int(reply[:3]) not in TEMPORARY] == []
        assert not [road for road, sender in self._senders if sender.unfinished], replies[-3:]


def stored_ids(platform: Platform, owner: int) -> Counter[str]:
    """queue_ids of all messages in a mailbox, by their Received field."""
    found: Counter[str] = Counter()
    with logged_in(platform, owner) as session:
        for folder in ("INBOX", "Spam"):
            assert session.select(folder, readonly=True)[0] == "OK"
            kind, data = session.uid("FETCH", "1:*", "(BODY.PEEK[HEADER.FIELDS (RECEIVED)])")
            assert kind == "OK"
            texts = [bytes(item[1]) for item in data if isinstance(item, tuple)]
            found.update(match[1].decode() for text in texts if (match := QUEUE_ID.search(text)) is not None)
    return found


def assert_stored_once(platform: Platform, wanted: set[str], owner: int, seconds: float = HEAL_SECONDS) -> None:
    """Each that is wanted is there, and nothing is there twice."""
    wait_ready(platform)
    deadline = time.monotonic() + seconds
    while not wanted <= set(found := stored_ids(platform, owner)) and time.monotonic() < deadline:
        time.sleep(0.3)
    assert wanted - set(found) == set(), "lost"
    assert {name: count for name, count in found.items() if count > 1} == {}, "doubled"


def assert_sent(sink: Sink, wanted: set[str], doubles: int, seconds: float = HEAL_SECONDS) -> None:
    """Each that is wanted has come to the remote, at most `doubles` of them twice."""
    deadline = time.monotonic() + seconds
    while not wanted <= set(sink.queue_ids) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert wanted - set(sink.queue_ids) == set(), "lost"
    again = {name: count for name, count in sink.queue_ids.items() if count > 1}
    assert max(again.values(), default=2) == 2, again
    assert len(again) <= doubles, again
