"""What the tests look at: a message as the filter knows it, without its octets. Built once a message by the service."""

import msgspec


class AuthorAddress(msgspec.Struct, frozen=True, kw_only=True):
    """An address of the From: field."""

    name: str
    """Display name with encoded-words decoded; empty: none."""
    local_part: str
    domain: str
    """Lower-case A-labels; empty: there is none, or it is no domain name."""


class Authentication(msgspec.Struct, frozen=True, kw_only=True):
    """Results of RFC 8601 §2.7; None: the check was not asked for, `temperror`: it could not be finished."""

    spf: str | None = None
    dkim: str | None = None
    """`pass` when any signature passes."""
    dkim_author: bool = False
    """A passing signature is the author domain's own, or aligned with it."""
    dmarc: str | None = None
    dmarc_policy: str = "none"
    """What the owner publishes for this author domain: counts when DMARC fails."""


class ListedSender(msgspec.Struct, frozen=True, kw_only=True):
    """A sender that stands on a list of the administrator's; empty: none does."""

    blocked: str = ""
    welcome: str = ""


class ListHit(msgspec.Struct, frozen=True, kw_only=True):
    """The client stands on a list that the administrator weighs."""

    name: str
    score: float
    detail: str


class MessageView(msgspec.Struct, frozen=True, kw_only=True):
    """A message at end of DATA."""

    fields: tuple[tuple[str, str], ...]
    """Header fields in order: lower-case name, unfolded value."""
    authors: tuple[AuthorAddress, ...] = ()
    text: bytes = b""
    """The text parts, transfer encoding undone, up to a limit."""
    authentication: Authentication = Authentication()
    forged_results: bool = False
    """An Authentication-Results field claims to be ours (RFC 8601 §5)."""
    senders: ListedSender = ListedSender()
    submitted: bool = False
    """Handed in by someone who logged in."""
    client_confirmed: bool | None = True
    """The client's address has a forward-confirmed name (FCrDNS); None: the check could not be finished."""
    helo: str = ""
    dnsbl_hits: tuple[ListHit, ...] = ()
    sent_ms: int | None = None
    received_ms: int = 0

    def count(self, name: str) -> int:
        """How many fields have the lower-case name."""
        return sum(1 for field_name, _ in self.fields if field_name == name)
