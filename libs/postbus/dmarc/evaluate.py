"""Does a message's author domain stand behind it, and if not, what does its owner ask for (RFC 9989 §5)?

Sans-I/O: `evaluate` takes what was authenticated and the DNS answers known so far, and returns an `Evaluation`, or the
questions whose answers it needs next (`Pending`). It holds no state: call it again with more answers. The questions of
tree walks come side by side: one round settles most messages, four settle each.
"""

import enum
from collections.abc import Mapping
from typing import Final

import msgspec

from postbus.dmarc.discovery import find_organizational_domain, find_policy_domain, list_walk_domains
from postbus.dmarc.record import Policy, Psd, Record, select_record

MAX_IDENTIFIERS: Final = 12
"""Authenticated domains looked at; each may cost a walk."""


class Question(msgspec.Struct, frozen=True):
    """A DNS question; `record_type` is TXT or A."""

    name: str
    record_type: str


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What the DNS said: TXT data, whether the name exists, or that no server answered."""

    texts: tuple[bytes, ...] = ()
    nonexistent: bool = False
    """NXDOMAIN (RFC 8020)."""
    failed: bool = False


class Result(enum.StrEnum):
    """RFC 8601 §2.7, RFC 9989: the results of method `dmarc`."""

    PASS = "pass"  # noqa: S105
    FAIL = "fail"
    NONE = "none"
    TEMPERROR = "temperror"
    PERMERROR = "permerror"


class Mechanism(enum.StrEnum):
    """What authenticated a domain."""

    SPF = "spf"
    DKIM = "dkim"


class Identifier(msgspec.Struct, frozen=True):
    """A domain that SPF (of the reverse_path) or a DKIM signature vouches for."""

    mechanism: Mechanism
    domain: str
    undetermined: bool = False
    """The check could not be finished: were the domain aligned, the message might have passed."""


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be judged; domains are lower-case A-labels."""

    author_domain: str
    """Empty: the From: field has no domain, or several."""
    identifiers: tuple[Identifier, ...] = ()
    sample: int = 0
    """0 to 99, evenly spread over messages: which ones `pct` takes."""


class Evaluation(msgspec.Struct, frozen=True, kw_only=True):
    """The result, what to do with the message, and why."""

    result: Result
    disposition: Policy = Policy.NONE
    """What the owner asks for this message; NONE unless the result is FAIL."""
    policy_domain: str = ""
    policy: Policy | None = None
    """As published for this author domain, before `t` and `pct`."""
    aligned: tuple[Identifier, ...] = ()
    detail: str = ""


class Pending(msgspec.Struct, frozen=True):
    """Questions to ask side by side."""

    questions: tuple[Question, ...]


Answers = Mapping[Question, Answer]


class _LookupFailedError(Exception):
    """A name of a walk got no answer."""


class _NeedAnswersError(Exception):
    """Answers are missing; the questions are the argument."""

    def __init__(self, questions: tuple[Question, ...]) -> None:
        super().__init__(questions)
        self.questions = questions


def evaluate(message: Message, answers: Answers) -> Evaluation | Pending:
    """The evaluation, or what to ask first."""
    if not message.author_domain:
        return Evaluation(result=Result.PERMERROR, detail="no single author domain")
    try:
        return _evaluate(message, answers)
    except _NeedAnswersError as need:
        return Pending(need.questions)
    except _LookupFailedError as failure:
        return Evaluation(result=Result.TEMPERROR, detail=f"no DNS answer for {failure}")


