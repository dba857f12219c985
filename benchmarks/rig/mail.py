"""Signed mail of an outside host: each message with its own text, Message-ID and number, so nothing is short-cut."""

import base64
import itertools
import random
import re
import time
from collections.abc import Iterator, Sequence
from email.utils import formatdate

import msgspec
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from postbus.contracts.dns_provisioner import DkimAlgorithm
from postbus.dkim.sign import SigningKey, sign_message
from postbus.testing.dns_server import LoopbackDns

SENDER = "sender.example"
SELECTOR = "bench"
NUMBER_FIELD = "X-Bench-Number"
NUMBER = re.compile(rb"(?i)x-bench-number: (\d+)")
RARE_WORD = "xylophone"
"""In one message of a hundred."""
RARE_AUTHOR = "Zora Quist"
"""Of one message of five hundred."""
DAY_SECONDS = 86_400


class Mail(msgspec.Struct, frozen=True, kw_only=True):
    """A message with its envelope; `content` has CRLF line ends and no final dot."""

    number: int
    reverse_path: str
    forward_path: str
    content: bytes


class Post:
    """Makes messages of about `octets`."""

    def __init__(self, octets: int = 4096, seed: int = 1) -> None:
        self._octets = octets
        self._chance = random.Random(seed)
        self._words = _vocabulary(random.Random(7))
        self._weights = list(itertools.accumulate(1 / (rank + 8) for rank in range(len(self._words))))
        self._key = generate_private_key(65537, 2048)
        self._signer = SigningKey(
            domain=SENDER, selector=SELECTOR, algorithm=DkimAlgorithm.RSA_SHA256, key=self._key
        )  # fmt: skip
        self._numbers = itertools.count(1)

    def publish(self, dns: LoopbackDns) -> None:
        """What the sender's domain says of itself: SPF for loopback, the DKIM key, a DMARC policy."""
        public = self._key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        text = f"v=DKIM1; k=rsa; p={base64.b64encode(public).decode()}"
        strings = " ".join(f'"{text[at : at + 200]}"' for at in range(0, len(text), 200))
        dns.add(SENDER, "TXT", '"v=spf1 ip4:127.0.0.0/8 -all"')
        dns.add(SENDER, "A", "203.0.113.5")
        dns.add(SENDER, "MX", f"10 mail.{SENDER}.")
        dns.add(f"mail.{SENDER}", "A", "203.0.113.5")
        dns.add(f"_dmarc.{SENDER}", "TXT", '"v=DMARC1; p=quarantine"')
        dns.add(f"{SELECTOR}._domainkey.{SENDER}", "TXT", strings)

    def to(self, recipients: Sequence[str], count: int) -> list[Mail]:
        """Messages to the recipients in turn."""
        return [self.make(recipients[number % len(recipients)]) for number in range(count)]

    def make(self, recipient: str) -> Mail:
        """One signed message."""
        number = next(self._numbers)
        author = RARE_AUTHOR if number % 500 == 0 else self._chance.choice(("Anna Berg", "Tom Hale", "Li Wei"))
        address = f"{author.split()[0].lower()}@{SENDER}"
        marks = f"Message {number}.\r\n" + (f"The {RARE_WORD} is here.\r\n" if number % 100 == 0 else "")
        head = "\r\n".join(
            (
                f"From: {author} <{address}>",
                f"To: <{recipient}>",
                f"Subject: {' '.join(self._chance.choices(self._words[:400], k=5)).capitalize()}",
                f"Date: {formatdate(time.time() - number % 1000 * DAY_SECONDS)}",
                f"Message-ID: <{number}.{self._chance.getrandbits(64):016x}@{SENDER}>",
                "MIME-Version: 1.0",
                "Content-Type: text/plain; charset=utf-8",
                f"{NUMBER_FIELD}: {number}",
            )
        )
        received = (
            f"Received: from client.{SENDER} (client.{SENDER} [203.0.113.{number % 250 + 1}])\r\n"
            f"\tby mail.{SENDER} (Postfix) with ESMTPS id {self._chance.getrandbits(40):010X}\r\n"
            f"\tfor <{recipient}>; {formatdate()}\r\n"
        )
        room = self._octets - len(head) - len(received) - len(marks) - 800  # the signature
        plain = f"{head}\r\n\r\n{marks}{self._prose(room)}".encode()
        signature = sign_message(plain, (self._signer,), int(time.time()))
        return Mail(
            number=number,
            reverse_path=address,
            forward_path=recipient,
            content=received.encode() + signature + plain,
        )

    def _prose(self, octets: int) -> str:
        return "\r\n".join(itertools.takewhile(_Room(octets).has, self._lines())) + "\r\n"

    def _lines(self) -> Iterator[str]:
        while True:
            words = self._chance.choices(self._words, cum_weights=self._weights, k=11)
            yield " ".join(words).capitalize() + "."


class _Room:
    """Counts lines until the octets are used up."""

    def __init__(self, octets: int) -> None:
        self._left = octets

    def has(self, line: str) -> bool:
        self._left -= len(line) + 2
        return self._left > 0


def _vocabulary(chance: random.Random) -> list[str]:
    """6,000 made-up words; the first are used most."""
    syllables = [first + rest for first in "bcdfghjklmnprstvz" for rest in ("a", "e", "i", "o", "u", "an", "er", "ol")]
    return ["".join(chance.choices(syllables, k=chance.randint(1, 4))) for _ in range(6000)]
