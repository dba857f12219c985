"""The sender check of submission: reverse_path and authors lead to the mailbox that logged in (RFC 6409 §6.1).

An address is the mailbox's own by its name, an alias, a wildcard or a sub-address, whether or not it could get mail now
(full, or a domain without incoming mail); never by a group, a list, a catch-all or a system address, which are not one
person's. Beside these, what the mailbox was granted to send as; where its domain has masquerading on, every address of
that. The null reverse_path is allowed: MUAs send disposition notifications with it (RFC 8098 §3); their author is
checked all the same.
"""

from collections.abc import Sequence

from postbus.contracts.directory import Outcome, Resolution, Via
from postbus.core.errors import ErrorKind, MailError
from postbus.mime.authors import parse_authors
from postbus.mime.headers import all_fields
from postbus.mime.limits import MAX_HEADER_FIELDS
from postbus.smtp.replies import Reply, make_reply
from postbusd.smtp_edge.building import Examined
from postbusd.smtp_edge.recipients import Recipients
from postbusd.smtp_edge.values import Login

_OWN = frozenset({Via.MAILBOX, Via.ALIAS, Via.WILDCARD, Via.SUB_ADDRESS})


async def judge_reverse_path(recipients: Recipients, login: Login, reverse_path: str) -> Reply | None:
    """The refusal of a reverse_path that is not the login's. Raises MailError: UNAVAILABLE."""
    if not reverse_path or await find_foreign(recipients, login, (reverse_path,)) is None:
        return None
    return make_reply(550, "5.7.1", f"reverse path: {reverse_path} is not an address of the mailbox that logged in")


async def judge_authors(recipients: Recipients, login: Login, examined: Examined) -> Reply | None:
    """The refusal of a message whose From field is unreadable, or has an address that is not the login's.

    One without a From field gets the login's address (`building`): only the message itself could say another.

    Raises MailError: UNAVAILABLE.
    """
    scan = examined.scan
    if len(scan.fields) >= MAX_HEADER_FIELDS or scan.body_start > len(examined.header):
        return make_reply(550, "5.7.1", "the header section is too long to find the author")
    fields = all_fields(scan, examined.header, "from")
    if not fields:
        return None
    try:
        authors = parse_authors(fields)
    except MailError as error:
        return make_reply(550, "5.7.1", error.detail)
    foreign = await find_foreign(recipients, login, tuple(author.format() for author in authors))
    if foreign is None:
        return None
    return make_reply(550, "5.7.1", f"From: {foreign} is not an address of the mailbox that logged in")


async def find_foreign(recipients: Recipients, login: Login, addresses: Sequence[str]) -> str | None:
    """The first address that is not the login's, confirmed past the caches (promise 4). Raises MailError."""
    answers = await recipients.resolve(addresses)
    for address in addresses:
        if not leads_to(answers[address], login) and not leads_to(await recipients.confirm(address), login):
            return address
    return None


def leads_to(resolution: Resolution, login: Login) -> bool:
    """Whether an address is the login's own. Raises MailError: UNAVAILABLE when that can't be told now."""
    if resolution.outcome is Outcome.LATER:
        raise MailError(ErrorKind.UNAVAILABLE, resolution.reason)
    # A directory older than this process tells no step, and knows neither groups nor lists (promise 9).
    from_older = resolution.via is Via.NONE and resolution.outcome is Outcome.MAILBOX
    if resolution.masquerading_domain and resolution.masquerading_domain == login.address.rpartition("@")[2]:
        return True
    if login.mailbox_id in resolution.senders:
        return True
    own = from_older or resolution.via in _OWN
    return own and any(target.mailbox_id == login.mailbox_id for target in resolution.targets)