def _evaluate(message: Message, answers: Answers) -> Evaluation:
    author = message.author_domain
    found = _find_policy(author, answers)
    if found is None:
        return Evaluation(result=Result.NONE, detail="no policy record")
    policy_domain, record = found
    if record.policy is None:
        return Evaluation(result=Result.PERMERROR, policy_domain=policy_domain, detail="bad policy record")
    aligned = tuple(
        identifier for identifier in message.identifiers[:MAX_IDENTIFIERS] if _is_same_domain(identifier, author)
    ) or _list_relaxed(message, record, answers)
    passed = tuple(identifier for identifier in aligned if not identifier.undetermined)
    policy = record.policy_for(
        subdomain=policy_domain != author, exists=_author_exists(author, policy_domain, record, answers, bool(passed))
    )
    if passed:
        return Evaluation(result=Result.PASS, policy_domain=policy_domain, policy=policy, aligned=passed)
    if aligned:
        return Evaluation(
            result=Result.TEMPERROR, policy_domain=policy_domain, policy=policy, detail="authentication undetermined"
        )
    applies = not record.testing and message.sample < record.percent
    return Evaluation(
        result=Result.FAIL,
        disposition=policy if applies else policy.relax(),
        policy_domain=policy_domain,
        policy=policy,
    )


def _find_policy(author: str, answers: Answers) -> tuple[str, Record] | None:
    own = _require_records((author,), answers)
    if author in own:
        return author, own[author]
    records = _walk(author, answers)
    policy_domain = find_policy_domain(author, records)
    return (policy_domain, records[policy_domain]) if policy_domain is not None else None


def _is_same_domain(identifier: Identifier, author: str) -> bool:
    return identifier.domain == author


def _list_relaxed(message: Message, record: Record, answers: Answers) -> tuple[Identifier, ...]:
    """Identifiers aligned by a common organizational domain (RFC 9989 §4.4); walks side by side."""
    author = message.author_domain
    candidates = [
        identifier
        for identifier in message.identifiers[:MAX_IDENTIFIERS]
        if not (record.spf_strict if identifier.mechanism is Mechanism.SPF else record.dkim_strict)
        and identifier.domain.rpartition(".")[2] == author.rpartition(".")[2]
    ]
    if not candidates:
        return ()
    names = {name for domain in (author, *(item.domain for item in candidates)) for name in list_walk_domains(domain)}
    _require_answers(tuple(sorted(names)), answers)
    home = find_organizational_domain(author, _walk(author, answers))
    aligned, failure = [], None
    for identifier in candidates:
        try:
            records = _walk(identifier.domain, answers)
        except _LookupFailedError as error:
            failure = error
            continue
        if find_organizational_domain(identifier.domain, records) == home:
            aligned.append(identifier)
    if failure is not None and not aligned:
        raise failure
    return tuple(aligned)


def _walk(domain: str, answers: Answers) -> dict[str, Record]:
    """The records that a walk finds before it stops; a name beyond the stop may fail without harm."""
    names = list_walk_domains(domain)
    _require_answers(names, answers)
    records: dict[str, Record] = {}
    for name in names:
        records.update(_require_records((name,), answers))
        record = records.get(name)
        if record is not None and record.psd is not Psd.UNKNOWN:
            break
    return records


def _require_answers(domains: tuple[str, ...], answers: Answers) -> None:
    missing = tuple(question for name in domains if (question := _policy_question(name)) not in answers)
    if missing:
        raise _NeedAnswersError(missing)


def _require_records(domains: tuple[str, ...], answers: Answers) -> dict[str, Record]:
    _require_answers(domains, answers)
    records: dict[str, Record] = {}
    for name in domains:
        answer = answers[_policy_question(name)]
        if answer.failed:
            raise _LookupFailedError(_policy_question(name).name)
        record = select_record(answer.texts)
        if record is not None:
            records[name] = record
    return records


def _policy_question(domain: str) -> Question:
    return Question(f"_dmarc.{domain}", "TXT")


def _author_exists(author: str, policy_domain: str, record: Record, answers: Answers, passed: bool) -> bool:
    """Asked only where `np` would make a difference (RFC 9989 §4.7)."""
    if passed or policy_domain == author or record.nonexistent_policy is None:
        return True
    question = Question(author, "A")
    if question not in answers:
        raise _NeedAnswersError((question,))
    return not answers[question].nonexistent
