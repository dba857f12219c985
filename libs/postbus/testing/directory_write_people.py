"""Mailboxes, users, groups and apps of the directory in memory."""

import msgspec

from postbus.contracts.app_passwords import AppPassword
from postbus.contracts.directory import App, Group, User
from postbus.contracts.mailbox_life import ArchivedMailbox
from postbus.contracts.mailboxes import Mailbox
from postbus.contracts.owners import Owner, OwnerKind
from postbus.contracts.standing import Standing
from postbus.core.address import Address, parse_address
from postbus.core.errors import ErrorKind, MailError
from postbus.testing.directory_write_base import MemoryWrites, cut, is_in, page_of
from postbusd.directory.administration.ports import Domains
from postbusd.directory.administration.refusals import conflict, ended, no_such
from postbusd.directory.administration.rules import decide_app, decide_mailbox, own_user
from postbusd.directory.administration.scope import (
    check_group_change,
    check_owner,
    check_secrets_of,
    check_user_change,
    domain_of,
)
from postbusd.directory.administration.values import (
    Act,
    AppChange,
    Deleted,
    MailboxChange,
    Page,
    PageWanted,
    Place,
    UserChange,
    Written,
)
from postbusd.directory.passwords import digest_of
from postbusd.directory.values import StoredPassword


class MemoryMailboxes(MemoryWrites):
    """The MailboxStore."""

    async def find_place(self, address: Address) -> Place:
        """What stands at an address."""
        self.touch()
        domain = self.domains.get(address.domain)
        return Place(
            ours=address.domain in self.domains,
            kind=self.kind_at(str(address)),
            mailbox=self.shown(str(address)) if str(address) in self.mailboxes else None,
            has_user=str(address) in self.users,
            alias_of=domain.alias_of if domain is not None else "",
            default_quota_octets=domain.default_quota_octets if domain is not None else None,
        )

    async def put_mailbox(self, change: MailboxChange, act: Act) -> Written[Mailbox]:
        """Creates or changes a mailbox."""
        place = await self.find_place(change.address)
        self.begin(act, place.mailbox)
        now = decide_mailbox(change, place)
        self._check_scope(act, change, place, now)
        if place.mailbox is None and change.new_id is None:
            raise ended("address", "mailbox")
        if now.owner == own_user(change.address):
            self.users.setdefault(now.address, User(username=now.address))
        if now.owner is not None and not self.owner_exists(now.owner):
            raise no_such("owner", now.owner.kind.value, now.owner.name)
        for address in change.send_as or ():
            if not self.kind_at(str(address)):
                raise no_such("send_as", "address", address)
        with self.undone_by_refusal():
            self.mailboxes[now.address] = now
            if place.mailbox is None or now.quota_octets != place.mailbox.quota_octets:
                self.require_quota(change.address.domain)
        changed = place.mailbox != now
        if change.password is not None:
            changed |= self.passwords.get(now.address) != change.password
            self.passwords[now.address] = change.password
            self.former_digests.pop(now.address, None)
        return self.close(now, changed=changed, created=place.mailbox is None)

    async def get_mailbox(self, address: Address) -> Mailbox:
        """One mailbox."""
        self.touch()
        if str(address) not in self.mailboxes:
            raise no_such("name", "mailbox", address)
        return self.shown(str(address))

    async def list_mailboxes(self, domains: Domains, wanted: PageWanted) -> Page[Mailbox]:
        """Mailboxes by address, as wanted."""
        self.touch()
        page = page_of(self.mailboxes, wanted, is_in(domains))
        return Page(objects=tuple(self.shown(each.address) for each in page.objects), more=page.more)

    async def delete_mailbox(self, address: Address, act: Act, *, dry_run: bool, purge: bool = False) -> Deleted:
        """Ends a mailbox, and its own user who has nothing else."""
        mailbox = await self.get_mailbox(address)
        self.begin(act, mailbox)
        if mailbox.owner is not None and mailbox.owner.kind is OwnerKind.APP:
            raise conflict("name", f"it is the mailbox of app {mailbox.owner.name} and goes with it")
        lines = [f"mailbox {address}", *self.ties_of(mailbox.address)]
        own = mailbox.owner == own_user(address) and self._has_nothing_else(mailbox)
        lines += [f"user {address}"] if own else []
        if not dry_run:
            self._end_mailbox(mailbox, purge=purge)
        if own and not dry_run:
            del self.users[mailbox.address]
            self.drop_secrets(mailbox.address)
        return self.close_deletion(lines, dry_run=dry_run)

    def _check_scope(self, act: Act, change: MailboxChange, place: Place, now: Mailbox) -> None:
        if act.standing.superadmin or now.owner is None:
            return
        name = str(change.address)
        if change.password is not None:
            user = self.users.get(name)
            check_user_change(act.standing, user, user or User(username=name), self.opened_domains(name))
        if now.owner == own_user(change.address) or (place.mailbox is not None and now.owner == place.mailbox.owner):
            return
        domains = self.opened_domains(now.owner.name, by_groups=False) | {domain_of(now.owner.name)}
        if now.owner.kind is OwnerKind.GROUP:
            group = self.groups.get(now.owner.name)
            domains = frozenset([domain_of(group.address)]) if group is not None else frozenset()
        check_owner(act.standing, now.owner, domains)

    def _has_nothing_else(self, mailbox: Mailbox) -> bool:
        owned = [each for each in self.mailboxes.values() if each.owner == mailbox.owner]
        user = self.users[mailbox.address]
        if user.superadmin or user.admin_of:
            return False
        return len(owned) == 1 and not any(mailbox.address in group.members for group in self.groups.values())

    def _end_mailbox(self, mailbox: Mailbox, *, purge: bool = False) -> None:
        del self.mailboxes[mailbox.address]
        archived = ArchivedMailbox(
            mailbox_id=mailbox.mailbox_id,
            address=mailbox.address,
            deleted_ms=self.clock_ms,
            owner=mailbox.owner,
            purging=purge,
        )
        self.deleted_mailboxes[mailbox.mailbox_id] = (archived, mailbox)
        for each in [each for each in self.aliases.values() if each.mailbox == mailbox.address]:
            del self.aliases[each.address]
        self._rename_in_catch_all(mailbox.address, None)

    def _rename_in_catch_all(self, address: str, new: str | None) -> None:
        for each in self.domains.values():
            if address in each.catch_all:
                kept = {name for name in each.catch_all if name != address} | ({new} if new else set())
                self.domains[each.name] = msgspec.structs.replace(each, catch_all=tuple(sorted(kept)))


