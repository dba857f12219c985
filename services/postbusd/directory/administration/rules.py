"""Decisions about a write that depend on what is there: asked before slow work, and again in the transaction."""

from collections.abc import Collection

import msgspec

from postbus.contracts.directory import DOMAINS_QUOTA, App
from postbus.contracts.domains import Domain
from postbus.contracts.identity_provider import IdentityProvider
from postbus.contracts.mailbox_life import ArchivedMailbox
from postbus.contracts.mailboxes import Mailbox
from postbus.contracts.owners import Owner, OwnerKind
from postbus.contracts.relays import Relay
from postbus.contracts.standing import Standing
from postbus.core.address import Address
from postbus.core.ids import MailboxId
from postbusd.directory.administration.refusals import conflict, exists, invalid, no_such, of_alias_domain, taken
from postbusd.directory.administration.scope import forbidden
from postbusd.directory.administration.values import AppChange, DomainChange, ListChange, MailboxChange, Place
from postbusd.directory.names import APP_SUFFIX, fold
from postbusd.directory.oidc.ports import StoredProvider

MAX_ALIASES = 1_000  # of one mailbox
MAX_CATCH_ALL = 20  # mailboxes of one domain
MAX_QUOTA_OCTETS = 1 << 50
MAX_MEMBERS = 10_000  # of a group or a list
_OF_MAILBOXES = (
    "catch_all",
    "masquerading",
    "quota_octets",
    "default_quota_octets",
    "max_message_octets",
    "all_mail",
    "sharing",
    "search",
)
"""Settings of a domain that has mailboxes of its own."""


def own_user(address: Address) -> Owner:
    """The owner of a mailbox that was made with a password."""
    return Owner(kind=OwnerKind.USER, name=str(address))


def check_free(place: Place, address: Address) -> None:
    """Raises MailError: NOT_FOUND (no such domain), CONFLICT (another object's address)."""
    if not place.ours:
        raise no_such("address", "domain", address.domain)
    if place.alias_of:
        raise of_alias_domain("address", address.domain, place.alias_of)
    if place.kind:
        raise taken(address, address, place.kind)


def decide_mailbox(change: MailboxChange, place: Place) -> Mailbox:
    """The mailbox as it shall be; a new one has the change's id.

    Raises MailError: NOT_FOUND (no such domain), ALREADY_EXISTS (create_only), CONFLICT (another object's address, an
    app's mailbox), INVALID (a password where it does not belong or is missing, a name that only an app may have).
    """
    before = place.mailbox
    if before is None:
        check_free(place, change.address)
    elif change.create_only:
        raise exists("mailbox")
    owner = _decide_owner(change, before)
    if owner.kind is not OwnerKind.APP and change.address.local_part.endswith(APP_SUFFIX):
        raise invalid("address", f"names ending in {APP_SUFFIX} are kept for apps")
    if change.password is not None and owner != own_user(change.address):
        raise invalid("password", f"set it at the owner, {owner.kind.value} {owner.name}")
    if change.password is None and owner == own_user(change.address) and not place.has_user:
        raise invalid("password", "a new mailbox needs one")
    now = before or Mailbox(mailbox_id=change.new_id or MailboxId(""), address=str(change.address))
    now = msgspec.structs.replace(now, owner=owner)
    if change.active is not None:
        now = msgspec.structs.replace(now, active=change.active)
    if change.quota_octets is not None:
        quota_octets = None if change.quota_octets == DOMAINS_QUOTA else change.quota_octets
        now = msgspec.structs.replace(now, quota_octets=quota_octets)
    if change.pop3 is not None:
        now = msgspec.structs.replace(now, pop3=change.pop3)
    if change.send_as is not None:
        now = msgspec.structs.replace(now, send_as=tuple(map(str, change.send_as)))
    effective = now.quota_octets if now.quota_octets is not None else place.default_quota_octets
    return msgspec.structs.replace(now, effective_quota_octets=effective or None)


def decide_restore(archived: ArchivedMailbox, mailbox: Mailbox, owner: Owner | None) -> Mailbox:
    """The mailbox as it is again; `mailbox` is what was kept of it. Raises MailError: INVALID, CONFLICT (owner)."""
    if archived.purging:
        raise conflict("mailbox_id", "its mail is being purged")
    now = owner or archived.owner
    if now is None:
        raise invalid("owner", "is not known any more: name one")
    if now.kind is OwnerKind.APP:
        raise conflict("owner", "an app has the mailbox that was made with it: name a user or a group")
    return msgspec.structs.replace(mailbox, owner=now, active=True)


