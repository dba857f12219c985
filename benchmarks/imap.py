"""IMAP on a folder of 10,000 messages: `python benchmarks/imap.py [--messages N] [--rounds N] [--json FILE]`.

Milliseconds until the tagged answer over TLS, the first time (nothing in memory) and the median of the rounds, with the
server's CPU; APPEND a second; milliseconds from the OK of an APPEND to EXISTS in another session's IDLE.
"""

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rig import report
from rig.imap import WINDOW, Imap
from rig.installation import Rig, running_rig
from rig.mail import RARE_AUTHOR, RARE_WORD
from rig.usage import total

FOLDER = "Bench"
APPENDS = 300
NOTICES = 15
NOTICE_PAUSES = (0.2, 0.5, 0.9)
"""They vary, so that polling or batching does not fall in step."""


class Bench:
    """One mailbox."""

    def __init__(self, rig: Rig, messages: int, rounds: int) -> None:
        self._rig = rig
        self._rounds = rounds
        self._messages = messages
        self._imap = Imap(rig.platform, rig.mailboxes[0])
        self._tests: dict[str, dict[str, Any]] = {}

    def run(self) -> dict[str, Any]:
        self._fill()
        memory = self._rig.parts.pss_mib()
        self._imap = Imap(self._rig.platform, self._rig.mailboxes[0])
        assert self._select() == self._messages
        self._fetches()
        self._searches()
        self._changes()
        self._appends()
        self._notices()
        self._imap.close()
        after = self._rig.parts.pss_mib()
        return {
            "messages": self._messages,
            "tests": self._tests,
            "pss_mib_filled": {"all": total(memory), **memory},
            "pss_mib_after": {"all": total(after), **after},
        }

    def _fill(self) -> None:
        """The index has come after when a search for the last message finds it."""
        post, owner = self._rig.post, self._rig.mailboxes[0]
        self._imap.command(f"CREATE {FOLDER}")
        began = time.perf_counter()
        for at in range(0, self._messages, 500):
            count = min(500, self._messages - at)
            self._imap.append(FOLDER, [mail.content for mail in post.to([owner], count)], WINDOW)
            print(f"imap: {at + count} of {self._messages} appended", file=sys.stderr, flush=True)
        self._tests["fill"] = {"per_s": round(self._messages / (time.perf_counter() - began))}
        self._imap.close()

    def _select(self) -> int:
        return self._imap.select(FOLDER)

    def _time(self, name: str, text: str, *, undo: Callable[[], None] | None = None) -> None:
        seconds, cpu = [], self._cpu()
        for _ in range(self._rounds):
            seconds.append(self._imap.timed(text))
            if undo:
                undo()
        self._note(name, seconds, None if undo else self._cpu() - cpu)

    def _note(self, name: str, seconds: list[float], cpu: float | None) -> None:
        self._tests[name] = {"first_ms": round(seconds[0] * 1000, 1), "median_ms": report.median_ms(seconds)}
        if cpu is not None:
            self._tests[name]["cpu_ms"] = round(cpu * 1000 / len(seconds), 1)

    def _cpu(self) -> float:
        return sum(self._rig.parts.cpu_seconds().values())

    def _fetches(self) -> None:
        last, step = self._messages, max(1, self._messages // 200)
        some = ",".join(str(number) for number in range(1, last + 1, step))
        self._time("fetch_flags_all", "FETCH 1:* (FLAGS)")
        self._time("fetch_envelope_all", "FETCH 1:* (UID FLAGS INTERNALDATE RFC822.SIZE ENVELOPE)")
        self._time("fetch_window_50", f"FETCH {max(1, last - 49)}:{last} (UID FLAGS INTERNALDATE RFC822.SIZE ENVELOPE "
                   "BODYSTRUCTURE)")  # fmt: skip
        self._time("fetch_bodies_200", f"FETCH {some} (UID BODY.PEEK[])")

    def _searches(self) -> None:
        keys = {
            "search_body": f"BODY {RARE_WORD}",
            "search_body_none": "BODY zzqqnever",
            "search_text": f"TEXT {RARE_WORD}",
            "search_from": f'FROM "{RARE_AUTHOR}"',
            "search_since": "SENTSINCE 1-Jan-2026",
            "search_unseen": "UNSEEN",
        }
        for name, key in keys.items():
            self._time(name, f"SEARCH {key}")
            self._tests[name]["hits"] = len(self._imap.command(f"SEARCH {key}").split()) - 2

    def _changes(self) -> None:
        some = f"1:{min(1000, self._messages)}"
        self._time("store_1000", f"STORE {some} +FLAGS (\\Flagged)",
                   undo=lambda: self._quiet(f"STORE {some} -FLAGS.SILENT (\\Flagged)"))  # fmt: skip
        copies, moves = [], []
        for _ in range(self._rounds):
            self._imap.anew("BenchCopy")
            self._imap.anew("BenchMove")
            copies.append(self._imap.timed(f"COPY {some} BenchCopy"))
            self._imap.select("BenchCopy")
            moves.append(self._imap.timed("MOVE 1:* BenchMove"))
            self._select()
        self._note("copy_1000", copies, None)
        self._note("move_1000", moves, None)

    def _quiet(self, text: str) -> None:
        self._imap.command(text)

    def _appends(self) -> None:
        mails = [mail.content for mail in self._rig.post.to(self._rig.mailboxes[:1], APPENDS)]
        for name, window in (("append_one_by_one", 1), (f"append_pipelined_{WINDOW}", WINDOW)):
            self._imap.anew("BenchAppend")
            began, cpu = time.perf_counter(), self._cpu()
            self._imap.append("BenchAppend", mails, window)
            elapsed = time.perf_counter() - began
            self._tests[name] = {
                "per_s": round(APPENDS / elapsed),
                "cpu_ms": round((self._cpu() - cpu) * 1000 / APPENDS, 2),
            }

    def _notices(self) -> None:
        self._imap.anew("BenchIdle")
        other = Imap(self._rig.platform, self._rig.mailboxes[0])
        other.select("BenchIdle")
        tag = other.begin_idle()
        late = []
        for number, mail in enumerate(self._rig.post.to(self._rig.mailboxes[:1], NOTICES)):
            time.sleep(NOTICE_PAUSES[number % len(NOTICE_PAUSES)])
            self._imap.append("BenchIdle", [mail.content])
            replied = time.perf_counter()
            late.append(max(other.wait_exists() - replied, 0.0))
        other.end_idle(tag)
        other.close()
        self._tests["idle_notice"] = report.quantiles_ms(late)


def show(figures: dict[str, Any]) -> None:
    print(f"{figures['messages']} messages, memory {figures['pss_mib_filled']['all']} MiB PSS filled, "
          f"{figures['pss_mib_after']['all']} after")  # fmt: skip
    columns = ("first_ms", "median_ms", "cpu_ms", "per_s", "hits", "p50", "p95", "max")
    rows = [(name, *(test.get(column, "") for column in columns)) for name, test in figures["tests"].items()]
    print(report.table(("test", *columns), rows))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with running_rig(mailboxes=1) as rig:
        figures = Bench(rig, options.messages, options.rounds).run()
    show(figures)
    report.write_json(options.json, {"imap": figures})


if __name__ == "__main__":
    main()