class MemoryUsers(MemoryWrites):
    """The UserStore."""

    async def load_password(self, username: str) -> StoredPassword | None:
        """None: there is no such user, or he has no password."""
        self.touch()
        return self.passwords.get(username)

    async def change_password(self, username: str, before: str, password: StoredPassword, act: Act) -> Written[User]:
        """Where it still has the hash `before`."""
        self.touch()
        user = self.users[username]
        self.begin(act, user)
        stored = self.passwords.get(username)
        if stored is None or stored.secret_hash != before:
            raise conflict("current_password", "the password was changed meanwhile")
        self.passwords[username] = password
        self.former_digests.pop(username, None)
        return self.close(user, changed=stored != password)

    async def put_user(self, change: UserChange, act: Act) -> Written[User]:
        """Creates or replaces a user."""
        self.touch()
        name = change.user.username
        before = self.users.get(name)
        self.begin(act, before)
        check_user_change(act.standing, before, change.user, self.opened_domains(name))
        for domain in change.user.admin_of:
            self.require_domain("admin_of", domain)
        changed = before != change.user
        self.users[name] = change.user
        if change.password is not None:
            changed |= self.passwords.get(name) != change.password
            self.passwords[name] = change.password
            self.former_digests.pop(name, None)
        return self.close(change.user, changed=changed, created=before is None)

    async def get_user(self, username: str) -> User:
        """One user."""
        self.touch()
        if username not in self.users:
            raise no_such("name", "user", username)
        return self.users[username]

    async def list_users(self, domains: Domains, wanted: PageWanted) -> Page[User]:
        """Users by name, as wanted."""
        self.touch()

        def is_wanted(user: User) -> bool:
            of_user = {domain_of(user.username), *self.opened_domains(user.username, by_groups=False)}
            return domains is None or not of_user.isdisjoint(domains)

        return page_of(self.users, wanted, is_wanted, lambda each: each.display_name)

    async def owned_domains(self, username: str) -> frozenset[str]:
        """Of the mailboxes that a user owns himself."""
        self.touch()
        return self.opened_domains(username, by_groups=False)

    async def load_standing(self, actor: str) -> Standing:
        """Raises MailError: FORBIDDEN."""
        self.touch()
        return self.standing_of(actor)

    async def delete_user(self, username: str, act: Act, *, dry_run: bool) -> Deleted:
        """Deletes a user who owns no mailbox, with his memberships."""
        user = await self.get_user(username)
        self.begin(act, user)
        check_user_change(act.standing, user, user, self.opened_domains(username))
        self.require_idle(username, Owner(kind=OwnerKind.USER, name=username))
        groups = sorted(each.name for each in self.groups.values() if username in each.members)
        if not dry_run:
            del self.users[username]
            self.drop_secrets(username)
            for name in groups:
                group = self.groups[name]
                members = tuple(each for each in group.members if each != username)
                self.groups[name] = msgspec.structs.replace(group, members=members)
        lines = [f"user {username}", *(f"membership in group {name}" for name in groups)]
        return self.close_deletion(lines, dry_run=dry_run)


