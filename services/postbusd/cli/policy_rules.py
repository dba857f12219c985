"""The spam rules of `postbus policy`."""

import sys

from postbus.spam.rules.compiling import compile_rules
from postbusd.cli.common import clean
from postbusd.cli.domain_server import read_text

MAX_SHOWN = 20


def read_rules(path: str) -> str:
    """The text of a file; lines that will be skipped are told. Faults are the API's to refuse."""
    text = read_text("--spam-rules", path) if path else ""
    warnings = [each for each in compile_rules(text)[1] if not each.fatal]
    for each in warnings[:MAX_SHOWN]:
        print(f"{path}: {clean(str(each))}", file=sys.stderr)
    if len(warnings) > MAX_SHOWN:
        print(f"{path}: and {len(warnings) - MAX_SHOWN} more", file=sys.stderr)
    return text


def format_rules(text: str) -> str:
    """How many there are; the text itself: `--json`."""
    rules, _ = compile_rules(text)
    return f"{len(rules.rules)}, {rules.shown} of them shown in X-Spam-Status" if rules.rules else "none"
