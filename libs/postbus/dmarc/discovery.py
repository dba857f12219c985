"""The DNS tree walk of RFC 9989 §4.10, as functions over answers: which names to ask, and what the records say."""

from collections.abc import Mapping
from typing import Final

from postbus.dmarc.record import Psd, Record

MAX_WALK_LABELS: Final = 7
"""A domain of more labels is asked for itself and then from its last seven on (RFC 9989 §4.10): at most 8 queries."""


def list_walk_domains(domain: str) -> tuple[str, ...]:
    """The domains of a walk in order: the domain, then its parents, the top-level domain last."""
    labels = domain.split(".")
    first_parent = max(1, len(labels) - MAX_WALK_LABELS)
    return (domain, *(".".join(labels[index:]) for index in range(first_parent, len(labels))))


def find_organizational_domain(domain: str, records: Mapping[str, Record]) -> str:
    """The organizational domain (RFC 9989 §4.10.2); `records` holds those of the walk's domains that have one.

    `psd=n` names it; below `psd=y` it begins (a public suffix that sends mail is its own); otherwise it is the highest
    domain with a record, or the domain itself when there is none.
    """
    highest = domain
    for name in list_walk_domains(domain):
        record = records.get(name)
        if record is None:
            continue
        if record.psd is Psd.NO:
            return name
        if record.psd is Psd.YES:
            return domain if name == domain else _one_label_below(domain, name)
        highest = name
    return highest


def find_policy_domain(domain: str, records: Mapping[str, Record]) -> str | None:
    """Where the policy for an author domain stands: itself, else its organizational domain, else the public suffix.

    RFC 9989 §4.10.1. None: nobody has published one.
    """
    if domain in records:
        return domain
    organizational = find_organizational_domain(domain, records)
    if organizational in records:
        return organizational
    parent = organizational.partition(".")[2]
    record = records.get(parent)
    return parent if record is not None and record.psd is Psd.YES else None


def _one_label_below(domain: str, ancestor: str) -> str:
    labels = domain.split(".")
    return ".".join(labels[-(ancestor.count(".") + 2) :])
