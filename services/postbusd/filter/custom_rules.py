"""The administrator's rules as this process runs them: compiled when the policy has others, the old ones till then."""

import asyncio
import logging

from postbus.contracts.policy import Policy
from postbus.spam.rules.compiling import RuleSet, compile_rules
from postbus.spam.rules.running import RuleRunner
from postbusd.filter.metrics import FilterMetrics

log = logging.getLogger(__name__)


class CustomRules:
    """`runner` is what holds now."""

    def __init__(self, metrics: FilterMetrics) -> None:
        self._metrics = metrics
        self._wanted = ""
        self.text = ""
        """What was compiled last, whether or not it holds."""
        self._due = asyncio.Event()
        self.runner = self._make(RuleSet())

    def set(self, policy: Policy) -> None:
        """The policy is another."""
        self._wanted = policy.spam_rules
        if self._wanted != self.text:
            self._due.set()

    async def run(self) -> None:
        """Compiles, for ever."""
        while True:
            await self._due.wait()
            self._due.clear()
            await self.compile()

    async def compile(self) -> None:
        """What is wanted now, in a thread: thousands of patterns take seconds."""
        text = self._wanted
        rules, found = await asyncio.to_thread(compile_rules, text)
        fault = next((each for each in found if each.fatal), None)
        if fault is not None:  # of a directory of another version
            log.error("filter.rules.faulty", extra={"reason": str(fault)})
        else:
            self.runner = self._make(rules)
            log.info("filter.rules.changed", extra={"rules": len(rules.rules)})
        self.text = text

    def _make(self, rules: RuleSet) -> RuleRunner:
        self._metrics.rules.set(len(rules.rules))
        self._metrics.rules_disabled.set(0)
        return RuleRunner(rules, self._note_slow)

    def _note_slow(self, name: str) -> None:
        """Off until the rules are changed."""
        if not name:
            log.warning("filter.rules.unfinished", extra={"reason": "all rules together took too long for a message"})
            return
        self._metrics.rules_disabled.inc()
        log.error("filter.rule.disabled", extra={"rule": name, "reason": "it took too long"})
