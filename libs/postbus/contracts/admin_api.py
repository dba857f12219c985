"""admin-api's port: what an API token allows."""

from typing import Protocol

import msgspec


class VerifyTokenRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A bearer token as received."""

    token: str


class VerifyTokenReply(msgspec.Struct, frozen=True, kw_only=True):
    """The token's owner and scopes; an unknown one raises UNAUTHENTICATED."""

    actor: str
    scopes: tuple[str, ...]


class AdminApi(Protocol):
    """All that admin-api serves over gRPC."""

    async def verify_token(self, request: VerifyTokenRequest) -> VerifyTokenReply:
        """Who this token speaks for."""
        ...
