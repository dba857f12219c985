"""The shell of `postbus.dmarc`: asks the DNS what the evaluator wants to know, until it has an evaluation."""

import asyncio
from collections.abc import Sequence

from postbus.core.errors import ErrorKind, MailError
from postbus.dmarc.evaluate import Answer, Evaluation, Identifier, Mechanism, Message, Question, Result, evaluate
from postbus.runtime.dns import DnsStatus, RecordType, Resolver
from postbusd.filter.dkim import DkimOutcome, DkimResult
from postbusd.filter.spf import SpfOutcome, SpfResult


class DmarcChecker:
    """Evaluates one message; names are asked side by side."""

    def __init__(self, resolver: Resolver) -> None:
        self._resolver = resolver

    async def prefetch(self, author_domain: str, deadline: float) -> dict[Question, Answer]:
        """The first question of every evaluation, asked while SPF and DKIM are still at work."""
        if not author_domain:
            return {}
        question = Question(f"_dmarc.{author_domain}", RecordType.TXT.value)
        try:
            async with asyncio.timeout_at(deadline):
                return {question: await self._ask(question)}
        except TimeoutError:
            return {question: Answer(failed=True)}

    async def evaluate(self, message: Message, answers: dict[Question, Answer], deadline: float) -> Evaluation:
        """The evaluation; TEMPERROR at `deadline` (of the loop's clock). Never raises MailError."""
        try:
            async with asyncio.timeout_at(deadline):
                while True:
                    outcome = evaluate(message, answers)
                    if isinstance(outcome, Evaluation):
                        return outcome
                    async with asyncio.TaskGroup() as group:
                        tasks = {question: group.create_task(self._ask(question)) for question in outcome.questions}
                    answers |= {question: task.result() for question, task in tasks.items()}
        except TimeoutError:
            return Evaluation(result=Result.TEMPERROR, detail="no answer in time")

    async def _ask(self, question: Question) -> Answer:
        try:
            answer = await self._resolver.resolve(question.name, RecordType(question.record_type))
        except MailError as error:
            return Answer(nonexistent=True) if error.kind is ErrorKind.INVALID else Answer(failed=True)
        return Answer(texts=answer.texts(), nonexistent=answer.status is DnsStatus.NXDOMAIN)


def list_identifiers(spf: SpfOutcome, dkim: Sequence[DkimOutcome]) -> tuple[Identifier, ...]:
    """The domains that stand behind a message, and those whose check could not be finished."""
    found: list[Identifier] = []
    if spf.domain and spf.result in {SpfResult.PASS, SpfResult.TEMPERROR}:
        found.append(Identifier(Mechanism.SPF, spf.domain, spf.result is SpfResult.TEMPERROR))
    found.extend(
        Identifier(Mechanism.DKIM, outcome.domain, outcome.result is DkimResult.TEMPERROR)
        for outcome in dkim
        if outcome.domain and outcome.result in {DkimResult.PASS, DkimResult.TEMPERROR}
    )
    return tuple(found)
