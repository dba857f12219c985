"""What becomes of mail for an address (architecture §3.2): one resolver for RCPT, the sender check and delivery.

Pure: `wanted_keys` says what to read, `decide` answers by what was read. The order of STEPS is the law: the first step
that knows the address gives the answer. A step only says where the address leads; what follows from that (mailboxes
switched off or full, a domain without incoming mail, a list's members) is the same for all of them.
"""

from collections.abc import Callable, Sequence

import msgspec

from postbus.contracts.directory import MailboxTarget, Outcome, Resolution, Via
from postbus.core.address import Address
from postbus.core.errors import ErrorKind
from postbus.core.lists import BOUNCES_SUFFIX
from postbusd.directory.names import SUBADDRESS_SEPARATOR, SYSTEM_LOCAL_PARTS, fold
from postbusd.directory.values import DomainFacts, Facts, Found, Key, KeyKind, ListFacts, MailboxFacts

MAX_LIST_RECIPIENTS = 10_000  # mailboxes and other addresses that one list comes to, lists in it included
MAX_LIST_DEPTH = 8  # lists in lists


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """Where an address leads: to mailboxes, whatever their state, or to a list."""

    via: Via
    mailboxes: tuple[MailboxFacts, ...] = ()
    detail: str = ""
    list: ListFacts | None = None


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """A resolution, and what was left out of it."""

    resolution: Resolution
    skipped: tuple[str, ...] = ()
    """Members of a list that lead nowhere."""


Step = Callable[[Address, Facts], Answer | None]


def wanted_keys(address: Address) -> tuple[Key, ...]:
    """What the steps will ask about an address: its name, and what else its form may mean."""
    others = (_system_key(address), _base_key(address))
    return (_name_key(address), *(key for key in others if key is not None))


def unread_lists(addresses: Sequence[Address], facts: Facts) -> list[ListFacts]:
    """The active lists that these addresses of ours lead to: their members must be read too before `decide`."""
    found = [find_answer(address, facts) for address in addresses]
    return [answer.list for answer in found if answer is not None and answer.list is not None and answer.list.active]


def find_answer(address: Address, facts: Facts) -> Answer | None:
    """Of the first step that knows an address of ours."""
    for step in STEPS:
        answer = step(address, facts)
        if answer is not None:
            return answer
    return None


def decide(forward_path: str, address: Address | None, facts: Facts) -> Decision:
    """The answer for one forward_path; `address` is its parsed form, None when it is malformed."""
    if address is None:
        return Decision(resolution=_reject(forward_path, ErrorKind.INVALID, "malformed address"))
    domain = _found(address, facts).domain
    if domain is None:
        if address.domain:
            return Decision(resolution=Resolution(forward_path=forward_path, outcome=Outcome.REMOTE))
        return Decision(resolution=_reject(forward_path, ErrorKind.NOT_FOUND, "no such mailbox here"))
    decision = _decide_of_ours(forward_path, address, domain, facts)
    if domain.suspended:
        return decision
    resolution = msgspec.structs.replace(
        decision.resolution,
        masquerading_domain=domain.name if domain.masquerading else "",
        senders=_found(address, facts).senders,
        max_message_octets=domain.max_message_octets,
    )
    return msgspec.structs.replace(decision, resolution=resolution)


def _decide_of_ours(forward_path: str, address: Address, domain: DomainFacts, facts: Facts) -> Decision:
    answer = find_answer(address, facts)
    if domain.suspended and (answer is None or answer.via is not Via.SYSTEM):
        if not domain.incoming:
            return Decision(resolution=_refuse_incoming(forward_path, None, facts))
        return Decision(resolution=_reject(forward_path, ErrorKind.INACTIVE, "this domain is suspended"))
    if not domain.incoming:
        return Decision(resolution=_refuse_incoming(forward_path, _use_catch_all(answer, address, facts), facts))
    if answer is not None and answer.list is not None:
        return _to_list(forward_path, answer.list, facts)
    return Decision(resolution=_to_mailboxes(forward_path, _use_catch_all(answer, address, facts), facts))


def _system_address(address: Address, facts: Facts) -> Answer | None:
    """postmaster@ and abuse@ of every domain, and each list's bounces: the first superadmin's mailbox, else the
    domain's oldest active one."""
    key = _system_key(address)
    mailbox = facts.found[key].mailbox if key is not None else None
    return _leads_to(mailbox, Via.SYSTEM)


def _mailbox(address: Address, facts: Facts) -> Answer | None:
    """The mailbox of exactly this name."""
    return _leads_to(_found(address, facts).mailbox, Via.MAILBOX)