def check_rename(mailbox: Mailbox, address: Address) -> None:
    """Raises MailError: CONFLICT (an app's)."""
    if mailbox.owner is not None and mailbox.owner.kind is OwnerKind.APP:
        raise conflict("address", f"it is the mailbox of app {mailbox.owner.name}, whose address moves it")
    if mailbox.address == str(address):
        raise invalid("new_address", "is the one that it has")


def check_alias_domain(domain: Domain) -> None:
    """What an alias domain has of its own. Raises MailError: INVALID."""
    if not domain.alias_of:
        return
    if domain.alias_of == domain.name:
        raise invalid("alias_of", "a domain can't be an alias of itself")
    plain = Domain(name=domain.name)
    for field in _OF_MAILBOXES:
        if getattr(domain, field) != getattr(plain, field):
            raise invalid(field, f"that of {domain.alias_of} holds: an alias domain has none of its own")


def check_domain_change(standing: Standing, before: Domain | None, now: Domain) -> None:
    """What of a domain is not its admins' to decide. Raises MailError: FORBIDDEN."""
    if standing.superadmin:
        return
    if before is None:
        raise forbidden("only a superadmin may do this")
    for field in ("alias_of", "suspended", "quota_octets", "mail_host", "alternate_mx"):
        if getattr(before, field) != getattr(now, field):
            raise forbidden(f"{field}: only a superadmin changes this")


def check_granted(domain: str, quota_octets: int | None, granted: int, unlimited: int) -> None:
    """Whether a domain's quota has room for the quotas of its mailboxes. Raises MailError: CONFLICT."""
    if quota_octets is None:
        return
    if unlimited:
        raise conflict("quota_octets", f"{domain} has a quota: each of its mailboxes needs one ({unlimited} without)")
    if granted > quota_octets:
        raise conflict("quota_octets", f"the mailboxes of {domain} would have {granted} octets of its {quota_octets}")


def decide_app(change: AppChange, before: App | None) -> tuple[App, Address]:
    """The app as it shall be, and its mailbox's address. Raises MailError: INVALID (domain, address)."""
    if before is None:
        if not change.domain:
            raise invalid("domain", "a new app needs one")
        address = change.address or Address(local_part=change.name + APP_SUFFIX, domain=change.domain)
    else:
        local_part, _, domain = before.address.rpartition("@")
        address = change.address or Address(local_part=local_part, domain=domain)
    if change.domain and address.domain != change.domain:
        raise invalid("domain", f"the app's mailbox is {address}: another address moves it")
    return App(name=change.name, address=str(address), active=change.active), address


def decide_relay_password(change: DomainChange, before: Domain | None, sealed: bytes) -> bytes:
    """What to keep sealed; `sealed` is what there was. Raises MailError: INVALID (relay.password)."""
    relay = change.domain.relay
    if relay is None or not relay.username:
        return b""
    if change.relay_password_sealed is not None:
        return change.relay_password_sealed
    if before is None or not sealed or not is_same_account(relay, before.relay):
        raise invalid("relay.password", "a username needs one")
    return sealed


def is_same_account(relay: Relay, before: Relay | None) -> bool:
    """Whether a password of the one is the other's: the same host and username."""
    return before is not None and (relay.host, relay.username) == (before.host, before.username)


def decide_members(change: ListChange, ours: Collection[str]) -> tuple[Address, ...]:
    """A list's members in order, each once, folded where the domain is one of `ours`.

    Raises MailError: INVALID (a member of itself).
    """
    members = {
        Address(local_part=fold(each.local_part), domain=each.domain) if each.domain in ours else each
        for each in change.members
    }
    if change.address in members:
        raise invalid("members", "a list can't be a member of itself")
    return tuple(sorted(members, key=lambda each: (each.domain, each.local_part)))


def _decide_owner(change: MailboxChange, before: Mailbox | None) -> Owner:
    stays = before.owner if before is not None else None
    owner = change.owner or stays or own_user(change.address)
    if owner != stays and owner.kind is OwnerKind.APP:
        raise conflict("owner", "an app has the mailbox that was made with it, and no other")
    if stays is not None and stays.kind is OwnerKind.APP and owner != stays:
        raise conflict("owner", f"the mailbox is of app {stays.name} and goes with it")
    return owner


def decide_provider(
    before: StoredProvider | None, wanted: IdentityProvider | None, secret_sealed: bytes | None
) -> StoredProvider | None:
    """The identity provider as it shall be; without a new secret it keeps that of the same issuer and client_id."""
    if wanted is None:
        return None
    kept = b""
    if before is not None and (before.provider.issuer, before.provider.client_id) == (wanted.issuer, wanted.client_id):
        kept = before.secret_sealed
    secret = kept if secret_sealed is None else secret_sealed
    return StoredProvider(provider=msgspec.structs.replace(wanted, has_secret=bool(secret)), secret_sealed=secret)
