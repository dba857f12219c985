"""Precheck: which recipients would refuse a message, asked while SMTP can still say so (promise 3).

Today members-only lists refuse; Sieve scripts come later. A post is a member's when somebody proven to be one sends it:

- who logged in is a member, or sends only from addresses that are members (smtp-edge's sender check has proven them);
- from outside, the reverse_path and every author must be members, and the author's domain be proven: by DMARC, or by
  SPF where it is the reverse_path's domain (RFC 7208, RFC 7489). A forged From field proves nothing.

A member is an address that the list names at another host, or one that leads to a mailbox the list comes to. The answer
is about one list only; what smtp-edge does when lists and others disagree stands in its README.
"""

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from postbus.contracts.delivery import PrecheckReply, PrecheckRequest, PrecheckResult
from postbus.contracts.directory import AddressResolver, Outcome, Resolution, ResolveRequest, Via
from postbus.contracts.filter import Verdict
from postbus.core.errors import ErrorKind, MailError
from postbus.mime.authors import parse_authors
from postbus.mime.sections import field_value, read_section

MEMBERS_ONLY = "only members may post to this list"
_OWN_NAME = frozenset({Via.MAILBOX, Via.ALIAS, Via.WILDCARD, Via.SUB_ADDRESS})
"""Steps of the resolver that name one mailbox: what a group or a catch-all gets is not from its members."""
_PASS = "pass"  # noqa: S105  # a result of RFC 7208 and RFC 7489
_NO_ANSWER = "temperror"

Resolutions = Mapping[str, Resolution]


class Post(msgspec.Struct, frozen=True, kw_only=True):
    """A message as a list sees it: who claims to have sent it, and what is proven."""

    request: PrecheckRequest
    authors: tuple[str, ...] = ()
    """Of the From field; none where it can't be read, or is not there yet."""

    @property
    def senders(self) -> tuple[str, ...]:
        """Every address that may have to be a member."""
        request = self.request
        claimed = (request.authenticated_as, request.reverse_path, *self.authors)
        return tuple(dict.fromkeys(address for address in claimed if address))


class PrecheckService:
    """Implements `postbus.contracts.delivery.Prechecker`."""

    def __init__(self, directory: AddressResolver) -> None:
        """directory resolves lists and senders alike."""
        self._directory = directory

    async def precheck(self, request: PrecheckRequest) -> PrecheckReply:
        """Judges each recipient; a refusal is confirmed past the caches. Raises MailError: UNAVAILABLE."""
        post = Post(request=request, authors=() if request.envelope_only else read_authors(request.header))
        results = await self._judge(post, bypass_cache=False)
        if any(result.verdict is Verdict.REJECT for result in results):
            results = await self._judge(post, bypass_cache=True)
        return PrecheckReply(results=results)

    async def _judge(self, post: Post, *, bypass_cache: bool) -> tuple[PrecheckResult, ...]:
        paths = [recipient.forward_path for recipient in post.request.recipients]
        found = await self._resolve(paths, bypass_cache)
        if any(_is_members_only(resolution) for resolution in found.values()):
            found = {**await self._resolve(post.senders, bypass_cache), **found}
        return tuple(judge_recipient(path, post, found) for path in paths)

    async def _resolve(self, addresses: Sequence[str], bypass_cache: bool) -> Resolutions:
        if not addresses:
            return {}
        request = ResolveRequest(forward_paths=tuple(addresses), bypass_cache=bypass_cache)
        reply = await self._directory.resolve(request)
        for resolution in reply.resolutions:
            if resolution.outcome is Outcome.LATER:
                raise MailError(ErrorKind.UNAVAILABLE, resolution.reason)
        return dict(zip(addresses, reply.resolutions, strict=True))


def read_authors(header: bytes) -> tuple[str, ...]:
    """The addresses of a header section's From field; none where they can't be told for sure."""
    fields = read_section(header, 0, len(header)).fields
    try:
        authors = parse_authors([field_value(header, field) for field in fields if field.name == "from"])
    except MailError:
        return ()
    return tuple(author.format() for author in authors)


def judge_recipient(forward_path: str, post: Post, found: Resolutions) -> PrecheckResult:
    """The word on one recipient; `found` has every sender where a list is for members only."""
    resolution = found[forward_path]
    verdict, reason = Verdict.ACCEPT, ""
    if _is_members_only(resolution):
        members = {address for address in post.senders if is_member(address, resolution, found[address])}
        verdict, reason = _judge_post(post, members)
    return PrecheckResult(forward_path=forward_path, verdict=verdict, reason=reason)


def is_member(address: str, mailing_list: Resolution, resolution: Resolution) -> bool:
    """Whether an address, which resolves to `resolution`, is one of a list's members or leads to one's mailbox."""
    folded = _fold(address)
    if any(_fold(remote) == folded for remote in mailing_list.remotes):
        return True
    if resolution.via not in _OWN_NAME:
        return False
    mailboxes = {target.mailbox_id for target in mailing_list.targets}
    return any(target.mailbox_id in mailboxes for target in resolution.targets)


def _is_members_only(resolution: Resolution) -> bool:
    return resolution.outcome is Outcome.LIST and resolution.members_only


def _judge_post(post: Post, members: set[str]) -> tuple[Verdict, str]:
    request = post.request
    if request.authenticated_as:
        claimed = [request.reverse_path] if request.envelope_only else post.authors
        return _accept_if(request.authenticated_as in members or _are_all(claimed, members))
    if request.reverse_path not in members:
        return Verdict.REJECT, MEMBERS_ONLY
    return (Verdict.ACCEPT, "") if request.envelope_only else _judge_proof(post, members)


def _judge_proof(post: Post, members: set[str]) -> tuple[Verdict, str]:
    """A message from outside whose reverse_path is a member."""
    request = post.request
    if not _are_all(post.authors, members):
        return Verdict.REJECT, MEMBERS_ONLY
    if request.dmarc == _PASS:
        return Verdict.ACCEPT, ""
    aligned = {_domain_of(author) for author in post.authors} == {_domain_of(request.reverse_path)}
    if aligned and request.spf == _PASS:
        return Verdict.ACCEPT, ""
    if request.dmarc == _NO_ANSWER or (aligned and request.spf == _NO_ANSWER):
        return Verdict.DEFER, "the author can't be verified now, try again later"
    return Verdict.REJECT, f"{MEMBERS_ONLY}, and neither SPF nor DMARC proves that the author is one"


def _accept_if(is_accepted: bool) -> tuple[Verdict, str]:
    return (Verdict.ACCEPT, "") if is_accepted else (Verdict.REJECT, MEMBERS_ONLY)


def _are_all(addresses: Iterable[str], members: set[str]) -> bool:
    claimed = set(addresses)
    return bool(claimed) and claimed <= members


def _fold(address: str) -> str:
    """For comparing addresses in the form that we write; letters beyond ASCII have no second spelling here."""
    return address.lower() if address.isascii() else address


def _domain_of(address: str) -> str:
    return address.rpartition("@")[2]
