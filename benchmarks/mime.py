"""Rates of the MIME scanner, its codec and the text extractor, in messages per CPU-second.

Run: `PYTHONPATH=libs:services python benchmarks/mime.py [SECONDS]`. With the argument `index` it measures the index
instead: documents per second, size on disk, memory before, after and at rest, time of searches.

Messages are made here: a list mail of 4 KB with twenty header fields, a newsletter of 100 KB (multipart/alternative),
a 10 MB attachment, and hostile ones of 1 MB.
"""

import asyncio
import base64
import functools
import random
import sys
import tempfile
import time
import uuid
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from postbus.contracts.indexer import TextField, TextTerm
from postbus.core.ids import BlobId, EmailId, MailboxId, ThreadId
from postbus.mailstore.values import PendingIndex, StoredMessage
from postbus.mime.codec import decode_scan, encode_scan
from postbus.mime.scanner import scan_message
from postbus.mime.text import extract_text

if TYPE_CHECKING:
    from postbusd.indexer.values import IndexDocument

_MAILBOX = MailboxId("0190a000-0000-7000-8000-000000000001")
_HEADER = b"""Return-Path: <list-bounces@lists.example>\r
Received: from mx.lists.example (mx.lists.example [203.0.113.5])\r
\tby mail.demo.example (Postbus) with ESMTPS id 01ARZ3NDEKTSV4RRFFQ69G5FAV\r
\tfor <user@demo.example>; Fri, 20 Nov 2026 10:11:12 +0000\r
Received: from [192.0.2.7] (client.example [192.0.2.7])\r
\tby mx.lists.example with ESMTPSA id 4F1A2B3C; Fri, 20 Nov 2026 11:11:10 +0100\r
DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed; d=lists.example; s=s1;\r
\th=from:to:subject:date:message-id; bh=frcCV1k9oG9oKj3dpUqdJg1PxRT2RSN/XKdLCPjaYaY=;\r
\tb=dzdVyOfAKCdLXdJOc9G2q8LoXSlEniSbav+yuU4zGeeruD00lszZVoG4ZHRNiYzR\r
Authentication-Results: mail.demo.example; spf=pass smtp.mailfrom=lists.example; dkim=pass header.d=lists.example\r
Date: Fri, 20 Nov 2026 11:11:09 +0100\r
From: =?utf-8?q?J=C3=BCrgen_M=C3=BCller?= <juergen@partner.example>\r
To: "Doe, Jane" <jane@demo.example>, list@lists.example\r
Cc: Bob <bob@demo.example>, Carol Example <carol@demo.example>\r
Reply-To: list@lists.example\r
Subject: Re: [list] Minutes of the meeting\r
Message-ID: <20261120111109.ABCDEF@partner.example>\r
In-Reply-To: <1234@demo.example>\r
References: <0001@demo.example> <1234@demo.example>\r
MIME-Version: 1.0\r
User-Agent: Mailer/5.1\r
List-Id: The list <list.lists.example>\r
List-Unsubscribe: <mailto:leave@lists.example>\r
Precedence: list\r
"""


@functools.cache
def _vocabulary() -> list[bytes]:
    chooser = random.Random(0)
    return [bytes(chooser.choices(b"abcdefghijklmnopqrstuvwxyz", k=chooser.randint(2, 9))) for _ in range(20_000)]


def _text(octets: int, seed: int) -> bytes:
    words = _vocabulary()
    chooser = random.Random(seed)
    lines: list[bytes] = []
    size = 0
    while size < octets:
        line = b" ".join(chooser.choices(words, k=11))
        lines.append(line)
        size += len(line) + 2
    return b"\r\n".join(lines)[:octets] + b"\r\n"


def _plain(octets: int, seed: int = 1) -> bytes:
    head = _HEADER + b"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
    return head + _text(octets - len(head), seed)