class MemoryAppPasswords(MemoryWrites):
    """The AppPasswordStore and the PasswordKeeper."""

    async def add_app_password(
        self, username: str, made: AppPassword, index: str, most: int, act: Act
    ) -> Written[AppPassword]:
        """One more of a user."""
        self.touch()
        self.begin(act, None)
        found = self._of(username, act.standing)
        if made.name in found:
            raise MailError(ErrorKind.ALREADY_EXISTS, "name: there is an app password of this name")
        if len(found) >= most:
            raise MailError(ErrorKind.LIMIT, f"name: {username} has {most} app passwords, which is the most")
        self.app_passwords[username] = {**found, made.name: made}
        self.app_password_indexes[username, made.name] = index
        return self.close(made, changed=True, created=True)

    async def list_app_passwords(self, username: str, standing: Standing) -> tuple[AppPassword, ...]:
        """By name."""
        self.touch()
        found = self._of(username, standing)
        return tuple(found[name] for name in sorted(found))

    async def delete_app_password(self, username: str, name: str, act: Act) -> Written[AppPassword]:
        """One of a user's."""
        self.touch()
        self.begin(act, None)
        found = self._of(username, act.standing)
        if name not in found:
            raise no_such("name", "app password", name)
        self.app_passwords[username] = {key: each for key, each in found.items() if key != name}
        del self.app_password_indexes[username, name]
        return self.close(found[name], changed=True)

    async def replace_password(self, username: str, before: str, password: StoredPassword) -> bool:
        """Hashes anew what has the hash `before`."""
        self.touch()
        stored = self.passwords.get(username)
        if stored is None or stored.secret_hash != before:
            return False
        self.passwords[username] = password
        self.former_digests[username] = digest_of(before)
        return True

    async def touch_app_password(self, index: str) -> None:
        """Notes its use."""
        self.touch()
        for (username, name), each in self.app_password_indexes.items():
            if each == index:
                used = msgspec.structs.replace(self.app_passwords[username][name], last_used_ms=1)
                self.app_passwords[username] = {**self.app_passwords[username], name: used}

    def _of(self, username: str, standing: Standing) -> dict[str, AppPassword]:
        user = self.users.get(username)
        check_secrets_of(standing, username, user, self.opened_domains(username))
        if user is None:
            raise no_such("username", "user", username)
        return self.app_passwords.get(username, {})


