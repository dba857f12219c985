"""The reading half of the directory in memory: the fake of `postbusd.directory.ports.DirectoryReader`."""

import re
from collections.abc import Sequence

from postbus.contracts.mailboxes import Mailbox
from postbus.contracts.owners import Owner, OwnerKind
from postbus.core.address import parse_local_part
from postbus.core.ids import MailboxId
from postbus.testing.directory_tables import DirectoryTables
from postbusd.directory.passwords import digest_of
from postbusd.directory.ports import MAX_CANDIDATES
from postbusd.directory.values import (
    Credential,
    DomainFacts,
    Found,
    Key,
    KeyKind,
    ListFacts,
    Login,
    MailboxFacts,
    Member,
    Opening,
    StoredRoute,
)


class MemoryReader(DirectoryTables):
    """The DirectoryReader."""

    async def find(self, keys: Sequence[Key]) -> tuple[int, dict[Key, Found]]:
        """Revision and answers of one snapshot."""
        self.touch()
        return self.number, {key: self._find(key) for key in keys}

    async def load_login(self, local_part: str, domain: str, tag: int, index: str = "") -> Login | None:
        """A mailbox with what opens it."""
        self.touch()
        mailbox = self.mailboxes.get(f"{local_part}@{domain}")
        if mailbox is None or mailbox.owner is None:
            return None
        kind, name = mailbox.owner.kind, mailbox.owner.name
        if kind is OwnerKind.APP:
            stored = self.credentials.get(name)
            app = self.apps[name]
            credentials = [Credential(name=name, secret_hash=stored, active=app.active)] if stored else []
        else:
            names = self.groups[name].members if kind is OwnerKind.GROUP else (name,)
            credentials = self._passwords(names, tag if kind is OwnerKind.GROUP else None)
            credentials += [
                Credential(
                    name=username,
                    secret_hash=index,
                    active=self.users[username].active,
                    app_password=name,
                    scopes=self.app_passwords[username][name].scopes,
                    expires_ms=self.app_passwords[username][name].expires_ms,
                )
                for (username, name), each in self.app_password_indexes.items()
                if each == index and username in names
            ]
        return Login(
            mailbox=self._facts(mailbox), owner_kind=kind, credentials=tuple(credentials), revision=self.number
        )

    async def load_openings(self, wanted: Sequence[tuple[MailboxId, str]]) -> tuple[int, list[Opening | None]]:
        """What opens each mailbox now, for who opened it."""
        self.touch()
        mailboxes = {each.mailbox_id: each for each in self.mailboxes.values()}
        return self.number, [self._opening(mailboxes.get(mailbox_id), member) for mailbox_id, member in wanted]

    def _opening(self, mailbox: Mailbox | None, member: str) -> Opening | None:
        if mailbox is None or not self._facts(mailbox).active or mailbox.owner is None:
            return None
        kind, name = mailbox.owner.kind, mailbox.owner.name
        digests: list[str] = []
        if kind is OwnerKind.APP:
            if not member and self.apps[name].active and name in self.credentials:
                digests.append(digest_of(self.credentials[name]))
        elif (
            member in (self.groups[name].members if kind is OwnerKind.GROUP else (name,)) and self.users[member].active
        ):
            if not self.has_second_factor(member):
                digests += self.password_digests(member)
            digests += self.provider_digests()
            digests += [digest_of(index) for (of, _), index in self.app_password_indexes.items() if of == member]
        return Opening(digests=tuple(digests), quota_octets=self.effective_quota(mailbox)) if digests else None

    async def load_opener(self, username: str, local_part: str, domain: str) -> tuple[int, MailboxFacts, bool] | None:
        """The mailbox of this name, where the user may open it."""
        self.touch()
        user = self.users.get(username)
        for mailbox in self.mailboxes.values():
            owner = mailbox.owner
            if user is None or owner is None:
                continue
            own = owner == Owner(kind=OwnerKind.USER, name=username)
            of_group = owner.kind is OwnerKind.GROUP and username in self.groups[owner.name].members
            if (own and not local_part) or ((own or of_group) and mailbox.address == f"{local_part}@{domain}"):
                return self.number, self._facts(mailbox), user.active
        return None

    async def find_route(self, names: Sequence[str]) -> StoredRoute:
        """The way out of the longest of these domains that is ours."""
        self.touch()
        ours = sorted((name for name in names if name in self.domains), key=len)
        if not ours:
            return StoredRoute(revision=self.number)
        return StoredRoute(
            revision=self.number,
            domain=ours[-1],
            relay=self.domains[ours[-1]].relay,
            password_sealed=self.relay_passwords.get(ours[-1], b""),
        )

    async def revision(self) -> int:
        """The number of the last change."""
        self.touch()
        return self.number

    def _passwords(self, usernames: Sequence[str], tag: int | None) -> list[Credential]:
        found = [
            (not self.users[name].active, self.passwords[name].tag is None, name)
            for name in usernames
            if name in self.passwords and (tag is None or self.passwords[name].tag in (tag, None))
        ]
        return [
            Credential(
                name=name,
                secret_hash=self.passwords[name].secret_hash,
                active=not inactive,
                second_factor=self.has_second_factor(name),
            )
            for inactive, _, name in sorted(found)[:MAX_CANDIDATES]
        ]

    def _find(self, key: Key) -> Found:
        name = key.domain or next((domain.name for domain in self.domains.values() if domain.incoming), "")
        asked = self.domains.get(name)
        if asked is None:
            return Found()
        name = asked.alias_of or name
        domain = self.domains[name]
        named = key.kind in (KeyKind.NAME, KeyKind.BASE)
        full = key.kind is KeyKind.NAME
        address = f"{key.local_part}@{name}"
        return Found(
            domain=DomainFacts(
                name=name,
                incoming=asked.incoming,
                masquerading=domain.masquerading,
                suspended=asked.suspended or domain.suspended,
                max_message_octets=domain.max_message_octets,
            ),
            mailbox=self._mailbox(address) if named else self._postmaster(key, name),
            alias=self._alias(address) if named else None,
            wildcard=self._wildcard(key.local_part, name) if full else None,
            group=self._group(address) if full else None,
            list=self._list(address) if full else None,
            catch_all=()
            if key.kind is KeyKind.BASE
            else tuple(found for each in sorted(domain.catch_all) if (found := self._mailbox(each)) and found.active),
            senders=tuple(each.mailbox_id for each in self._senders(address)) if full else (),
        )

    def _senders(self, address: str) -> list[Mailbox]:
        found = [each for each in self.mailboxes.values() if address in each.send_as and self.kind_at(address)]
        return sorted(found, key=lambda each: each.mailbox_id)

    def _mailbox(self, address: str) -> MailboxFacts | None:
        mailbox = self.mailboxes.get(address)
        return self._facts(mailbox) if mailbox is not None else None

    def _facts(self, mailbox: Mailbox) -> MailboxFacts:
        return MailboxFacts(
            mailbox_id=mailbox.mailbox_id,
            address=mailbox.address,
            active=mailbox.active and not self.domains[_domain_of(mailbox.address)].suspended,
            quota_octets=self.effective_quota(mailbox),
            pop3=mailbox.pop3,
        )

    def _alias(self, address: str) -> MailboxFacts | None:
        alias = self.aliases.get(address)
        return self._mailbox(alias.mailbox) if alias is not None and "*" not in address.rpartition("@")[0] else None

    def _postmaster(self, key: Key, domain: str) -> MailboxFacts | None:
        if key.kind is KeyKind.BOUNCES and f"{key.local_part}@{domain}" not in self.lists:
            return None
        active = [each for each in self.mailboxes.values() if self._facts(each).active]
        for user in self.users.values():
            owner = Owner(kind=OwnerKind.USER, name=user.username)
            own = [each for each in active if each.owner == owner]
            if user.superadmin and user.active and own:
                return self._facts(own[0])
        active = [each for each in active if _domain_of(each.address) == domain]
        return self._facts(active[0]) if active else None

    def _wildcard(self, local_part: str, domain: str) -> MailboxFacts | None:
        fitting = []
        for alias in self.aliases.values():
            pattern, _, of_domain = alias.address.rpartition("@")
            literals = pattern.split("*")
            if of_domain == domain and len(literals) > 1:
                expression = ".*".join(re.escape(literal) for literal in literals)
                if re.fullmatch(expression, local_part, re.DOTALL):
                    fitting.append((-sum(map(len, literals)), len(literals), pattern.encode(), alias.mailbox))
        return self._mailbox(min(fitting)[-1]) if fitting else None

    def _group(self, address: str) -> tuple[MailboxFacts, ...] | None:
        group = next((each for each in self.groups.values() if each.address == address), None)
        return tuple(self._boxes_of(group.members)) if group is not None else None

    def _boxes_of(self, usernames: Sequence[str]) -> list[MailboxFacts]:
        """The oldest active mailbox of each active user."""
        found = []
        for name in sorted(usernames):
            own = [
                each
                for each in self.mailboxes.values()
                if self._facts(each).active and each.owner == Owner(kind=OwnerKind.USER, name=name)
            ]
            if own and self.users[name].active:
                found.append(self._facts(own[0]))
        return found

    def _list(self, address: str) -> ListFacts | None:
        mailing_list = self.lists.get(address)
        if mailing_list is None:
            return None
        local_part, _, domain = address.rpartition("@")
        members = sorted(
            (_domain_of(member), parse_local_part(member.rpartition("@")[0])) for member in mailing_list.members
        )
        return ListFacts(
            local_part=local_part,
            domain=domain,
            active=mailing_list.active,
            members_only=mailing_list.members_only,
            mailboxes=tuple(
                self._boxes_of(sorted({user for name in mailing_list.groups for user in self.groups[name].members}))
            ),
            members=tuple(
                Member(
                    local_part=name,
                    domain=of_domain,
                    ours=of_domain in self.domains and self.domains[of_domain].incoming,
                )
                for of_domain, name in members
            ),
        )


def _domain_of(address: str) -> str:
    return address.rpartition("@")[2]