def _alias(address: Address, facts: Facts) -> Answer | None:
    """The alias of exactly this name."""
    return _leads_to(_found(address, facts).alias, Via.ALIAS)


def _wildcard(address: Address, facts: Facts) -> Answer | None:
    """The most specific `*` alias that fits."""
    return _leads_to(_found(address, facts).wildcard, Via.WILDCARD)


def _sub_address(address: Address, facts: Facts) -> Answer | None:
    """`base+detail` (RFC 5233 §4): the mailbox or the alias of the base."""
    key = _base_key(address)
    if key is None:
        return None
    base = facts.found[key].mailbox or facts.found[key].alias
    return _leads_to(base, Via.SUB_ADDRESS, address.split_detail(SUBADDRESS_SEPARATOR)[1])


def _group(address: Address, facts: Facts) -> Answer | None:
    """The oldest active mailbox of each active member."""
    mailboxes = _found(address, facts).group
    return None if mailboxes is None else Answer(via=Via.GROUP, mailboxes=mailboxes)


def _list(address: Address, facts: Facts) -> Answer | None:
    """The list of this name; its members are asked for later."""
    found = _found(address, facts).list
    return None if found is None else Answer(via=Via.LIST, list=found)


def _catch_all(address: Address, facts: Facts) -> Answer | None:
    """What the domain does with mail that nobody takes."""
    mailboxes = _found(address, facts).catch_all
    return Answer(via=Via.CATCH_ALL, mailboxes=mailboxes) if mailboxes else None


STEPS: tuple[Step, ...] = (
    _system_address,
    _mailbox,
    _alias,
    _wildcard,
    _sub_address,
    _group,
    _list,
    _catch_all,
)


def _name_key(address: Address) -> Key:
    return Key(local_part=fold(address.local_part), domain=address.domain)


def _system_key(address: Address) -> Key | None:
    name = fold(address.local_part)
    if name in SYSTEM_LOCAL_PARTS:
        return Key(local_part=name, domain=address.domain, kind=KeyKind.SYSTEM)
    of_list = name.removesuffix(BOUNCES_SUFFIX)
    return (
        Key(local_part=of_list, domain=address.domain, kind=KeyKind.BOUNCES) if 0 < len(of_list) < len(name) else None
    )


def _base_key(address: Address) -> Key | None:
    user, _ = address.split_detail(SUBADDRESS_SEPARATOR)
    if user == address.local_part:
        return None
    return Key(local_part=fold(user), domain=address.domain, kind=KeyKind.BASE)


def _found(address: Address, facts: Facts) -> Found:
    return facts.found[_name_key(address)]


def _leads_to(mailbox: MailboxFacts | None, via: Via, detail: str = "") -> Answer | None:
    return None if mailbox is None else Answer(via=via, mailboxes=(mailbox,), detail=detail)


def _use_catch_all(answer: Answer | None, address: Address, facts: Facts) -> Answer | None:
    """Mail for a mailbox that is switched off goes to the catch-all, where there is one."""
    if answer is not None and len(answer.mailboxes) == 1 and not answer.mailboxes[0].active:
        return _catch_all(address, facts) or answer
    return answer


def _to_mailboxes(forward_path: str, answer: Answer | None, facts: Facts) -> Resolution:
    if answer is None:
        return _reject(forward_path, ErrorKind.NOT_FOUND, "no such mailbox here")
    targets = _targets(answer, facts)
    if not targets:
        reason = "no member of this group has an active mailbox" if answer.via is Via.GROUP else "mailbox is not active"
        return _reject(forward_path, ErrorKind.INACTIVE, reason, answer.via)
    if all(target.over_quota for target in targets):
        reason = "mailbox full" if len(targets) == 1 else "all mailboxes behind this address are full"
        return _reject(forward_path, ErrorKind.OVER_QUOTA, reason, answer.via, targets)
    return Resolution(forward_path=forward_path, outcome=Outcome.MAILBOX, targets=targets, via=answer.via)


def _refuse_incoming(forward_path: str, answer: Answer | None, facts: Facts) -> Resolution:
    """From outside; who may send as this address is told all the same."""
    return Resolution(
        forward_path=forward_path,
        outcome=Outcome.REJECT,
        kind=ErrorKind.REJECTED_POLICY,
        reason="this domain does not receive mail here",
        incoming=False,
        via=answer.via if answer is not None else Via.NONE,
        targets=_targets(answer, facts) if answer is not None else (),
    )


