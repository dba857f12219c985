"""What an API token may do: a closed list of scopes.

`admin` is everything, `read` every GET. Beside them each area has `<area>:read` and, where something can be changed,
`<area>:write`, which includes reading. Scopes narrow a token down; what its actor may do is checked besides, by the
services that own the objects (architecture §6).
"""

from collections.abc import Iterable

ADMIN = "admin"
READ = "read"
WRITABLE_AREAS = ("domains", "mailboxes", "users", "lists", "queue", "ledger", "tokens", "policy", "webhooks")
READABLE_AREAS = ("events", "audit", "status")
SCOPES = (
    ADMIN,
    READ,
    *(f"{area}:{verb}" for area in WRITABLE_AREAS for verb in ("read", "write")),
    *(f"{area}:read" for area in READABLE_AREAS),
)
APP_PASSWORD_SCOPES = (
    READ,
    *(f"{area}:write" for area in WRITABLE_AREAS if area not in ("users", "tokens")),
)
"""Of a session that an app password began: it makes no other secrets, and changes nobody's."""
_READ = ":read"
_WRITE = ":write"


def covers(held: Iterable[str], wanted: str) -> bool:
    """Whether a token with the scopes `held` may do what `wanted` stands for."""
    scopes = frozenset(held)
    if ADMIN in scopes or wanted in scopes:
        return True
    if not wanted.endswith(_READ):
        return False
    return READ in scopes or wanted.removesuffix(_READ) + _WRITE in scopes
