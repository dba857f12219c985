"""Who may do what: superadmins everything, domain admins what is of their domains, nobody else anything.

What a name alone decides is decided before anything is asked, so that a refusal tells nothing of what is there. What
depends on the state of things (whose password is it? whose mailboxes does a group open?) is decided in the transaction
that writes, and so is whether the standing is still the one that was looked up.
"""

from collections.abc import Collection

from postbus.contracts.directory import Group, User
from postbus.contracts.owners import Owner, OwnerKind
from postbus.contracts.standing import Standing
from postbus.core.errors import ErrorKind, MailError


def forbidden(reason: str) -> MailError:
    """The actor may not do that."""
    return MailError(ErrorKind.FORBIDDEN, reason)


def require_superadmin(standing: Standing) -> None:
    """Raises MailError: FORBIDDEN."""
    if not standing.superadmin:
        raise forbidden("only a superadmin may do this")


def require_domain(standing: Standing, field: str, domain: str) -> None:
    """Whether what is of this domain is the actor's to administer. Raises MailError: FORBIDDEN."""
    if not standing.superadmin and domain not in standing.domains:
        raise forbidden(f"{field}: {standing.actor} does not administer {domain or 'what is of no domain'}")


def seen_domains(standing: Standing, domain: str = "") -> tuple[str, ...] | None:
    """The domains that a list shows: the one that was asked for, else the actor's; None: all there are.

    Raises MailError: FORBIDDEN.
    """
    if domain:
        require_domain(standing, "domain", domain)
        return (domain,)
    if standing.superadmin:
        return None
    if not standing.domains:
        raise forbidden("only administrators may do this")
    return standing.domains


def is_seen(standing: Standing, username: str, owned: Collection[str]) -> bool:
    """Whether the actor sees a user: himself, of a domain by name, or the owner of a mailbox there.

    `owned`: the domains of the mailboxes that the user owns himself.
    """
    if standing.superadmin or username == standing.actor:
        return True
    return domain_of(username) in standing.domains or any(domain in standing.domains for domain in owned)


def check_user_change(standing: Standing, before: User | None, now: User, opened: Collection[str]) -> None:
    """`opened`: the domains of all mailboxes that the user's password opens.

    Raises MailError: FORBIDDEN, also where a password would open what is not the actor's.
    """
    if standing.superadmin:
        return
    require_domain(standing, "username", domain_of(now.username))
    for user in (before, now):
        if user is not None and (user.superadmin or user.admin_of):
            raise forbidden("superadmin: only a superadmin changes who has a role")
    beyond = sorted(set(opened) - set(standing.domains))
    if beyond:
        raise forbidden(f"username: {now.username} opens mailboxes of other domains")


def check_secrets_of(standing: Standing, username: str, user: User | None, opened: Collection[str]) -> None:
    """Whether the actor may see and change what opens a user's mailboxes: his own, or those of who he may change.

    Raises MailError: FORBIDDEN.
    """
    if username != standing.actor:
        check_user_change(standing, user, user or User(username=username), opened)


def check_group_change(standing: Standing, before: Group | None, now: Group, opened: Collection[str]) -> None:
    """`opened`: the domains of the mailboxes that the group owns. Raises MailError: FORBIDDEN."""
    if standing.superadmin:
        return
    for group in (before, now):
        if group is not None:
            require_domain(standing, "address", domain_of(group.address))
    if set(opened) - set(standing.domains):
        raise forbidden(f"name: {now.name} opens mailboxes of other domains")
    for member in now.members:
        if before is None or member not in before.members:
            require_domain(standing, "members", domain_of(member))


def check_list_groups(standing: Standing, before: Collection[str], groups: Collection[Group]) -> None:
    """Whether a list may be given these groups: those that the actor administers, and those that it had.

    Raises MailError: FORBIDDEN.
    """
    for group in groups:
        if group.name not in before:
            require_domain(standing, "groups", domain_of(group.address))


def check_owner(standing: Standing, owner: Owner, domains: Collection[str]) -> None:
    """Whether a mailbox may be given to this owner, a user or group of `domains`. Raises MailError: FORBIDDEN."""
    if standing.superadmin or owner.kind is OwnerKind.APP:
        return
    if not any(domain in standing.domains for domain in domains):
        raise forbidden(f"owner: {standing.actor} does not administer {owner.kind.value} {owner.name}")


def domain_of(address: str) -> str:
    """The domain of an address or a name; empty: it has none."""
    return address.rpartition("@")[2] if "@" in address else ""
