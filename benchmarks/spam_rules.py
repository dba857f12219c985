"""What rules of an administrator cost: 210 of them (header, body, uri, meta, look-behind) on every message of a folder.

.venv/bin/python benchmarks/spam_rules.py FOLDER    (or a .tar.xz; messages are files)
"""

import argparse
import random
import statistics
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path

from postbus.mime.scanner import scan_message
from postbus.spam.rules.compiling import compile_rules
from postbus.spam.rules.running import RuleRunner
from postbus.spam.rules.sources import RuleSource

WORDS = (
    *("discount", "pharmacy", "winner", "casino", "viagra", "invoice", "payment", "urgent", "account", "verify"),
    *("click", "free", "offer", "limited", "crypto", "bitcoin", "lottery", "prize", "loan"),
)
RULES = 200
SLOW_RULES = 10


def make_rules() -> str:
    """A fifth each of header and uri rules and of expressions, the rest looks at the body."""
    chosen = random.Random(1)
    lines = []
    for number in range(RULES):
        first, second = chosen.sample(WORDS, 2)
        lines.append(
            (
                rf"header R{number} Subject =~ /\b{first}\b.{{0,20}}\b{second}\b/i",
                rf"body R{number} /\b{first}\b.{{0,40}}\b{second}\b/i",
                rf"body R{number} /\b{second}\b.{{0,40}}\b{first}\b/i",
                rf"uri R{number} m{{^https?://[^/]*{first}}}i",
                f"meta R{number} R{number - 1} && R{number - 2}",
            )[number % 5]
        )
    lines += [rf"body S{number} /(?<!no ){WORDS[number]} now/i" for number in range(SLOW_RULES)]
    return "\n".join(lines)


def read_messages(path: Path) -> Iterator[bytes]:
    """Every file."""
    if path.is_dir():
        yield from (each.read_bytes() for each in sorted(path.rglob("*")) if each.is_file())
        return
    with tarfile.open(path) as archive:
        for member in archive:
            file = archive.extractfile(member) if member.isfile() else None
            if file is not None:
                yield file.read()


def main() -> None:
    """Compiles once, then runs all rules on each message."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="messages")
    folder = parser.parse_args().folder
    started = time.perf_counter()
    rules, found = compile_rules(make_rules())
    assert not found
    print(f"{len(rules.rules)} rules compiled in {(time.perf_counter() - started) * 1000:.0f} ms")
    runner = RuleRunner(rules)
    times, octets = [], 0
    for content in read_messages(folder):
        scan = scan_message(content)
        octets += len(content)
        started = time.perf_counter()
        runner.run(RuleSource(content, scan, ""), {})
        times.append((time.perf_counter() - started) * 1000)
    times.sort()
    print(
        f"{len(times)} messages of {octets // len(times)} octets: mean {statistics.mean(times):.2f} ms, "
        f"median {statistics.median(times):.2f}, p99 {times[int(len(times) * 0.99)]:.2f}, at most {times[-1]:.1f}; "
        f"off: {sorted(runner.disabled) or 'none'}"
    )


if __name__ == "__main__":
    main()
