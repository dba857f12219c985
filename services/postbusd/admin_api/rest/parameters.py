"""What several resources share: query parameters, the answer of a DELETE, 201 or 200."""

import datetime
import enum
from typing import Annotated

import msgspec
from litestar.params import PathParameter, QueryParameter

from postbus.contracts.objects import DeleteReply
from postbus.core.address import parse_domain
from postbus.core.errors import ErrorKind, MailError
from postbusd.admin_api.rest.backend import MAX_PAGE

After = Annotated[str, QueryParameter(description="Only what comes after this name in the order of the list.")]
Limit = Annotated[int, QueryParameter(ge=1, le=MAX_PAGE, description="The most that one page holds.")]
OfDomain = Annotated[str, QueryParameter(name="domain", description="Only those of this domain; absent: all.")]
WithText = Annotated[
    str, QueryParameter(name="text", description="Only names with this in them, in either case.", max_length=200)
]


class SortBy(enum.StrEnum):
    """The order of a list."""

    NAME = "name"
    NAME_DESCENDING = "-name"


Sort = Annotated[SortBy, QueryParameter(description="`name` (or address), or `-name` from the last to the first.")]
DryRun = Annotated[bool, QueryParameter(description="Only say what would be deleted, or the same refusal.")]
NextAfter = Annotated[str, msgspec.Meta(description="Pass as `after` for the next page; empty: the last one.")]

PasswordHash = Annotated[
    str,
    msgspec.Meta(
        description="Write-only, in place of a password: its hash by another system (bcrypt, SHA-512-crypt, SSHA, "
        "Argon2), which the first login with it replaces.",
        max_length=512,
        extra_json_schema={"extra": {"write_only": True}},
    ),
]

NamePath = Annotated[str, PathParameter(description="Its name, percent-encoded where needed.")]
AddressPath = Annotated[str, PathParameter(description="Its address; `@`, `+` and `*` may be percent-encoded.")]
QueueIdPath = Annotated[str, PathParameter(description="The queue id that our `250` named, in either case.")]

_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
MAX_REASON_CHARACTERS = 500


class Deletion(msgspec.Struct, frozen=True, kw_only=True):
    """What a DELETE did."""

    deleted: Annotated[tuple[str, ...], msgspec.Meta(description="One line an object, for people.")]
    dry_run: Annotated[bool, msgspec.Meta(description="Nothing was deleted: it only would be.")]


def deletion(reply: DeleteReply, dry_run: bool) -> Deletion:
    """The answer of a DELETE."""
    return Deletion(deleted=reply.deleted, dry_run=dry_run)


def check_domain(text: str) -> str:
    """A domain given as a filter, in A-labels; empty stays empty. Raises MailError: INVALID."""
    try:
        return parse_domain(text) if text else ""
    except MailError as error:
        raise MailError(ErrorKind.INVALID, f"domain: {error.detail}") from error


def check_reason(text: str, *, required: bool) -> str:
    """Why an administrator does something: one line. Raises MailError: INVALID."""
    reason = text.strip()
    if required and not reason:
        raise MailError(ErrorKind.INVALID, "reason: is needed")
    if len(reason) > MAX_REASON_CHARACTERS:
        raise MailError(ErrorKind.INVALID, f"reason: at most {MAX_REASON_CHARACTERS} characters")
    if not reason.isprintable():
        raise MailError(ErrorKind.INVALID, "reason: one line without control characters")
    return reason


def read_time(name: str, text: str) -> int | None:
    """Unix time in milliseconds; None: not given. Raises MailError: INVALID."""
    if not text:
        return None
    try:
        moment = datetime.datetime.fromisoformat(text)
        moment = moment if moment.tzinfo is not None else moment.replace(tzinfo=datetime.UTC)
        return (moment - _EPOCH) // datetime.timedelta(milliseconds=1)
    except (ValueError, OverflowError) as error:
        raise MailError(ErrorKind.INVALID, f"{name}: a time as 2026-03-01T10:00:00Z") from error
