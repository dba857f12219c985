"""directory's port for who may administer what (architecture §6: scope checks stand in the owner's query)."""

from typing import Protocol

import msgspec

ADMINISTRATOR = "admin"
"""The actor who stands for the installation's own administrator; no user has this name."""


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """What an actor may administer."""

    actor: str
    superadmin: bool = False
    """Everything."""
    domains: tuple[str, ...] = ()
    """Of a domain admin: the domains, in order, whose objects are theirs."""
    mailboxes: tuple[str, ...] = ()
    """Addresses of the mailboxes that the actor may open, in order, at most MAX_OPENED."""


class StandingRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Of one actor."""

    actor: str


MAX_OPENED = 100
"""Mailboxes that a Standing names."""


class StandingFinder(Protocol):
    """The port of admin-api, for what belongs to no service's object."""

    async def find_standing(self, request: StandingRequest) -> Standing:
        """What this actor may administer now.

        Raises MailError: FORBIDDEN (there is no such active user), UNAVAILABLE.
        """
        ...
