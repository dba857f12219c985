"""Runs a set of rules on one message."""

import time
from collections.abc import Callable, Mapping
from typing import Final

from postbus.spam.checks import Finding
from postbus.spam.rules.compiling import RuleSet
from postbus.spam.rules.expressions import evaluate
from postbus.spam.rules.patterns import PatternTimeoutError
from postbus.spam.rules.sources import RuleSource
from postbus.spam.rules.values import Rule, Target, Test

MAX_SECONDS: Final = 2.0
"""Of all rules on one message; the rest is left out."""
_FIELDS = (Target.HEADER, Target.MIMEHEADER)


class RuleRunner:
    """One set and what is known of it.

    `slow` is told the name of a rule that took too long and is off from then on, or an empty name where all took so.
    """

    def __init__(self, rules: RuleSet, slow: Callable[[str], None] = lambda name: None) -> None:
        self.rules = rules
        self.disabled: set[str] = set()
        self._slow = slow

    def run(self, source: RuleSource, known: Mapping[str, float]) -> list[Finding]:
        """The rules that match; `known` are the tests of ours that did, for expressions."""
        values = dict(known)
        found = []
        end = time.monotonic() + MAX_SECONDS
        for rule in self.rules.rules:
            if time.monotonic() > end:
                self._slow("")
                break
            if rule.name in self.disabled:
                continue
            hits = self._hits(rule, source, values)
            if hits:
                values[rule.name] = hits
                if not rule.is_hidden and rule.score:
                    found.append(Finding(rule.name, rule.description, rule.score))
        return found

    def _hits(self, rule: Rule, source: RuleSource, values: Mapping[str, float]) -> float:
        if rule.expression is not None:
            return evaluate(rule.expression, values)
        assert rule.test is not None
        try:
            return _count(rule.test, source, rule.multiple)
        except PatternTimeoutError:
            self.disabled.add(rule.name)
            self._slow(rule.name)
            return 0.0


def _count(test: Test, source: RuleSource, most: int) -> int:
    if test.target not in _FIELDS:
        assert test.pattern is not None
        return test.pattern.count(source.text(test.target), most)
    value = source.value(test.target, test.field, test.form)
    if test.pattern is None:
        return int(value is not None)
    hits = test.pattern.count(value if value is not None else test.if_unset.encode(), most)
    return int(not hits) if test.negated else hits
