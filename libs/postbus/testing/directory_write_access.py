"""Sign-ins, second factors and forgotten passwords of the directory in memory."""

from collections.abc import Sequence

import msgspec

from postbus.contracts.app_passwords import Access
from postbus.contracts.directory import User
from postbus.contracts.identity_provider import IdentityProvider, IdentityProviderReply
from postbus.contracts.standing import Standing
from postbus.testing.directory_write_base import MemoryWrites
from postbusd.directory.administration.refusals import conflict, no_such
from postbusd.directory.administration.rules import decide_provider
from postbusd.directory.administration.scope import check_secrets_of
from postbusd.directory.administration.values import Act, Written
from postbusd.directory.oidc.ports import StoredProvider
from postbusd.directory.passwords import digest_of
from postbusd.directory.values import StoredPassword, StoredSecondFactor, StoredSignIn


class MemoryAccess(MemoryWrites):
    """The SignInStore, the SecondFactorStore and the ResetStore."""

    async def load_sign_in(self, username: str, index: str) -> StoredSignIn | None:
        """With the app password of this index."""
        self.touch()
        user = self.users.get(username)
        if user is None:
            return None
        names = [name for (of, name), each in self.app_password_indexes.items() if (of, each) == (username, index)]
        app_password = self.app_passwords[username][names[0]] if names else None
        stored = self.passwords.get(username)
        return StoredSignIn(
            username=username,
            active=user.active,
            secret_hash=stored.secret_hash if stored is not None else "",
            app_scopes=app_password.scopes if app_password is not None else None,
            app_expires_ms=app_password.expires_ms if app_password is not None else None,
            second_factor=self.second_factors[username] if self.has_second_factor(username) else None,
        )

    async def load_sign_in_digests(self, username: str) -> tuple[str, ...]:
        """Of each secret that signs this user in now."""
        self.touch()
        if username not in self.users or not self.users[username].active:
            return ()
        of_apps = [
            digest_of(index)
            for (of, name), index in self.app_password_indexes.items()
            if of == username and Access.API in self.app_passwords[of][name].scopes
        ]
        return (*self.password_digests(username), *of_apps, *self.provider_digests())

    async def take_code_step(self, username: str, step: int) -> bool:
        """Notes that the code of this step was shown."""
        self.touch()
        stored = self.second_factors[username]
        if stored.last_step >= step:
            return False
        self.second_factors[username] = msgspec.structs.replace(stored, last_step=step)
        return True

    async def take_recovery_code(self, username: str, index: str) -> bool:
        """Ends a code."""
        self.touch()
        left = tuple(each for each in self.recovery_indexes[username] if each != index)
        found = left != self.recovery_indexes[username]
        self._set_recovery(username, left)
        return found

    async def load_second_factor(self, username: str, standing: Standing) -> StoredSecondFactor | None:
        """Also one that is not in force."""
        self.touch()
        self._check_user(username, standing)
        return self.second_factors.get(username)

    async def begin_second_factor(self, username: str, secret_sealed: bytes) -> bool:
        """In place of one that is not in force."""
        self.touch()
        if self.has_second_factor(username):
            return False
        self.second_factors[username] = StoredSecondFactor(secret_sealed=secret_sealed)
        return True

    async def confirm_second_factor(
        self, username: str, secret_sealed: bytes, step: int, recovery_indexes: Sequence[str], act: Act
    ) -> Written[StoredSecondFactor]:
        """Puts it in force."""
        self.touch()
        self.begin(act, None)
        stored = self.second_factors.get(username)
        if stored is None or stored.since_ms is not None or stored.secret_sealed != secret_sealed:
            raise conflict("code", "the second factor was begun anew meanwhile")
        self.second_factors[username] = msgspec.structs.replace(stored, since_ms=self.clock_ms, last_step=step)
        self._set_recovery(username, tuple(recovery_indexes))
        return self.close(self.second_factors[username], changed=True)

    async def end_second_factor(self, username: str, act: Act) -> Written[StoredSecondFactor] | None:
        """The one that was in force."""
        self.touch()
        self.begin(act, None)
        self._check_user(username, act.standing)
        if not self.has_second_factor(username):
            return None
        found = self.second_factors.pop(username)
        self.recovery_indexes.pop(username, None)
        return self.close(found, changed=True)

    async def begin_reset(self, username: str, index: str, seconds: int, pause_seconds: int) -> str:
        """A code in place of the one before; the recovery address."""
        self.touch()
        user = self.users.get(username)
        if user is None or not user.active or not user.recovery_address:
            return ""
        _, begun_ms, _ = self.resets.get(username, ("", 0, 0))
        if begun_ms > self.clock_ms - pause_seconds * 1000:
            return ""
        self.resets[username] = (index, self.clock_ms, self.clock_ms + seconds * 1000)
        return user.recovery_address

    async def find_reset(self, index: str) -> str | None:
        """The active user whose code it is."""
        self.touch()
        return next(
            (
                name
                for name, (known, _, end_ms) in self.resets.items()
                if known == index and end_ms > self.clock_ms and self.users[name].active
            ),
            None,
        )

    async def finish_reset(self, index: str, password: StoredPassword, act: Act) -> Written[User] | None:
        """Ends the code and sets its user's password."""
        username = await self.find_reset(index)
        self.begin(act, None)
        if username is None:
            return None
        del self.resets[username]
        self.passwords[username] = password
        self.former_digests.pop(username, None)
        return self.close(self.users[username], changed=True)

    async def load_identity_provider(self) -> StoredProvider | None:
        """With its secret."""
        self.touch()
        return self.identity_provider

    async def put_identity_provider(
        self, provider: IdentityProvider | None, secret_sealed: bytes | None, act: Act
    ) -> Written[IdentityProviderReply]:
        """Replaces or removes it."""
        self.touch()
        before = self.identity_provider
        self.begin(act, before.provider if before is not None else None)
        self.identity_provider = decide_provider(before, provider, secret_sealed)
        now = self.identity_provider.provider if self.identity_provider is not None else None
        return self.close(IdentityProviderReply(provider=now), changed=self.identity_provider != before)

    def _set_recovery(self, username: str, indexes: tuple[str, ...]) -> None:
        self.recovery_indexes[username] = indexes
        stored = self.second_factors[username]
        self.second_factors[username] = msgspec.structs.replace(stored, recovery_codes=len(indexes))

    def _check_user(self, username: str, standing: Standing) -> None:
        user = self.users.get(username)
        check_secrets_of(standing, username, user, self.opened_domains(username))
        if user is None:
            raise no_such("username", "user", username)
