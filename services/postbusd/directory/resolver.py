"""What becomes of mail for an address (architecture §3.2): one resolver for RCPT, the sender check and delivery.

Pure: `wanted_keys` says what to read, `resolve_address` decides by what was read. The order of STEPS is the law; the
first step that has an answer gives it. What follows a mailbox in that order (alias, wildcard, group, list, catch-all)
is a step in this list and a field in Found.
"""

from collections.abc import Callable

from postbus.contracts.directory import MailboxTarget, Outcome, Resolution
from postbus.core.address import Address
from postbus.core.errors import ErrorKind
from postbusd.directory.names import SUBADDRESS_SEPARATOR, SYSTEM_LOCAL_PARTS, fold
from postbusd.directory.values import Facts, Found, Key, KeyKind, MailboxFacts

Step = Callable[[Address, Facts], Resolution | None]


def wanted_keys(address: Address) -> tuple[Key, ...]:
    """What `resolve_address` will ask about an address: one key, or two for a sub-address."""
    name = fold(address.local_part)
    if name in SYSTEM_LOCAL_PARTS:
        return (Key(local_part=name, domain=address.domain, kind=KeyKind.SYSTEM),)
    plain = Key(local_part=name, domain=address.domain)
    user, _ = address.split_detail(SUBADDRESS_SEPARATOR)
    return (plain, Key(local_part=fold(user), domain=address.domain)) if user != address.local_part else (plain,)


def resolve_address(forward_path: str, address: Address | None, facts: Facts) -> Resolution:
    """The answer for one forward_path; `address` is its parsed form, None when it is malformed."""
    if address is None:
        return _reject(ErrorKind.INVALID, "malformed address", forward_path)
    for step in STEPS:
        answer = step(address, facts)
        if answer is not None:
            return Resolution(
                forward_path=forward_path,
                outcome=answer.outcome,
                targets=answer.targets,
                kind=answer.kind,
                reason=answer.reason,
            )
    return _reject(ErrorKind.NOT_FOUND, "no such mailbox here", forward_path)


def _foreign_domain(address: Address, facts: Facts) -> Resolution | None:
    """Not ours, or no address of a domain at all."""
    if _first(address, facts).domain is not None:
        return None
    if not address.domain:
        return _reject(ErrorKind.NOT_FOUND, "no such mailbox here")
    return Resolution(forward_path="", outcome=Outcome.REMOTE)


def _incoming_off(address: Address, facts: Facts) -> Resolution | None:
    """Ours, but receiving no mail."""
    domain = _first(address, facts).domain
    if domain is None or domain.incoming:
        return None
    return _reject(ErrorKind.REJECTED_POLICY, "this domain does not receive mail here")


def _system_address(address: Address, facts: Facts) -> Resolution | None:
    """postmaster@ and abuse@ of every domain: its oldest active mailbox, until users say who administers."""
    if fold(address.local_part) not in SYSTEM_LOCAL_PARTS:
        return None
    mailbox = _first(address, facts).mailbox
    return None if mailbox is None else _to_mailbox(mailbox, "", facts)


def _mailbox(address: Address, facts: Facts) -> Resolution | None:
    """The mailbox of exactly this name."""
    mailbox = _first(address, facts).mailbox
    return None if mailbox is None else _to_mailbox(mailbox, "", facts)


def _sub_address(address: Address, facts: Facts) -> Resolution | None:
    """`base+detail` (RFC 5233 §4): the mailbox of the base."""
    keys = wanted_keys(address)
    mailbox = facts.found[keys[-1]].mailbox if len(keys) > 1 else None
    if mailbox is None:
        return None
    return _to_mailbox(mailbox, address.split_detail(SUBADDRESS_SEPARATOR)[1], facts)


STEPS: tuple[Step, ...] = (_foreign_domain, _incoming_off, _system_address, _mailbox, _sub_address)


def _first(address: Address, facts: Facts) -> Found:
    return facts.found[wanted_keys(address)[0]]


def _to_mailbox(mailbox: MailboxFacts, detail: str, facts: Facts) -> Resolution:
    if not mailbox.active:
        return _reject(ErrorKind.INACTIVE, "mailbox is not active")
    over_quota = (
        mailbox.quota_octets is not None and facts.used_octets.get(mailbox.mailbox_id, 0) >= mailbox.quota_octets
    )
    target = MailboxTarget(
        mailbox_id=mailbox.mailbox_id,
        address=mailbox.address,
        detail=detail,
        quota_octets=mailbox.quota_octets,
        over_quota=over_quota,
    )
    if over_quota:
        return Resolution(
            forward_path="", outcome=Outcome.REJECT, targets=(target,), kind=ErrorKind.OVER_QUOTA, reason="mailbox full"
        )
    return Resolution(forward_path="", outcome=Outcome.MAILBOX, targets=(target,))


def _reject(kind: ErrorKind, reason: str, forward_path: str = "") -> Resolution:
    return Resolution(forward_path=forward_path, outcome=Outcome.REJECT, kind=kind, reason=reason)
