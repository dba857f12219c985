"""What directory needs from outside to answer questions, beyond the ports of the libraries.

Every method raises MailError: UNAVAILABLE when the database is away. The ports of the administrator's commands stand
in `administration.ports`.
"""

from collections.abc import Sequence
from typing import Protocol

from postbus.core.ids import MailboxId
from postbusd.directory.values import Found, Key, Login, MailboxFacts, Opening, StoredPassword, StoredRoute


class DirectoryReader(Protocol):
    """The port of the resolver and of the routes."""

    async def find(self, keys: Sequence[Key]) -> tuple[int, dict[Key, Found]]:
        """Revision and answers of one snapshot, in one query; every key has an answer."""
        ...

    async def load_login(self, local_part: str, domain: str, tag: int, index: str = "") -> Login | None:
        """A mailbox with what opens it, by its folded name; None: there is none. `index`: of the password given.

        Of app passwords only the one with this index, of a user who may open it.
        Of a group's mailbox only the credentials whose tag is `tag` or unknown, at most MAX_CANDIDATES of them: active
        members first, then those whose tag is known, then by name.
        """
        ...

    async def load_openings(self, wanted: Sequence[tuple[MailboxId, str]]) -> tuple[int, list[Opening | None]]:
        """Revision and, for each mailbox with the name of who opened it (empty: its app), what opens it now.

        None: the mailbox or its opener is gone or not active, or may not open it any more.
        """
        ...

    async def load_opener(self, username: str, local_part: str, domain: str) -> tuple[int, MailboxFacts, bool] | None:
        """Revision, the mailbox of this name (empty: the user's own, the oldest), whether the user is active.

        None: there is none, or it is neither the user's nor that of a group of his.
        """
        ...

    async def find_route(self, names: Sequence[str]) -> StoredRoute:
        """The way out of the longest of these domains that is ours."""
        ...

    async def revision(self) -> int:
        """The number of the last committed change."""
        ...


MAX_CANDIDATES = 8
"""Passwords that one login at a group's mailbox may cost (architecture §6)."""


class PasswordKeeper(Protocol):
    """What a login writes: nothing that others must hear of."""

    async def replace_password(self, username: str, before: str, password: StoredPassword) -> bool:
        """Hashes anew what has the hash `before`; False: it has another one by now."""
        ...

    async def touch_app_password(self, index: str) -> None:
        """Notes its use, to the hour."""
        ...


class LoginRepository(DirectoryReader, PasswordKeeper, Protocol):
    """The port of the login check."""


class PasswordHasher(Protocol):
    """Slow hashing on bounded threads."""

    async def hash(self, password: str) -> str:
        """A new hash. Raises MailError: UNAVAILABLE when too many wait."""
        ...

    async def verify(self, password_hash: str, password: str) -> bool:
        """Whether the password belongs to the hash. Raises MailError: UNAVAILABLE when too many wait."""
        ...

    def is_outdated(self, password_hash: str) -> bool:
        """Whether a new hash would be made otherwise: another scheme's, or other costs."""
        ...

    async def verify_nothing(self, password: str) -> None:
        """Costs what `verify` costs: for accounts that do not exist."""
        ...
