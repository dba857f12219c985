"""A domain's smart host."""

import enum

import msgspec


class RelaySecurity(enum.StrEnum):
    """How a smart host is spoken to."""

    STARTTLS = "starttls"
    """Required, with a valid certificate (RFC 3207)."""
    TLS = "tls"
    """Implicit, with a valid certificate (RFC 8314 §3.3)."""
    NONE = "none"
    """Plain text; never with a password."""


class Relay(msgspec.Struct, frozen=True, kw_only=True):
    """A smart host that takes a domain's outgoing mail."""

    host: str
    port: int = 587
    security: RelaySecurity = RelaySecurity.STARTTLS
    username: str = ""
    """Empty: no login."""
    password: str = ""
    """Only in a Route, and in a request that sets it: administrators never read it back. Setting a relay with a
    username and an empty password keeps the password of the same host and username."""