def _newsletter(octets: int) -> bytes:
    head = _HEADER + b'Content-Type: multipart/alternative; boundary="=_b1"\r\n\r\n'
    plain = b"--=_b1\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n" + _text(octets // 4, 2)
    markup = _text(octets // 2, 3).replace(b"\r\n", b"</td></tr>\r\n<tr class=x><td style='a:b'>")
    html = b"--=_b1\r\nContent-Type: text/html; charset=utf-8\r\n\r\n<html><body><table>" + markup
    return head + plain + html + b"</table></body></html>\r\n--=_b1--\r\n"


def _attachment(octets: int) -> bytes:
    head = _HEADER + b'Content-Type: multipart/mixed; boundary="=_b2"\r\n\r\n--=_b2\r\n\r\nSee the file.\r\n'
    file = b'--=_b2\r\nContent-Type: application/pdf; name="a.pdf"\r\nContent-Transfer-Encoding: base64\r\n\r\n'
    return head + file + base64.encodebytes(bytes(octets * 3 // 4)) + b"--=_b2--\r\n"


def _hostile() -> dict[str, bytes]:
    size = 1024 * 1024
    nested = b"".join(b"Content-Type: multipart/mixed; boundary=b%d\n\n--b%d\n" % (n, n) for n in range(5_000))
    inner = b"Content-Type: message/rfc822\n\n" * 5_000
    return {
        "1 MB header field": b"Subject: " + b"a\r\n b" * (size // 5) + b"\r\n\r\n",
        "1 MB of quotes in To": b"To: " + b'"\\' * (size // 2) + b"\n\n",
        "1 MB of open comments": b"To: " + b"(" * size + b"\n\n",
        "1 MB of colons": b":\n" * (size // 2),
        "10,000 parts": b"Content-Type: multipart/mixed; boundary=b\n\n" + b"--b\n\nx\n" * 10_000,
        "false delimiters": b"Content-Type: multipart/mixed; boundary=b\n\n" + b"--bb\n" * (size // 5),
        "5,000 nested multiparts": nested,
        "5,000 nested messages": inner,
        "half-open tags": b"Content-Type: text/html\n\n" + b"<a " * (size // 3),
    }


def _rate(name: str, size: int, seconds: float, work: Callable[[], object]) -> None:
    work()
    count = 0
    started = time.process_time()
    while (spent := time.process_time() - started) < seconds:
        for _ in range(10):
            work()
        count += 10
    print(
        f"{name:34} {count / spent:12,.0f} /CPU-s {spent / count * 1e6:12,.1f} µs "
        f"{size * count / spent / 1e6:8,.0f} MB/s"
    )


def _pss_octets() -> int:
    for line in Path("/proc/self/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    return 0


def _documents(count: int) -> list["IndexDocument"]:
    from postbusd.indexer.extract import _document

    messages = [_plain(4096, number + 10).replace(b"Minutes", b"Minutes %d" % number) for number in range(count)]
    found = []
    started = time.process_time()
    for number in range(count):
        message = messages[number]
        stored = StoredMessage(
            email_id=EmailId(str(uuid.uuid4())),
            blob_id=BlobId("20261122-" + "0" * 64),
            prefix=b"",
            octets=len(message),
            internal_date_ms=0,
            structure=b"",
            thread_id=ThreadId(""),
            preview="",
        )
        row = PendingIndex(mailbox_id=_MAILBOX, email_id=stored.email_id, enqueued_ms=0, attempt=0, message=stored)
        found.append(_document(row, extract_text(message, scan_message(message))))
    spent = time.process_time() - started
    print(f"scan, text and folding     {count / spent:10,.0f} messages/CPU-s")
    return found


def _folder_octets(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


async def _measure_index() -> None:
    from postbusd.indexer.adapters.tantivy import TantivyIndex
    from postbusd.indexer.analysis import read_term

    documents = _documents(2_000)
    with tempfile.TemporaryDirectory() as folder:
        before = _pss_octets()
        index = TantivyIndex(Path(folder), 15_000_000)
        opened = _pss_octets()
        started, clock = time.process_time(), time.monotonic()
        for at in range(0, len(documents), 200):
            await index.apply(documents[at : at + 200], [])
        spent, passed = time.process_time() - started, time.monotonic() - clock
        print(
            f"batches of 200             {len(documents) / spent:10,.0f} documents/CPU-s "
            f"{len(documents) / passed:8,.0f}/s"
        )
        written = _pss_octets()
        await index.rest()
        rested = _pss_octets()
        size = _folder_octets(Path(folder))
        print(f"on disk                    {size / len(documents):10,.0f} octets a document")
        for name, octets in (("opened", opened), ("after writing", written), ("at rest", rested)):
            print(f"memory {name:20}{(octets - before) / 1e6:10.1f} MB above the start ({before / 1e6:.1f} MB)")
        started = time.monotonic()
        await index.apply(documents[:1], [])
        print(f"commit of one              {(time.monotonic() - started) * 1e3:10.1f} ms")
        for value in ("minutes 7", "of the meeting", "jane@demo.example", "a"):
            phrase = read_term(TextTerm(field=TextField.TEXT, value=value), index.cut_words)
            started = time.monotonic()
            for _ in range(20):
                [hits] = await index.search([_MAILBOX], [phrase])
            print(f"search {value:24}{(time.monotonic() - started) / 20 * 1e3:7.2f} ms {len(hits) // 16:6} hits")
        await index.close()


def main() -> None:
    """Prints one line a case."""
    if sys.argv[1:] == ["index"]:
        asyncio.run(_measure_index())
        return
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 2.0
    for name, message in (
        ("4 KB", _plain(4096)),
        ("100 KB", _plain(100 * 1024)),
        ("100 KB alternative", _newsletter(100 * 1024)),
        ("10 MB attachment", _attachment(10 * 1024 * 1024)),
    ):
        scan = scan_message(message)
        packed = encode_scan(scan)
        _rate(f"scan {name}", len(message), seconds, partial(scan_message, message))
        _rate(f"text {name}", len(message), seconds, partial(extract_text, message, scan))
        _rate(f"encode {name} ({len(packed)} octets)", len(packed), seconds / 4, partial(encode_scan, scan))
        _rate(f"decode {name}", len(packed), seconds / 4, partial(decode_scan, packed))
    for name, message in _hostile().items():
        started = time.process_time()
        scan = scan_message(message)
        middle = time.process_time()
        extract_text(message, scan)
        ended = time.process_time()
        print(
            f"{name:34} {(middle - started) * 1e3:10,.1f} ms scan {(ended - middle) * 1e3:10,.1f} ms text "
            f"{list(scan.defects)}"
        )


if __name__ == "__main__":
    main()
