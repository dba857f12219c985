"""Whose passwords open a mailbox."""

import enum

import msgspec


class OwnerKind(enum.StrEnum):
    """Whose passwords open a mailbox."""

    USER = "user"
    GROUP = "group"
    APP = "app"


class Owner(msgspec.Struct, frozen=True, kw_only=True):
    """The owner of a mailbox: a user's, group's or app's name."""

    kind: OwnerKind
    name: str
