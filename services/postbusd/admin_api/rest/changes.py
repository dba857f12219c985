"""What every change of an object shares: its condition, plans, patches, and the tag that its state is known by.

PUT and PATCH answer the object with its ETag; If-Match makes them, and DELETE, happen only to the object that was read
(RFC 9110 §13.1.1). `plan` asks what would be: everything is decided as ever and nothing is written. PATCH is a JSON
merge patch (RFC 7396) of what a PUT would take.
"""

import re
from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated, Any, TypeVar

import msgspec
from litestar import Response
from litestar.params import HeaderParameter, QueryParameter

from postbus.contracts.condition import ANY, Condition, etag_of
from postbus.core.errors import ErrorKind, MailError
from postbusd.admin_api.rest.problems import explain_decoding

IfMatch = Annotated[
    str,
    HeaderParameter(
        name="If-Match", description="ETags of the object, one of which it must still have; `*`: it must be there."
    ),
]
OnlyPlan = Annotated[bool, QueryParameter(name="plan", description="Only say what would be changed: see `Plan`.")]
Patch = dict[str, Any]
"""A JSON merge patch: Any, as decoding it is the body's affair."""

MAX_IF_MATCH_CHARACTERS = 1_000
ATTEMPTS = 5
"""Of a PATCH without If-Match, when others change the same object."""

_TAGS = re.compile(r'(?:W/)?"[\x21\x23-\x7e]*"(?:[ \t]*,[ \t]*(?:W/)?"[\x21\x23-\x7e]*")*\Z')
_TAG = re.compile(r'(W/)?"([^"]*)"')

Body = TypeVar("Body", bound=msgspec.Struct)
Found = TypeVar("Found", bound=msgspec.Struct)
Resource = TypeVar("Resource", bound=msgspec.Struct)


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What a change would do; nothing was written."""

    action: Annotated[str, msgspec.Meta(description="`create`, `change` or `none`.")]
    changes: Annotated[tuple[str, ...], msgspec.Meta(description="The fields that would change, in order.")]
    before: Annotated[dict[str, Any] | None, msgspec.Meta(description="The object as it is; null: there is none.")]
    after: Annotated[dict[str, Any], msgspec.Meta(description="The object as it would be.")]


def condition_of(if_match: str, plan: bool = False) -> Condition:
    """What the request asks for. Raises MailError: INVALID."""
    text = if_match.strip()
    if not text:
        return Condition(plan=plan)
    if text == ANY:
        return Condition(if_match=(ANY,), plan=plan)
    if len(text) > MAX_IF_MATCH_CHARACTERS or not _TAGS.match(text):
        raise MailError(ErrorKind.INVALID, 'if_match: `*` or ETags as "0a1b", as an answer had them')
    # A weak tag matches nothing (RFC 9110 §8.8.3.2), but it is a condition
    tags = tuple("weak" if weak else tag for weak, tag in _TAG.findall(text))
    return Condition(if_match=tags, plan=plan)


async def find(reading: Awaitable[Found]) -> Found | None:
    """None: there is no such object."""
    try:
        return await reading
    except MailError as error:
        if error.kind is ErrorKind.NOT_FOUND:
            return None
        raise


def answer(
    condition: Condition,
    show: Callable[[Found], Resource],
    before: Found | None,
    found: Found,
    *,
    created: bool,
    secrets: Sequence[str] = (),
) -> Response[Any]:
    """Of a PUT or PATCH. `before` is needed for plans; `secrets` are fields that are set and can't be compared."""
    if condition.plan:
        return planned(show(before) if before is not None else None, show(found), secrets)
    return tagged(found, show(found), created=created)


def tagged(found: msgspec.Struct, resource: Resource, *, created: bool = False) -> Response[Resource]:
    """An object with its ETag; 201 when it is new."""
    return Response(resource, status_code=201 if created else 200, headers={"ETag": f'"{etag_of(found)}"'})


def planned(before: msgspec.Struct | None, after: msgspec.Struct, secrets: Sequence[str] = ()) -> Response[Plan]:
    """`secrets`: fields that are set and can't be compared."""
    old: dict[str, Any] | None = msgspec.to_builtins(before) if before is not None else None
    new: dict[str, Any] = msgspec.to_builtins(after)
    changes = sorted({name for name, value in new.items() if old is None or old.get(name) != value} | set(secrets))
    action = "create" if old is None else "change" if changes else "none"
    return Response(Plan(action=action, changes=tuple(changes), before=old, after=new), status_code=200)


async def patch_object(
    read: Callable[[], Awaitable[Found]],
    show: Callable[[Found], msgspec.Struct],
    body_type: type[Body],
    patch: Patch,
    condition: Condition,
    write: Callable[[Body, Condition], Awaitable[Response[Any]]],
) -> Response[Any]:
    """Reads the object, merges the patch into what a PUT of it would take, and writes that unless it changed meanwhile.

    Raises MailError: what these raise, INVALID (the patch), CHANGED (the client's condition; too many others write).
    """
    for attempt in range(ATTEMPTS):
        found = await read()
        wanted = condition.if_match
        if wanted and ANY not in wanted and etag_of(found) not in wanted:
            raise MailError(ErrorKind.CHANGED, "if_match: it was changed meanwhile: read it again")
        body = merge(body_type, show(found), patch)
        try:
            return await write(body, Condition(if_match=(etag_of(found),), plan=condition.plan))
        except MailError as error:
            if error.kind is not ErrorKind.CHANGED or attempt == ATTEMPTS - 1:
                raise
    raise AssertionError


def merge(body_type: type[Body], resource: msgspec.Struct, patch: Patch) -> Body:
    """The body of a PUT that changes `resource` as the patch says. Raises MailError: INVALID."""
    names = {field.encode_name for field in msgspec.structs.fields(body_type)}
    now = {name: value for name, value in msgspec.to_builtins(resource).items() if name in names}
    try:
        return msgspec.convert(_merge(now, patch), body_type)
    except msgspec.ValidationError as error:
        raise MailError(ErrorKind.INVALID, explain_decoding(str(error))) from error


def _merge(target: Any, patch: Any) -> Any:
    """RFC 7396 §2; Any: decoded JSON."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = _merge(merged.get(name), value)
    return merged