def _to_list(forward_path: str, mailing_list: ListFacts, facts: Facts) -> Decision:
    if not mailing_list.active:
        return Decision(resolution=_reject(forward_path, ErrorKind.INACTIVE, "this list is not active", Via.LIST))
    expansion = _Expansion(facts)
    fault = expansion.add(mailing_list)
    targets, remotes = tuple(expansion.targets.values()), tuple(expansion.remotes)
    if fault:
        resolution = _reject(forward_path, ErrorKind.REJECTED_POLICY, fault, Via.LIST)
    elif not targets and not remotes:
        resolution = _reject(forward_path, ErrorKind.INACTIVE, "no member of this list can be reached", Via.LIST)
    elif not remotes and all(target.over_quota for target in targets):
        reason = "all mailboxes behind this address are full"
        resolution = _reject(forward_path, ErrorKind.OVER_QUOTA, reason, Via.LIST, targets)
    else:
        bounces = Address(local_part=mailing_list.local_part + BOUNCES_SUFFIX, domain=mailing_list.domain)
        resolution = Resolution(
            forward_path=forward_path,
            outcome=Outcome.LIST,
            targets=targets,
            via=Via.LIST,
            remotes=remotes,
            bounce_path=bounces.format(),
            members_only=mailing_list.members_only,
        )
    return Decision(resolution=resolution, skipped=tuple(expansion.skipped))


class _Expansion:
    """Whom a list comes to, each once; lists that name each other end where they began."""

    def __init__(self, facts: Facts) -> None:
        self.targets: dict[str, MailboxTarget] = {}
        self.remotes: dict[str, None] = {}
        self.skipped: list[str] = []
        self._facts = facts

    def add(self, mailing_list: ListFacts) -> str:
        """Adds all members; says what is wrong with the list, empty: nothing."""
        level, seen = [mailing_list], {(mailing_list.local_part, mailing_list.domain)}
        for _ in range(MAX_LIST_DEPTH):
            below: list[ListFacts] = []
            for each in level:
                below += self._add_members(each)
                if len(self.targets) + len(self.remotes) > MAX_LIST_RECIPIENTS:
                    return f"this list has more than {MAX_LIST_RECIPIENTS} recipients"
            level = []
            for nested in below:
                if (nested.local_part, nested.domain) not in seen:
                    seen.add((nested.local_part, nested.domain))
                    level.append(nested)
            if not level:
                return ""
        return f"this list has more than {MAX_LIST_DEPTH} levels of lists in lists"

    def _add_members(self, mailing_list: ListFacts) -> list[ListFacts]:
        """Adds those who are no lists; gives those that are."""
        nested: list[ListFacts] = []
        for mailbox in mailing_list.mailboxes:
            self.targets.setdefault(mailbox.mailbox_id, _target(mailbox, "", self._facts))
        for member in mailing_list.members:
            address = Address(local_part=member.local_part, domain=member.domain)
            if not member.ours:
                self.remotes.setdefault(address.format())
                continue
            answer = find_answer(address, self._facts)
            if answer is not None and answer.list is not None:
                nested += [answer.list] if answer.list.active else []
                continue
            answer = _use_catch_all(answer, address, self._facts)
            targets = _targets(answer, self._facts) if answer is not None else ()
            self.skipped += [] if targets else [address.format()]
            for target in targets:
                self.targets.setdefault(target.mailbox_id, target)
        return nested


def _targets(answer: Answer, facts: Facts) -> tuple[MailboxTarget, ...]:
    """The active mailboxes of an answer, with what their quotas leave."""
    return tuple(_target(mailbox, answer.detail, facts) for mailbox in answer.mailboxes if mailbox.active)


def _target(mailbox: MailboxFacts, detail: str, facts: Facts) -> MailboxTarget:
    free_octets = None
    if mailbox.quota_octets is not None:
        free_octets = max(0, mailbox.quota_octets - facts.used_octets.get(mailbox.mailbox_id, 0))
    return MailboxTarget(
        mailbox_id=mailbox.mailbox_id,
        address=mailbox.address,
        detail=detail,
        quota_octets=mailbox.quota_octets,
        over_quota=free_octets == 0,
        free_octets=free_octets,
    )


def _reject(
    forward_path: str, kind: ErrorKind, reason: str, via: Via = Via.NONE, targets: Sequence[MailboxTarget] = ()
) -> Resolution:
    return Resolution(
        forward_path=forward_path, outcome=Outcome.REJECT, kind=kind, reason=reason, via=via, targets=tuple(targets)
    )
