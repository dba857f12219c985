"""The one table that renders an error kind as an SMTP reply (house-style §5), and the one for logins."""

from collections.abc import Iterable
from typing import Final

from postbus.contracts.directory import Outcome, Resolution
from postbus.core.errors import ErrorKind, MailError
from postbus.smtp import replies
from postbus.smtp.replies import Reply, make_reply

_TRY_LATER: Final = (451, "4.3.0", "temporary failure, try again later")

REFUSALS: Final[dict[ErrorKind, tuple[int, str, str]]] = {
    ErrorKind.INVALID: (553, "5.1.3", "address is not valid"),
    ErrorKind.NOT_FOUND: (550, "5.1.1", "no such mailbox here"),
    ErrorKind.ALREADY_EXISTS: _TRY_LATER,
    ErrorKind.CONFLICT: _TRY_LATER,
    ErrorKind.CHANGED: _TRY_LATER,
    ErrorKind.UNAUTHENTICATED: (530, "5.7.0", "authentication required"),
    ErrorKind.FORBIDDEN: (550, "5.7.1", "not allowed"),
    ErrorKind.INACTIVE: (550, "5.2.1", "mailbox is not active"),
    ErrorKind.OVER_QUOTA: (552, "5.2.2", "mailbox is full"),
    ErrorKind.TOO_LARGE: (552, "5.3.4", "message is too big"),
    ErrorKind.LIMIT: (452, "4.3.1", "insufficient system storage, try again later"),
    ErrorKind.RATE_LIMITED: (450, "4.7.1", "too much mail, try again later"),
    ErrorKind.REJECTED_POLICY: (550, "5.7.1", "refused by policy"),
    ErrorKind.UNAVAILABLE: _TRY_LATER,
    ErrorKind.INTERNAL: _TRY_LATER,
}

LOGIN_REFUSALS: Final[dict[ErrorKind, Reply]] = {
    ErrorKind.INVALID: replies.AUTH_FAILED,
    ErrorKind.NOT_FOUND: replies.AUTH_FAILED,
    ErrorKind.ALREADY_EXISTS: replies.AUTH_UNAVAILABLE,
    ErrorKind.CONFLICT: replies.AUTH_UNAVAILABLE,
    ErrorKind.CHANGED: replies.AUTH_UNAVAILABLE,
    ErrorKind.UNAUTHENTICATED: replies.AUTH_FAILED,
    ErrorKind.FORBIDDEN: replies.AUTH_FAILED,
    ErrorKind.INACTIVE: replies.AUTH_FAILED,
    ErrorKind.OVER_QUOTA: replies.AUTH_UNAVAILABLE,
    ErrorKind.TOO_LARGE: replies.AUTH_FAILED,
    ErrorKind.LIMIT: replies.AUTH_UNAVAILABLE,
    ErrorKind.RATE_LIMITED: replies.AUTH_UNAVAILABLE,
    ErrorKind.REJECTED_POLICY: replies.AUTH_FAILED,
    ErrorKind.UNAVAILABLE: replies.AUTH_UNAVAILABLE,
    ErrorKind.INTERNAL: replies.AUTH_UNAVAILABLE,
}


def refuse(kind: ErrorKind, reason: str = "") -> Reply:
    """The reply to a kind. The reason of a temporary failure stays inside: it is about us, not about the mail."""
    code, enhanced, text = REFUSALS[kind]
    return make_reply(code, enhanced, reason if reason and code >= 500 else text)


def refuse_error(error: MailError) -> Reply:
    """The reply to a failed step: what broke is in the log, not in the reply."""
    return refuse(error.kind)


def refuse_login(error: MailError) -> Reply:
    """The reply to AUTH. Why a right password does not open is told: nobody else hears it (directory)."""
    refusal = LOGIN_REFUSALS[error.kind]
    if error.kind is ErrorKind.INACTIVE:
        return make_reply(refusal.code, refusal.enhanced, error.detail)
    return refusal


def judge_recipient(resolution: Resolution, logged_in: bool, size: int | None) -> Reply:
    """The reply to RCPT (architecture §3.2, promise 3); what we do not understand is `later` (promise 9).

    `size` is what MAIL declared (RFC 1870 §6.1). A domain of ours without incoming mail is another host's for those who
    logged in.
    """
    match resolution.outcome:
        case Outcome.MAILBOX | Outcome.LIST:
            return judge_size([resolution], size or 0) or _judge_quota(resolution, size or 0)
        case Outcome.FORWARD:
            return replies.FORWARD_PATH_OK
        case Outcome.REMOTE:
            return replies.FORWARD_PATH_OK if logged_in else replies.RELAY_DENIED
        case Outcome.REJECT if logged_in and not resolution.incoming:
            return replies.FORWARD_PATH_OK
        case Outcome.REJECT:
            return refuse(resolution.kind or ErrorKind.REJECTED_POLICY, resolution.reason)
        case _:
            return replies.TRY_LATER


def judge_size(resolutions: Iterable[Resolution], size: int) -> Reply | None:
    """The refusal of a message that is larger than a recipient's domain takes."""
    most = min((each.max_message_octets for each in resolutions if each.max_message_octets is not None), default=size)
    if size <= most:
        return None
    return refuse(ErrorKind.TOO_LARGE, f"the largest message that this domain takes has {most} octets")


def _judge_quota(resolution: Resolution, size: int) -> Reply:
    """Refused when no mailbox has room (several behind one address: one is enough, and gets what the others get)."""
    targets = resolution.targets
    if not targets or resolution.remotes:
        return replies.FORWARD_PATH_OK
    if all(target.over_quota for target in targets):
        return refuse(ErrorKind.OVER_QUOTA, resolution.reason)
    if all(target.over_quota or (target.free_octets is not None and target.free_octets < size) for target in targets):
        return refuse(ErrorKind.OVER_QUOTA, "the message is larger than the space that is left in the mailbox")
    return replies.FORWARD_PATH_OK