class MemoryGroups(MemoryWrites):
    """The GroupStore."""

    async def put_group(self, group: Group, act: Act) -> Written[Group]:
        """Creates or replaces a group."""
        self.touch()
        before = self.groups.get(group.name)
        self.begin(act, before)
        check_group_change(act.standing, before, group, self._domains_of(group.name))
        if group.address and (before is None or before.address != group.address):
            self.require_free(parse_address(group.address))
        missing = [name for name in group.members if name not in self.users]
        if missing:
            raise no_such("members", "user", missing[0])
        self.groups[group.name] = group
        return self.close(group, changed=before != group, created=before is None)

    async def get_group(self, name: str) -> Group:
        """One group."""
        self.touch()
        if name not in self.groups:
            raise no_such("name", "group", name)
        return self.groups[name]

    async def list_groups(self, domains: Domains, wanted: PageWanted) -> Page[Group]:
        """Groups by name, as wanted."""
        self.touch()
        return cut(page_of(self.groups, wanted, is_in(domains)), lambda each: len(each.members))

    async def delete_group(self, name: str, act: Act, *, dry_run: bool) -> Deleted:
        """Deletes a group that owns no mailbox."""
        group = await self.get_group(name)
        self.begin(act, group)
        check_group_change(act.standing, group, group, self._domains_of(name))
        self.require_idle(name, Owner(kind=OwnerKind.GROUP, name=name))
        lists = sorted(address for address, each in self.lists.items() if name in each.groups)
        if not dry_run:
            del self.groups[name]
            for address in lists:
                left = tuple(each for each in self.lists[address].groups if each != name)
                self.lists[address] = msgspec.structs.replace(self.lists[address], groups=left)
        lines = [f"group {name}"] + ([f"its address {group.address}"] if group.address else [])
        lines += [f"place in list {address}" for address in lists]
        return self.close_deletion(lines, dry_run=dry_run)

    def _domains_of(self, name: str) -> frozenset[str]:
        owner = Owner(kind=OwnerKind.GROUP, name=name)
        return frozenset(domain_of(each.address) for each in self.mailboxes.values() if each.owner == owner)


class MemoryApps(MemoryMailboxes):
    """The AppStore."""

    async def find_app(self, name: str) -> App | None:
        """None: there is none."""
        self.touch()
        return self.apps.get(name)

    async def put_app(self, change: AppChange, act: Act) -> Written[App]:
        """Creates or changes an app with its mailbox."""
        self.touch()
        before = self.apps.get(change.name)
        self.begin(act, before)
        now, address = decide_app(change, before)
        if before is None and change.new_id is None:
            raise ended("name", "app")
        if before is None or before.address != now.address:
            self.require_free(address)
        self.apps[now.name] = now
        if before is None and change.new_id is not None:
            owner = Owner(kind=OwnerKind.APP, name=now.name)
            with self.undone_by_refusal():
                self.mailboxes[now.address] = Mailbox(mailbox_id=change.new_id, address=now.address, owner=owner)
                self.require_quota(address.domain)
        elif before is not None and before.address != now.address:
            self._move_mailbox(before.address, now.address)
        if before is None or change.rotate:
            self.credentials[now.name] = change.credential
        return self.close(now, changed=before != now or change.rotate, created=before is None)

    async def list_apps(self, domains: Domains, wanted: PageWanted) -> Page[App]:
        """Apps by name, as wanted."""
        self.touch()
        return page_of(self.apps, wanted, is_in(domains))

    async def delete_app(self, name: str, act: Act, *, dry_run: bool) -> Deleted:
        """Deletes an app and ends its mailbox."""
        app = await self.find_app(name)
        if app is None:
            raise no_such("name", "app", name)
        self.begin(act, app)
        lines = [f"app {name}", f"mailbox {app.address}", *self.ties_of(app.address)]
        if not dry_run:
            self._end_mailbox(self.mailboxes[app.address])
            del self.apps[name]
            self.credentials.pop(name, None)
        return self.close_deletion(lines, dry_run=dry_run)

    def _move_mailbox(self, address: str, new: str) -> None:
        """Keeps its place in the order of creation."""
        self.mailboxes = {
            new if name == address else name: msgspec.structs.replace(each, address=new) if name == address else each
            for name, each in self.mailboxes.items()
        }
        for each in [each for each in self.aliases.values() if each.mailbox == address]:
            self.aliases[each.address] = msgspec.structs.replace(each, mailbox=new)
        self._rename_in_catch_all(address, new)
