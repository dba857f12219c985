"""directory as administrators see it, in memory: the objects, their ties, the refusals. It resolves and hashes nothing.

What names are allowed is directory's affair; here they only have to look like names.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypeVar

import msgspec

from postbus.contracts.directory import (
    Alias,
    AliasPage,
    App,
    AppPage,
    DeleteReply,
    DeleteRequest,
    Domain,
    Group,
    GroupPage,
    ListDomainsReply,
    ListDomainsRequest,
    ListMailboxesReply,
    ListMailboxesRequest,
    ListPage,
    Mailbox,
    MailingList,
    ObjectRequest,
    Owner,
    OwnerKind,
    PageRequest,
    PutAliasReply,
    PutAliasRequest,
    PutAppReply,
    PutAppRequest,
    PutDomainRequest,
    PutGroupReply,
    PutGroupRequest,
    PutListReply,
    PutListRequest,
    PutMailboxReply,
    PutMailboxRequest,
    PutUserReply,
    PutUserRequest,
    User,
    UserPage,
)
from postbus.contracts.policy import GetPolicyRequest, Policy, PolicyReply, PutPolicyRequest
from postbus.core.errors import ErrorKind, MailError
from postbus.core.ids import MailboxId
from postbusd.directory.administration.policies import check_policy

MIN_PASSWORD_CHARACTERS = 6
_NAME = re.compile(r"[^\s/@]+(@[^\s/@]+)?\Z")
_DOMAIN = re.compile(r"[a-z0-9-]+(\.[a-z0-9-]+)+\Z")
_ADDRESS = re.compile(r"[a-z0-9*-]+(\.[a-z0-9*-]+)*@[a-z0-9-]+(\.[a-z0-9-]+)+\Z")

Value = TypeVar("Value")


class _Paged(Protocol):
    """What every list request has."""

    @property
    def after(self) -> str: ...

    @property
    def limit(self) -> int: ...


class MemoryDirectoryAdmin:
    """The DirectoryAdmin; `away` makes every call UNAVAILABLE; `actors` is who asked."""

    def __init__(self) -> None:
        self.away = False
        self.actors: list[str] = []
        self.domains: dict[str, Domain] = {}
        self.users: dict[str, User] = {}
        self.groups: dict[str, Group] = {}
        self.apps: dict[str, App] = {}
        self.mailboxes: dict[str, Mailbox] = {}
        self.aliases: dict[str, Alias] = {}
        self.lists: dict[str, MailingList] = {}
        self.policy = Policy()
        self.passwords: dict[str, str] = {}
        self.relay_passwords: dict[str, str] = {}

    async def get_policy(self, request: GetPolicyRequest) -> PolicyReply:
        """What holds now."""
        self._enter(request.actor)
        return PolicyReply(policy=self.policy, revision=1)

    async def put_policy(self, request: PutPolicyRequest) -> PolicyReply:
        """Replaces it."""
        self._enter(request.actor)
        self.policy = check_policy(request.policy)
        return PolicyReply(policy=self.policy, revision=1)

    async def put_domain(self, request: PutDomainRequest) -> Domain:
        """Creates or replaces a domain; the relay's password is kept and not told."""
        self._enter(request.actor)
        wanted = request.domain
        name = wanted.name.lower()
        if not _DOMAIN.match(name):
            raise MailError(ErrorKind.INVALID, "name: a domain has two labels or more")
        for address in wanted.catch_all:
            _find(self.mailboxes, address, "catch_all")
        before = self.domains.get(name)
        relay = wanted.relay
        if relay is not None:
            same = before is not None and before.relay is not None
            same = same and before.relay.host == relay.host and before.relay.username == relay.username  # type: ignore[union-attr]
            kept = self.relay_passwords.get(name, "") if same else ""
            self.relay_passwords[name] = relay.password or kept
            relay = msgspec.structs.replace(relay, password="")
        self.domains[name] = msgspec.structs.replace(wanted, name=name, relay=relay)
        return self.domains[name]

    async def list_domains(self, request: ListDomainsRequest) -> ListDomainsReply:
        """One page of domains."""
        self._enter(request.actor)
        found, after = _page(self.domains, request)
        return ListDomainsReply(domains=found, next_after=after)

    async def get_domain(self, request: ObjectRequest) -> Domain:
        """One domain."""
        self._enter(request.actor)
        return _find(self.domains, request.name)

    async def delete_domain(self, request: DeleteRequest) -> DeleteReply:
        """Deletes a domain that nothing lives in."""
        self._enter(request.actor)
        domain = _find(self.domains, request.name)
        for address in [*self.mailboxes, *self.aliases, *self.lists]:
            if address.endswith(f"@{domain.name}"):
                raise MailError(ErrorKind.CONFLICT, f"name: {address} lives in {domain.name}")
        return _delete(self.domains, domain.name, request, f"domain {domain.name}")

    async def put_user(self, request: PutUserRequest) -> PutUserReply:
        """Creates or replaces a user."""
        self._enter(request.actor)
        name = _check_name(request.user.username)
        self._take_password(name, request.password)
        created = name not in self.users
        self.users[name] = msgspec.structs.replace(request.user, username=name)
        return PutUserReply(user=self.users[name], created=created)

    async def get_user(self, request: ObjectRequest) -> User:
        """One user."""
        self._enter(request.actor)
        return _find(self.users, request.name)

    async def list_users(self, request: PageRequest) -> UserPage:
        """One page of users."""
        self._enter(request.actor)
        found, after = _page(self.users, request)
        return UserPage(users=found, next_after=after)

    async def delete_user(self, request: DeleteRequest) -> DeleteReply:
        """Deletes a user who owns no mailbox."""
        self._enter(request.actor)
        user = _find(self.users, request.name)
        self._check_owns_nothing(Owner(kind=OwnerKind.USER, name=user.username))
        return _delete(self.users, user.username, request, f"user {user.username}")

    async def put_group(self, request: PutGroupRequest) -> PutGroupReply:
        """Creates or replaces a group."""
        self._enter(request.actor)
        name = _check_name(request.group.name)
        for member in request.group.members:
            _find(self.users, member, "members")
        if request.group.address:
            self._check_address(request.group.address)
        created = name not in self.groups
        self.groups[name] = msgspec.structs.replace(request.group, name=name)
        return PutGroupReply(group=self.groups[name], created=created)

    async def get_group(self, request: ObjectRequest) -> Group:
        """One group."""
        self._enter(request.actor)
        return _find(self.groups, request.name)

    async def list_groups(self, request: PageRequest) -> GroupPage:
        """One page of groups."""
        self._enter(request.actor)
        found, after = _page(self.groups, request)
        return GroupPage(groups=found, next_after=after)

    async def delete_group(self, request: DeleteRequest) -> DeleteReply:
        """Deletes a group that owns no mailbox."""
        self._enter(request.actor)
        group = _find(self.groups, request.name)
        self._check_owns_nothing(Owner(kind=OwnerKind.GROUP, name=group.name))
        return _delete(self.groups, group.name, request, f"group {group.name}")

    async def put_app(self, request: PutAppRequest) -> PutAppReply:
        """Creates or changes an app; credentials are numbered."""
        self._enter(request.actor)
        name = _check_name(request.name)
        before = self.apps.get(name)
        if before is None and not request.domain:
            raise MailError(ErrorKind.INVALID, "domain: a new app needs one")
        address = request.address or (before.address if before else f"{name}.app@{request.domain}")
        self._check_address(address)
        self.apps[name] = App(name=name, address=address, active=request.active)
        if before is not None:
            self.mailboxes.pop(before.address, None)
        self._make_mailbox(address, Owner(kind=OwnerKind.APP, name=name))
        credential = ""
        if before is None or request.rotate:
            credential = f"credential-{len(self.passwords) + len(self.actors)}"
            self.passwords[f"app {name}"] = credential
        return PutAppReply(app=self.apps[name], created=before is None, credential=credential)

    async def get_app(self, request: ObjectRequest) -> App:
        """One app."""
        self._enter(request.actor)
        return _find(self.apps, request.name)

    async def list_apps(self, request: PageRequest) -> AppPage:
        """One page of apps."""
        self._enter(request.actor)
        found, after = _page(self.apps, request, lambda app: app.address)
        return AppPage(apps=found, next_after=after)

    async def delete_app(self, request: DeleteRequest) -> DeleteReply:
        """Deletes an app and its mailbox."""
        self._enter(request.actor)
        app = _find(self.apps, request.name)
        if not request.dry_run:
            del self.mailboxes[app.address]
        return _delete(self.apps, app.name, request, f"app {app.name}", f"mailbox {app.address}")

    async def put_mailbox(self, request: PutMailboxRequest) -> PutMailboxReply:
        """Creates or changes a mailbox."""
        self._enter(request.actor)
        address = self._check_address(request.address)
        if (request.quota_octets or 0) < 0:
            raise MailError(ErrorKind.INVALID, "quota_octets: not below zero")
        before = self.mailboxes.get(address)
        if before is None and request.owner is None:
            if request.password is None:
                raise MailError(ErrorKind.INVALID, "password: a new mailbox needs one")
            self.users[address] = User(username=address)
        if request.owner is not None:
            kinds: dict[OwnerKind, Mapping[str, object]] = {
                OwnerKind.USER: self.users,
                OwnerKind.GROUP: self.groups,
                OwnerKind.APP: self.apps,
            }
            _find(kinds[request.owner.kind], request.owner.name, "owner")
        self._take_password(address, request.password)
        now = before or self._make_mailbox(address, request.owner or Owner(kind=OwnerKind.USER, name=address))
        now = msgspec.structs.replace(
            now,
            owner=request.owner or now.owner,
            active=now.active if request.active is None else request.active,
            quota_octets=now.quota_octets if request.quota_octets is None else request.quota_octets or None,
        )
        self.mailboxes[address] = now
        return PutMailboxReply(mailbox=now, created=before is None)

    async def list_mailboxes(self, request: ListMailboxesRequest) -> ListMailboxesReply:
        """One page of mailboxes."""
        self._enter(request.actor)
        found, after = _page(self.mailboxes, request)
        return ListMailboxesReply(mailboxes=found, next_after=after)

    async def get_mailbox(self, request: ObjectRequest) -> Mailbox:
        """One mailbox."""
        self._enter(request.actor)
        return _find(self.mailboxes, request.name)

    async def delete_mailbox(self, request: DeleteRequest) -> DeleteReply:
        """Ends a mailbox and its aliases."""
        self._enter(request.actor)
        mailbox = _find(self.mailboxes, request.name)
        ended = [alias.address for alias in self.aliases.values() if alias.mailbox == mailbox.address]
        if not request.dry_run:
            self.aliases = {name: alias for name, alias in self.aliases.items() if name not in ended}
        lines = [f"alias {address}" for address in ended]
        return _delete(self.mailboxes, mailbox.address, request, f"mailbox {mailbox.address}", *lines)

    async def put_alias(self, request: PutAliasRequest) -> PutAliasReply:
        """Creates or replaces an alias."""
        self._enter(request.actor)
        address = self._check_address(request.alias.address)
        if address in self.mailboxes or address in self.lists:
            raise MailError(ErrorKind.CONFLICT, f"address: {address} is taken")
        mailbox = _find(self.mailboxes, request.alias.mailbox, "mailbox")
        created = address not in self.aliases
        self.aliases[address] = Alias(address=address, mailbox=mailbox.address)
        return PutAliasReply(alias=self.aliases[address], created=created)

    async def get_alias(self, request: ObjectRequest) -> Alias:
        """One alias."""
        self._enter(request.actor)
        return _find(self.aliases, request.name)

    async def list_aliases(self, request: PageRequest) -> AliasPage:
        """One page of aliases."""
        self._enter(request.actor)
        found, after = _page(self.aliases, request)
        return AliasPage(aliases=found, next_after=after)

    async def delete_alias(self, request: DeleteRequest) -> DeleteReply:
        """Deletes an alias."""
        self._enter(request.actor)
        alias = _find(self.aliases, request.name)
        return _delete(self.aliases, alias.address, request, f"alias {alias.address}")

    async def put_list(self, request: PutListRequest) -> PutListReply:
        """Creates or replaces a list."""
        self._enter(request.actor)
        address = self._check_address(request.list.address)
        created = address not in self.lists
        self.lists[address] = msgspec.structs.replace(request.list, address=address)
        return PutListReply(list=self.lists[address], created=created)

    async def get_list(self, request: ObjectRequest) -> MailingList:
        """One list."""
        self._enter(request.actor)
        return _find(self.lists, request.name)

    async def list_lists(self, request: PageRequest) -> ListPage:
        """One page of lists."""
        self._enter(request.actor)
        found, after = _page(self.lists, request)
        return ListPage(lists=found, next_after=after)

    async def delete_list(self, request: DeleteRequest) -> DeleteReply:
        """Deletes a list."""
        self._enter(request.actor)
        found = _find(self.lists, request.name)
        return _delete(self.lists, found.address, request, f"list {found.address}")

    def _enter(self, actor: str) -> None:
        self.actors.append(actor)
        if self.away:
            raise MailError(ErrorKind.UNAVAILABLE, "the directory's database is not available")

    def _check_address(self, text: str) -> str:
        address = text.lower()
        if not _ADDRESS.match(address):
            raise MailError(ErrorKind.INVALID, "address: the local part takes letters, digits, - and dots")
        domain = address.partition("@")[2]
        if domain not in self.domains:
            raise MailError(ErrorKind.NOT_FOUND, f"address: there is no domain {domain} here")
        return address

    def _take_password(self, name: str, password: str | None) -> None:
        if password is None:
            return
        if len(password) < MIN_PASSWORD_CHARACTERS:
            raise MailError(ErrorKind.INVALID, f"password: at least {MIN_PASSWORD_CHARACTERS} characters")
        self.passwords[name] = password

    def _make_mailbox(self, address: str, owner: Owner) -> Mailbox:
        made = Mailbox(mailbox_id=MailboxId(f"id of {address}"), address=address, owner=owner)
        self.mailboxes[address] = made
        return made

    def _check_owns_nothing(self, owner: Owner) -> None:
        owned = next((each.address for each in self.mailboxes.values() if each.owner == owner), None)
        if owned is not None:
            raise MailError(ErrorKind.CONFLICT, f"name: {owner.name} owns {owned}")


def _check_name(text: str) -> str:
    if not _NAME.match(text):
        raise MailError(ErrorKind.INVALID, "name: no spaces")
    return text.lower()


def _find(found: Mapping[str, Value], name: str, field: str = "name") -> Value:
    if name.lower() not in found:
        raise MailError(ErrorKind.NOT_FOUND, f"{field}: there is no {name}")
    return found[name.lower()]


def _delete(found: dict[str, Any], name: str, request: DeleteRequest, *lines: str) -> DeleteReply:
    if not request.dry_run:
        del found[name]
    return DeleteReply(deleted=lines)


def _page(
    found: Mapping[str, Value], request: _Paged, address: Callable[[Value], str] | None = None
) -> tuple[tuple[Value, ...], str]:
    """Values with a name after `after`, of the request's domain, and the name to go on after."""
    domain = getattr(request, "domain", "")
    if domain and not _DOMAIN.match(domain):
        raise MailError(ErrorKind.INVALID, "domain: malformed domain")
    names = [
        name
        for name, value in sorted(found.items())
        if name > request.after and (not domain or (address(value) if address else name).endswith(f"@{domain}"))
    ]
    page = names[: request.limit]
    return tuple(found[name] for name in page), page[-1] if len(names) > len(page) else ""
