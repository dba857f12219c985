"""Submission to another host through a whole installation: `python benchmarks/outbound.py [--messages N] [...]`.

Authenticated sessions submit messages for `--recipients` addresses each, spread over `--domains` domains that have one
MX, a mail server in this process. Prints one JSON object: copies a second from the first submission until the last copy
has come, milliseconds of the first attempt of a lone message, and CPU seconds per 1,000 copies by part of the
installation (without the mail server outside).
"""

import argparse
import json
import os
import smtplib
import threading
import time
from collections import Counter
from pathlib import Path

from postbus.testing.dns_server import running_dns
from postbus.testing.installation import Platform, short_folder, start_platform
from postbus.testing.sink import Sink, running_sink

SESSIONS = 4
LONE_MESSAGES = 20
ARRIVAL_SECONDS = 600.0
TICKS = os.sysconf("SC_CLK_TCK")


def cpu_milliseconds(data_dir: Path) -> Counter[str]:
    """By part: Postgres, NATS, and processes of services by their first one; those that run now."""
    parents: dict[int, tuple[int, str, int]] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            parents[int(folder.name)] = (int(fields[1]), command, (int(fields[11]) + int(fields[12])) * 1000 // TICKS)
    roots = {pid for pid, (_, command, _) in parents.items() if str(data_dir) in command and " up " in command}
    found: Counter[str] = Counter()
    for pid, (_, command, milliseconds) in parents.items():
        above = pid
        while above in parents and above not in roots:
            above = parents[above][0]
        if above in roots:
            found[_part_of(command)] += milliseconds
    return found


def _part_of(command: str) -> str:
    if "postgres" in command and "postbusd" not in command:
        return "postgres"
    if "nats-server" in command:
        return "nats"
    return command.partition(" run ")[2].strip().replace(" ", "+") or "supervisor"


def submit(platform: Platform, prefix: str, count: int, recipients: list[str]) -> None:
    """One session."""
    address, password = platform.mailboxes[0]
    port = platform.port("submissions")
    with smtplib.SMTP_SSL(platform.host, port, context=platform.tls(), timeout=120) as client:
        client.login(address, password)
        for number in range(count):
            head = (
                f"From: {address}\r\nTo: somebody@d0.example\r\nSubject: speed\r\nMessage-ID: <{prefix}{number}@b>\r\n"
            )
            client.sendmail(address, recipients, f"{head}\r\n{'A line of text.' * 4}\r\n" + "More text.\r\n" * 100)


def wait_copies(sink: Sink, wanted: int) -> None:
    """Until that many transactions have come."""
    deadline = time.monotonic() + ARRIVAL_SECONDS
    while sink.messages.total() < wanted:
        assert time.monotonic() < deadline, f"{sink.messages.total()} of {wanted} came"
        time.sleep(0.005)


def measure(platform: Platform, sink: Sink, messages: int, recipients: list[str], transactions: int) -> None:
    """Prints the figures."""
    lone: list[float] = []
    for number in range(LONE_MESSAGES):
        before, began = sink.messages.total(), time.monotonic()
        submit(platform, f"lone{number}-", 1, recipients[:1])
        wait_copies(sink, before + 1)
        lone.append(time.monotonic() - began)
    each = messages // SESSIONS
    threads = [
        threading.Thread(target=submit, args=(platform, f"s{number}-", each, recipients)) for number in range(SESSIONS)
    ]
    before, used, began = sink.messages.total(), cpu_milliseconds(platform.data_dir), time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    submitted = time.monotonic()
    wait_copies(sink, before + each * SESSIONS * transactions)
    ended = time.monotonic()
    copies = each * SESSIONS * len(recipients)
    spent = cpu_milliseconds(platform.data_dir) - used
    figures = {
        "messages": each * SESSIONS,
        "copies": copies,
        "transactions": each * SESSIONS * transactions,
        "submit_seconds": round(submitted - began, 2),
        "all_seconds": round(ended - began, 2),
        "copies_per_second": round(copies / (ended - began), 1),
        "lone_median_ms": round(sorted(lone)[len(lone) // 2] * 1000),
        "cpu_seconds_per_1000_copies": {part: round(used_ms / copies, 2) for part, used_ms in spent.most_common()},
    }
    print(json.dumps(figures))


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--messages", type=int, default=400)
    parser.add_argument("--recipients", type=int, default=5)
    parser.add_argument("--domains", type=int, default=5)
    options = parser.parse_args()
    with running_dns() as dns, running_sink() as sink, short_folder() as folder:
        for number in range(options.domains):
            dns.add(f"d{number}.example", "MX", "10 mx.example.")
        dns.add("mx.example", "A", "127.0.0.1")
        platform = start_platform(
            folder,
            "--resolver",
            f"127.0.0.1:{dns.port}",
            environment={
                "POSTBUS_DELIVERY_MX_PORT": str(sink.port),
                "POSTBUS_DELIVERY_EGRESS_ALLOW": "127.0.0.0/8",
            },
        )
        recipients = [f"u{number}@d{number % options.domains}.example" for number in range(options.recipients)]
        measure(platform, sink, options.messages, recipients, min(options.domains, options.recipients))


if __name__ == "__main__":
    main()
