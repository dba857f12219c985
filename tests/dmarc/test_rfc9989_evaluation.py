"""Tree walk, alignment, results and dispositions, with the shell's part played by a zone in memory."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from postbus.dmarc.discovery import find_organizational_domain, list_walk_domains
from postbus.dmarc.evaluate import (
    Answer,
    Evaluation,
    Identifier,
    Mechanism,
    Message,
    Pending,
    Question,
    Result,
    evaluate,
)
from postbus.dmarc.record import Policy, parse_record

MAX_ROUNDS = 4  # own record, author's walk, identifiers' walks, existence


class Zone:
    """`_dmarc` records by domain; `!` stands for a server that fails."""

    def __init__(self, policies: dict[str, str], missing: tuple[str, ...] = ()) -> None:
        self.policies = policies
        self.missing = missing
        self.rounds = 0
        self.asked: list[str] = []

    def answer(self, question: Question) -> Answer:
        self.asked.append(question.name)
        if question.record_type == "A":
            return Answer(nonexistent=question.name in self.missing)
        text = self.policies.get(question.name.removeprefix("_dmarc."))
        if text == "!":
            return Answer(failed=True)
        return Answer(texts=(f"v=DMARC1; {text}".encode(),)) if text is not None else Answer(nonexistent=True)

    def judge(self, message: Message) -> Evaluation:
        answers: dict[Question, Answer] = {}
        for self.rounds in range(MAX_ROUNDS + 1):
            outcome = evaluate(message, answers)
            if isinstance(outcome, Evaluation):
                return outcome
            assert outcome.questions
            assert not set(outcome.questions) & set(answers)
            answers.update((question, self.answer(question)) for question in outcome.questions)
        raise AssertionError("too many rounds")


def spf(domain: str, *, undetermined: bool = False) -> Identifier:
    return Identifier(Mechanism.SPF, domain, undetermined)


def dkim(domain: str, *, undetermined: bool = False) -> Identifier:
    return Identifier(Mechanism.DKIM, domain, undetermined)


def mail(author: str, *identifiers: Identifier, sample: int = 0) -> Message:
    return Message(author_domain=author, identifiers=identifiers, sample=sample)


def test_a_walk_asks_the_domain_and_its_parents_up_to_the_top() -> None:
    assert list_walk_domains("a.mail.example.com") == ("a.mail.example.com", "mail.example.com", "example.com", "com")
    assert list_walk_domains("com") == ("com",)


def test_a_walk_asks_at_most_eight_names() -> None:
    names = list_walk_domains("a.b.c.d.e.f.g.h.i.j.mail.example.com")
    assert names[:2] == ("a.b.c.d.e.f.g.h.i.j.mail.example.com", "g.h.i.j.mail.example.com")
    assert len(names) == 8
    assert len(list_walk_domains("1.2.3.4.5.6.7.com")) == 8
    assert len(list_walk_domains("2.3.4.5.6.7.com")) == 7


@pytest.mark.parametrize(
    ("policies", "domain", "organizational"),
    [
        ({}, "a.example.com", "a.example.com"),
        ({"example.com": "p=none"}, "a.b.example.com", "example.com"),
        ({"b.example.com": "p=none", "example.com": "p=none"}, "a.b.example.com", "example.com"),
        ({"b.example.com": "p=none; psd=n", "example.com": "p=none"}, "a.b.example.com", "b.example.com"),
        ({"com": "p=none; psd=y", "b.example.com": "p=none"}, "a.b.example.com", "example.com"),
        ({"com": "p=none; psd=y"}, "com", "com"),
        ({"b.example.com": "psd=y", "example.com": "p=none"}, "b.example.com", "b.example.com"),
        ({"uk": "p=none", "co.uk": "psd=y"}, "a.example.co.uk", "example.co.uk"),
        ({"com": "psd=y"}, "1.2.3.4.5.6.7.8.9.example.com", "example.com"),
        ({"g.h.i.example.com": "psd=y"}, "a.b.c.d.e.f.g.h.i.example.com", "f.g.h.i.example.com"),
    ],
)
def test_organizational_domain(policies: dict[str, str], domain: str, organizational: str) -> None:
    parsed = {name: parse_record(f"v=DMARC1; {text}".encode()) for name, text in policies.items()}
    records = {name: record for name, record in parsed.items() if record is not None}
    assert find_organizational_domain(domain, records) == organizational


def test_no_record_anywhere_is_none() -> None:
    zone = Zone({})
    assert zone.judge(mail("a.example.com", spf("a.example.com"))).result is Result.NONE
    assert zone.asked == ["_dmarc.a.example.com", "_dmarc.example.com", "_dmarc.com"]


def test_the_same_domain_passes_without_a_walk() -> None:
    zone = Zone({"example.com": "p=reject"})
    outcome = zone.judge(mail("example.com", spf("bounce.example.net"), dkim("example.com")))
    assert (outcome.result, outcome.disposition) == (Result.PASS, Policy.NONE)
    assert outcome.aligned == (dkim("example.com"),)
    assert zone.asked == ["_dmarc.example.com"]


def test_relaxed_alignment_takes_the_same_organizational_domain() -> None:
    zone = Zone({"example.com": "p=reject"})
    assert zone.judge(mail("news.example.com", spf("bounce.example.com"))).result is Result.PASS
    assert zone.judge(mail("example.com", dkim("mail.example.com"))).result is Result.PASS
    assert zone.judge(mail("example.com", dkim("example.net"))).result is Result.FAIL


def test_strict_alignment_takes_the_same_domain_only() -> None:
    zone = Zone({"example.com": "p=reject; adkim=s; aspf=r"})
    assert zone.judge(mail("example.com", dkim("mail.example.com"))).result is Result.FAIL
    assert zone.judge(mail("example.com", spf("mail.example.com"))).result is Result.PASS
    assert zone.judge(mail("example.com", dkim("example.com"))).result is Result.PASS


def test_sister_domains_below_a_public_suffix_are_strangers() -> None:
    zone = Zone({"one.bank": "p=reject", "bank": "p=none; psd=y"})
    assert zone.judge(mail("one.bank", dkim("two.bank"))).result is Result.FAIL


def test_psd_n_cuts_a_branch_off() -> None:
    zone = Zone({"example.com": "p=reject", "lab.example.com": "p=none; psd=n"})
    assert zone.judge(mail("example.com", dkim("lab.example.com"))).result is Result.FAIL
    assert zone.judge(mail("x.lab.example.com", dkim("lab.example.com"))).result is Result.PASS


@pytest.mark.parametrize(
    ("policies", "author", "disposition", "policy_domain"),
    [
        ({"example.com": "p=reject; sp=none"}, "example.com", Policy.REJECT, "example.com"),
        ({"example.com": "p=reject; sp=none"}, "a.example.com", Policy.NONE, "example.com"),
        ({"example.com": "p=reject"}, "a.example.com", Policy.REJECT, "example.com"),
        ({"example.com": "p=none; np=reject"}, "gone.example.com", Policy.REJECT, "example.com"),
        ({"example.com": "p=none; np=reject"}, "a.example.com", Policy.NONE, "example.com"),
        ({"bank": "p=none; sp=quarantine; psd=y"}, "one.bank", Policy.QUARANTINE, "bank"),
        ({"example.com": "p=reject; t=y"}, "example.com", Policy.QUARANTINE, "example.com"),
        ({"example.com": "p=quarantine; t=y"}, "example.com", Policy.NONE, "example.com"),
        ({"a.example.com": "p=none", "example.com": "p=reject"}, "a.example.com", Policy.NONE, "a.example.com"),
    ],
)
def test_dispositions_of_failing_mail(
    policies: dict[str, str], author: str, disposition: Policy, policy_domain: str
) -> None:
    outcome = Zone(policies, missing=("gone.example.com",)).judge(mail(author, dkim("example.net")))
    assert (outcome.result, outcome.disposition, outcome.policy_domain) == (Result.FAIL, disposition, policy_domain)


def test_pct_takes_a_sample() -> None:
    zone = Zone({"example.com": "p=reject; pct=30"})
    taken = [zone.judge(mail("example.com", sample=sample)).disposition for sample in range(100)]
    assert taken.count(Policy.REJECT) == 30
    assert taken.count(Policy.QUARANTINE) == 70


def test_a_failing_server_is_a_temporary_error() -> None:
    assert Zone({"example.com": "!"}).judge(mail("example.com", dkim("example.com"))).result is Result.TEMPERROR
    assert Zone({"com": "!"}).judge(mail("example.com")).result is Result.TEMPERROR


def test_a_failure_beyond_the_walks_end_does_no_harm() -> None:
    zone = Zone({"b.example.com": "p=reject; psd=n", "com": "!"})
    assert zone.judge(mail("a.b.example.com")).result is Result.FAIL


def test_an_undetermined_check_matters_only_where_it_is_aligned() -> None:
    zone = Zone({"example.com": "p=reject"})
    aligned = zone.judge(mail("example.com", dkim("mail.example.com", undetermined=True)))
    assert (aligned.result, aligned.disposition) == (Result.TEMPERROR, Policy.NONE)
    assert zone.judge(mail("example.com", dkim("example.net", undetermined=True))).result is Result.FAIL
    both = mail("example.com", dkim("example.com", undetermined=True), spf("example.com"))
    assert zone.judge(both).result is Result.PASS


def test_no_author_domain_and_a_bad_record_are_permanent_errors() -> None:
    assert Zone({}).judge(mail("")).result is Result.PERMERROR
    assert Zone({"example.com": "p=bad"}).judge(mail("example.com")).result is Result.PERMERROR


def test_the_walk_of_a_stranger_may_fail_when_another_identifier_passes() -> None:
    zone = Zone({"example.com": "p=reject", "x.other.com": "!"})
    outcome = zone.judge(mail("example.com", dkim("x.other.com"), spf("mail.example.com")))
    assert outcome.result is Result.PASS


labels = st.sampled_from(["a", "b", "mail", "example"])
domains = st.lists(labels, min_size=0, max_size=10).map(lambda found: ".".join([*found, "com"]))
policies = st.sampled_from(
    ["p=none", "p=reject", "p=quarantine; sp=none", "p=reject; np=none; psd=n", "psd=y; p=reject", "p=x", "!"]
)
identifiers = st.builds(Identifier, st.sampled_from(list(Mechanism)), domains, st.booleans())


@settings(max_examples=100, derandomize=True, deadline=None)
@given(st.dictionaries(domains, policies, max_size=6), domains, st.lists(identifiers, max_size=4), st.integers(0, 99))
def test_every_zone_is_settled_in_four_rounds(
    zone_policies: dict[str, str], author: str, found: list[Identifier], sample: int
) -> None:
    zone = Zone(zone_policies)
    outcome = zone.judge(mail(author, *found, sample=sample))
    assert zone.rounds <= MAX_ROUNDS
    assert len(zone.asked) == len(set(zone.asked))
    assert outcome.disposition is Policy.NONE or outcome.result is Result.FAIL
    if outcome.result is Result.PASS:
        assert any(not identifier.undetermined for identifier in outcome.aligned)


@settings(max_examples=60, derandomize=True, deadline=None)
@given(st.dictionaries(domains, policies.filter(lambda text: text != "!"), max_size=6), domains)
def test_an_organizational_domain_is_the_domain_or_a_parent_and_its_own(found: dict[str, str], domain: str) -> None:
    parsed = {name: parse_record(f"v=DMARC1; {text}".encode()) for name, text in found.items()}
    records = {name: record for name, record in parsed.items() if record is not None}
    organizational = find_organizational_domain(domain, records)
    assert domain == organizational or domain.endswith("." + organizational)


@settings(max_examples=50, derandomize=True, deadline=None)
@given(st.dictionaries(domains, policies, max_size=6), domains, st.lists(identifiers, max_size=4))
def test_more_answers_than_needed_change_nothing(
    zone_policies: dict[str, str], author: str, found: list[Identifier]
) -> None:
    zone = Zone(zone_policies)
    message = mail(author, *found)
    everything = {
        Question(f"_dmarc.{name}", "TXT"): zone.answer(Question(f"_dmarc.{name}", "TXT"))
        for domain in (author, *(identifier.domain for identifier in found))
        for name in list_walk_domains(domain)
    }
    everything[Question(author, "A")] = Answer()
    outcome = evaluate(message, everything)
    assert not isinstance(outcome, Pending)
    assert outcome == zone.judge(message)
