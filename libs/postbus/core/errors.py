"""The one error that travels between layers and services (house-style §5).

`kind` says what a caller may act on; each rim (SMTP, IMAP, gRPC, HTTP) renders it by a table of its own, so that a kind
survives every hop. The detail is for people: it names the field and the reason, never a secret.
"""

import enum

import msgspec


class ErrorKind(enum.StrEnum):
    """What a caller may act on; a closed list, mirrored by postbus.common.v1.ErrorKind."""

    INVALID = "invalid"
    """The request is malformed; the detail names the field."""
    NOT_FOUND = "not_found"
    ALREADY_EXISTS = "already_exists"
    CONFLICT = "conflict"
    """The object's state forbids this."""
    CHANGED = "changed"
    """The object is not, or no longer, what the request's condition says."""
    UNAUTHENTICATED = "unauthenticated"
    FORBIDDEN = "forbidden"
    INACTIVE = "inactive"
    """The mailbox or domain exists but is switched off."""
    OVER_QUOTA = "over_quota"
    TOO_LARGE = "too_large"
    LIMIT = "limit"
    """A named bound of promise 7 was reached."""
    RATE_LIMITED = "rate_limited"
    REJECTED_POLICY = "rejected_policy"
    UNAVAILABLE = "unavailable"
    """A dependency is away: a delay, never a refusal (promise 4)."""
    INTERNAL = "internal"
    """Our bug; the detail carries an incident id only."""


class Retry(msgspec.Struct, frozen=True, kw_only=True):
    """Whether the same request may succeed later: never (after_seconds None), or not before that many seconds."""

    after_seconds: int | None = None


NEVER = Retry()
LATER = Retry(after_seconds=0)


def after(seconds: int) -> Retry:
    """Retry not before `seconds`."""
    return Retry(after_seconds=seconds)


_LATER_KINDS = frozenset({ErrorKind.UNAVAILABLE, ErrorKind.RATE_LIMITED, ErrorKind.INTERNAL})


class MailError(Exception):
    """A failure with a kind that callers act on, a detail for people and advice on retrying."""

    def __init__(self, kind: ErrorKind, detail: str, retry: Retry | None = None) -> None:
        """Without `retry`, kinds that heal by themselves say LATER, all others NEVER."""
        super().__init__(kind, detail)
        self.kind = kind
        self.detail = detail
        self.retry = retry if retry is not None else (LATER if kind in _LATER_KINDS else NEVER)

    def __str__(self) -> str:
        """`kind: detail`."""
        return f"{self.kind}: {self.detail}"


class ProtocolError(Exception):
    """Base of what the sans-I/O engines raise."""


class LocalProtocolError(ProtocolError):
    """Our own code used an engine wrongly: a bug."""


class RemoteProtocolError(ProtocolError):
    """The peer broke the protocol; the text is safe to send back."""
