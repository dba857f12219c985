"""The refusals of the administrator's commands, in one wording: field first, reason after it."""

from collections.abc import Sequence

import msgspec

from postbus.contracts.condition import ANY, Condition, etag_of
from postbus.core.address import Address
from postbus.core.errors import ErrorKind, MailError
from postbus.core.lists import BOUNCES_SUFFIX

MAX_NAMED = 5  # in one sentence


def invalid(field: str, reason: str) -> MailError:
    """The request is malformed."""
    return MailError(ErrorKind.INVALID, f"{field}: {reason}")


def conflict(field: str, reason: str) -> MailError:
    """The state of things forbids it."""
    return MailError(ErrorKind.CONFLICT, f"{field}: {reason}")


def no_such(field: str, noun: str, name: object) -> MailError:
    """Something that is named is not there."""
    return MailError(ErrorKind.NOT_FOUND, f"{field}: there is no {noun} {name} here")


def exists(noun: str) -> MailError:
    """Something that was to be made is there."""
    return MailError(ErrorKind.ALREADY_EXISTS, f"address: there is a {noun} of this name")


def taken(wanted: Address, address: Address, kind: str) -> MailError:
    """The address, or the one that a list called `wanted` needs beside it, is another object's."""
    by = f"already taken by {_article(kind)}"
    if address == wanted:
        return conflict("address", by)
    return conflict("address", f"{address}, where its bounces ({BOUNCES_SUFFIX}) go, is {by}")


def of_alias_domain(field: str, domain: str, target: str) -> MailError:
    """An alias domain has no objects of its own."""
    return conflict(field, f"{domain} is an alias of {target}: make it there")


def ended(field: str, noun: str) -> MailError:
    """Somebody else has deleted it while this was being written."""
    return conflict(field, f"the {noun} was deleted meanwhile")


def owns(name: str, addresses: Sequence[str], total: int) -> MailError:
    """A user or group can't go while it owns mailboxes; `addresses` are the first MAX_NAMED."""
    more = f" and {total - len(addresses)} more" if total > len(addresses) else ""
    return conflict("name", f"{name} owns {_count(total, 'mailbox')}: {', '.join(addresses)}{more}")


def check_condition(condition: Condition, before: msgspec.Struct | None) -> None:
    """Raises MailError: CHANGED when the object is not what the condition says."""
    wanted = condition.if_match
    if not wanted:
        return
    if before is None:
        raise MailError(ErrorKind.CHANGED, "if_match: it is not there")
    if ANY not in wanted and etag_of(before) not in wanted:
        raise MailError(ErrorKind.CHANGED, "if_match: it was changed meanwhile: read it again")


def lived_in(domain: str, counts: dict[str, int]) -> MailError:
    """A domain can't go while anything has an address in it."""
    parts = [_count(number, noun) for noun, number in counts.items() if number]
    return conflict("name", f"{', '.join(parts)} in {domain} must go first")


def _count(number: int, noun: str) -> str:
    if number == 1:
        return f"1 {noun}"
    return f"{number} {noun}{'es' if noun.endswith(('x', 's')) else 's'}"


def _article(noun: str) -> str:
    return f"an {noun}" if noun[:1] in "aeiou" else f"a {noun}"
