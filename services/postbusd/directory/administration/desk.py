"""What the commands of every noun share: who may, pages, deletions, the event of a change and the news of it."""

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import msgspec

from postbus.contracts.condition import Condition
from postbus.contracts.directory import ListMailboxesRequest
from postbus.contracts.domains import ListDomainsRequest
from postbus.contracts.events import DirectoryChanged, Event, EventType
from postbus.contracts.objects import DeleteReply, DeleteRequest, PageRequest
from postbus.contracts.standing import ADMINISTRATOR, Standing
from postbus.core.clock import Clock
from postbus.core.ids import new_uuid7
from postbus.core.trace import current_trace
from postbus.mailstore.ports import Accounts
from postbus.runtime.sealing import Sealer
from postbusd.directory.administration.ports import DirectoryRepository
from postbusd.directory.administration.refusals import invalid
from postbusd.directory.administration.values import Act, Deleted, PageWanted, Written
from postbusd.directory.foreign_hashes import read_foreign_hash
from postbusd.directory.names import is_plain_text, read_domain
from postbusd.directory.oidc.relying_party import RelyingParty
from postbusd.directory.passwords import CredentialKeys, check_new_password
from postbusd.directory.ports import PasswordHasher
from postbusd.directory.values import StoredPassword

MAX_PAGE = 1_000
MAX_AFTER_CHARACTERS = 1_000
MAX_TEXT_CHARACTERS = 200

T = TypeVar("T")
Tell = Callable[[DirectoryChanged], Awaitable[None]]
"""Called after each commit that changed something."""


class Tools(msgspec.Struct, frozen=True, kw_only=True):
    """What the commands work with."""

    repository: DirectoryRepository
    accounts: Accounts
    hasher: PasswordHasher
    keys: CredentialKeys
    sealer: Sealer
    clock: Clock
    party: RelyingParty
    wake_purging: Callable[[], None] = lambda: None
    """Called when a mailbox's mail is to go."""


class Desk:
    """The base of every noun's commands."""

    def __init__(self, tools: Tools, tell: Tell) -> None:
        self._tools = tools
        self._repository = tools.repository
        self._tell = tell

    async def _standing(self, actor: str) -> Standing:
        """What the actor may administer. Raises MailError: FORBIDDEN."""
        if actor == ADMINISTRATOR:
            return Standing(actor=actor, superadmin=True)
        return await self._repository.load_standing(actor)

    async def _announce(
        self, written: Written[T] | Deleted, *, addresses: Sequence[str] = (), domains: Sequence[str] = ()
    ) -> None:
        """After the commit."""
        if isinstance(written, Deleted) or (written.changed and not written.planned):
            changed = DirectoryChanged(
                revision=written.revision, addresses=tuple(filter(None, addresses)), domains=tuple(domains)
            )
            await self._tell(changed)

    async def _ended(
        self, request: DeleteRequest, deleted: Deleted, *, addresses: Sequence[str] = (), domains: Sequence[str] = ()
    ) -> DeleteReply:
        """The end of a deletion, or of a dry run."""
        if not request.dry_run:
            await self._announce(deleted, addresses=addresses, domains=domains)
        return DeleteReply(deleted=deleted.lines)

    async def _hash_if_new(
        self, username: str, password: str | None, password_hash: str = ""
    ) -> tuple[StoredPassword | None, tuple[str, ...]]:
        """What to store, and what the event tells of it.

        Of a password that the user has already it is the same again, so that a repeat changes nothing.
        """
        if password_hash and password is not None:
            raise invalid("password_hash", "either a password or its hash")
        if password_hash:
            return StoredPassword(secret_hash=read_foreign_hash("password_hash", password_hash)), ("imported password",)
        if password is None:
            return None, ()
        prepared = check_new_password(password)
        tag = self._tools.keys.tag(prepared)
        stored = await self._repository.load_password(username)
        if stored is not None and await self._tools.hasher.verify(stored.secret_hash, prepared):
            return msgspec.structs.replace(stored, tag=tag), ()
        return StoredPassword(secret_hash=await self._tools.hasher.hash(prepared), tag=tag), ("new password",)

    def _act(
        self,
        standing: Standing,
        condition: Condition,
        summary: str,
        facts: Sequence[str] = (),
        *,
        domain: str = "",
        mailbox: str = "",
    ) -> Act:
        """`summary` ends where the actor is named."""
        event = self._event(f"{summary} by {standing.actor}", facts, domain=domain, mailbox=mailbox)
        return Act(standing=standing, event=event, condition=condition)

    def _event(self, summary: str, facts: Sequence[str] = (), *, domain: str = "", mailbox: str = "") -> Event:
        trace = current_trace()
        now_ms = self._tools.clock.now_ms()
        return Event(
            event_id=new_uuid7(now_ms),
            type=EventType.CONFIGURATION,
            at_ms=now_ms,
            service="directory",
            summary=summary,
            detail=", ".join(facts),
            domain=domain,
            mailbox=mailbox,
            traceparent=trace.format() if trace is not None else "",
        )


def check_page(after: str, limit: int, domain: str = "", text: str = "") -> PageWanted:
    """Raises MailError: INVALID (limit, after, domain, text)."""
    if not 1 <= limit <= MAX_PAGE:
        raise invalid("limit", f"1 to {MAX_PAGE}")
    if len(after) > MAX_AFTER_CHARACTERS or not is_plain_text(after):
        raise invalid("after", "no name that a page ended with")
    if len(text) > MAX_TEXT_CHARACTERS or not is_plain_text(text):
        raise invalid("text", f"at most {MAX_TEXT_CHARACTERS} characters, none of them control characters")
    wanted = read_domain("domain", domain) if domain else ""
    return PageWanted(domain=wanted, after=after, limit=limit, text=text.lower())


def check_list(request: PageRequest | ListDomainsRequest | ListMailboxesRequest, domain: str = "") -> PageWanted:
    """The same of a list of objects; `domain` where it narrows that."""
    page = check_page(request.after, request.limit, domain, request.text)
    return msgspec.structs.replace(page, descending=request.descending)


def word(value: bool) -> str:
    """For events."""
    return "on" if value else "off"
