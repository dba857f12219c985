"""Wanted records beside live DNS: OK, MISSING or DIFFERS, with advice. Pure; who asks the DNS stands in planner.py.

What others put into shared records is respected: a longer SPF record with our mechanism in it is right, any DMARC
policy is the administrator's choice. Records that receivers would ignore or refuse are not.
"""

from collections.abc import Sequence
from typing import Final

import msgspec

from postbus.contracts.dns_provisioner import RecordState, WantedRecord
from postbus.dmarc.record import Policy, parse_record

Judged = tuple[RecordState, tuple[str, ...], str]
"""State, what is live, advice."""

_STRENGTH: Final = {Policy.NONE: 0, Policy.QUARANTINE: 1, Policy.REJECT: 2}
_MAX_SHOWN: Final = 1000
"""Characters of a live record in a reply."""


def judge(wanted: WantedRecord, found: Judged) -> WantedRecord:
    """The wanted record with what was found."""
    state, live, advice = found
    return msgspec.structs.replace(wanted, state=state, live=tuple(text[:_MAX_SHOWN] for text in live), advice=advice)


def judge_mx(wanted: WantedRecord, exchanges: Sequence[tuple[int, str]]) -> WantedRecord:
    """Our host, whatever its preference, or the domain's alternate MXs, beside it or in its place.

    `exchanges` hold names without the last dot, empty for a null MX. The first value of `wanted` is ours.
    """
    live = tuple(f"{preference} {host}." for preference, host in exchanges)
    planned = [value.split()[1].rstrip(".") for value in wanted.values]
    ours = {planned[0]}
    hosts = {host for _, host in exchanges}
    if not hosts:
        return judge(wanted, (RecordState.MISSING, live, "no mail comes here yet: add this MX record"))
    if hosts <= set(planned):
        return judge(wanted, (RecordState.OK, live, ""))
    if hosts == {""}:
        advice = "a null MX (RFC 7505) says that the domain takes no mail: replace it by this MX record"
    elif ours <= hosts:
        others = ", ".join(sorted(hosts - set(planned)))
        advice = f"mail for the domain also goes to {others}: remove that MX record, or such mail never comes here"
    else:
        advice = f"mail for the domain goes to {', '.join(sorted(hosts))}: replace the MX records by this one"
    return judge(wanted, (RecordState.DIFFERS, live, advice))


def judge_spf(wanted: WantedRecord, texts: Sequence[str]) -> WantedRecord:
    """Exactly one record (RFC 7208 §4.5) whose mechanisms let our host send."""
    live = tuple(text for text in texts if _is_spf(text))
    if not live:
        return judge(wanted, (RecordState.MISSING, (), _join("add this TXT record", wanted.advice)))
    if len(live) > 1:
        advice = "more than one SPF record is an error for receivers (RFC 7208 §4.5): merge them into one"
        return judge(wanted, (RecordState.DIFFERS, live, advice))
    terms = live[0].lower().split()[1:]
    reachable = terms[: next((at for at, term in enumerate(terms) if term.lstrip("+-~?") == "all"), len(terms))]
    mechanism = wanted.values[0].split()[1]
    if not any(_lets_send(term, mechanism, wanted.name) for term in reachable):
        advice = f"put {mechanism} into the record, before its all"
        return judge(wanted, (RecordState.DIFFERS, live, _join(advice, wanted.advice)))
    if set(terms) & {"all", "+all"}:
        return judge(wanted, (RecordState.DIFFERS, live, "+all lets every host send: put -all or ~all in its place"))
    # Whoever wrote more than we ask for knows of the relay.
    return judge(wanted, (RecordState.OK, live, wanted.advice if len(reachable) == 1 else ""))


def judge_dkim(wanted: WantedRecord, texts: Sequence[str]) -> WantedRecord:
    """One key record with our key, for mail and SHA-256 (RFC 6376 §3.6.1)."""
    live = tuple(texts)
    if not live:
        return judge(wanted, (RecordState.MISSING, (), "add this TXT record: without it our signatures prove nothing"))
    if len(live) > 1:
        return judge(
            wanted, (RecordState.DIFFERS, live, "more than one record (RFC 6376 §3.6.2.2): keep only this one")
        )
    ours, there = _tags(wanted.values[0]), _tags(live[0])
    fault = _find_key_fault(ours, there)
    if fault:
        return judge(wanted, (RecordState.DIFFERS, live, f"{fault}: replace the record by this one"))
    testing = "y" in there.get("t", "").split(":")
    return judge(wanted, (RecordState.OK, live, "t=y says that the key is on test: take it out" if testing else ""))


def judge_dmarc(wanted: WantedRecord, texts: Sequence[str]) -> WantedRecord:
    """Exactly one record that can be read (RFC 9989 §4.10); a weaker policy than ours is the owner's choice."""
    read = [(text, record) for text in texts if (record := parse_record(text.encode("utf-8", "replace"))) is not None]
    live = tuple(text for text, _ in read)
    if not read:
        return judge(wanted, (RecordState.MISSING, (), "add this TXT record"))
    if len(read) > 1:
        advice = "more than one DMARC record: receivers ignore them all (RFC 9989 §4.10); keep one"
        return judge(wanted, (RecordState.DIFFERS, live, advice))
    found = read[0][1]
    if found.policy is None or "p" not in _tags(live[0]):
        return judge(
            wanted, (RecordState.DIFFERS, live, "it has no p= that receivers can read: replace the record by this one")
        )
    advice = ""
    if _STRENGTH[found.policy] < _STRENGTH[Policy.REJECT]:
        advice = f"p={found.policy.value} is weaker than p=reject: change it when the reports show only mail of yours"
    elif found.percent < 100 or found.testing:
        advice = "the policy is applied to a part of the mail only: take pct= and t= out when the reports are clean"
    return judge(wanted, (RecordState.OK, live, advice))


def judge_silence(wanted: WantedRecord, reason: str) -> WantedRecord:
    """The DNS gave no answer: nothing is known, nothing is wrong."""
    return judge(wanted, (RecordState.UNKNOWN, (), f"can't be compared now: {reason}"))


def _is_spf(text: str) -> bool:
    """RFC 7208 §4.5: the version, then a space or the end."""
    return text.lower() == "v=spf1" or text.lower().startswith("v=spf1 ")


def _lets_send(term: str, mechanism: str, name: str) -> bool:
    """Whether a term is our mechanism, with `+` or without; `a` alone means the domain itself."""
    plain = term.removeprefix("+").rstrip(".")
    return plain == mechanism or (plain == "a" and mechanism == f"a:{name}")


def _tags(text: str) -> dict[str, str]:
    """tag=value lists (RFC 6376 §3.2), without any white space."""
    pairs = ("".join(tag.split()).partition("=") for tag in text.split(";"))
    return {name.lower(): value for name, equals, value in pairs if equals}


def _find_key_fault(ours: dict[str, str], there: dict[str, str]) -> str:
    """Why verifiers would not take the key; empty: they would."""
    if there.get("v", "DKIM1") != "DKIM1" or "p" not in there:
        return "this is no key record"
    if not there["p"]:
        return "the empty p= says that the key is revoked"
    if there.get("k", "rsa").lower() != ours["k"] or there["p"] != ours["p"]:
        return "this is another key"
    if not set(there.get("s", "*").lower().split(":")) & {"*", "email"}:
        return "its s= says that the key is not for mail"
    if "h" in there and "sha256" not in there["h"].lower().split(":"):
        return "its h= excludes sha256"
    return ""


def _join(*parts: str) -> str:
    return "; ".join(part for part in parts if part)
