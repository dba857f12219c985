"""What a client of an identity provider needs from outside."""

from collections.abc import Mapping
from typing import Any, Protocol

import msgspec

from postbus.contracts.identity_provider import IdentityProvider

Claims = dict[str, Any]
"""A JSON object as the provider spelled it."""


class StoredProvider(msgspec.Struct, frozen=True, kw_only=True):
    """The provider with its secret."""

    provider: IdentityProvider
    secret_sealed: bytes = b""
    """For the owner SECRET_OWNER; empty: none."""


class ProviderReader(Protocol):
    """Where its settings are."""

    async def load_identity_provider(self) -> StoredProvider | None:
        """None: there is none. Raises MailError: UNAVAILABLE."""
        ...


class Transport(Protocol):
    """The way there. Every method raises MailError: UNAVAILABLE, saying what went wrong."""

    async def get(self, url: str, bearer: str = "") -> Claims:
        """A document; with a bearer token where one is given. UNAUTHENTICATED: it is not a valid one there."""
        ...

    async def post(self, url: str, form: Mapping[str, str], basic: tuple[str, str] | None) -> tuple[int, Claims]:
        """Status and answer of a form; `basic`: client_id and secret (RFC 6749 §2.3.1)."""
        ...
