"""Domains: whether we receive for them, who gets what nobody takes, and the smart host of their outgoing mail.

A relay's password comes in and never goes out: it is sealed here for its domain, and only FindRoute opens it.
"""

import msgspec

from postbus.contracts.domains import (
    Domain,
    FindSignatureRequest,
    ListDomainsReply,
    ListDomainsRequest,
    PutDomainRequest,
    SignatureReply,
)
from postbus.contracts.objects import DeleteReply, DeleteRequest, ObjectRequest
from postbus.contracts.relays import Relay, RelaySecurity
from postbus.core.errors import MailError
from postbusd.directory.administration.desk import Desk, check_list, word
from postbusd.directory.administration.locations import check_alternate_mx, check_mail_host
from postbusd.directory.administration.refusals import invalid
from postbusd.directory.administration.rules import MAX_CATCH_ALL, MAX_QUOTA_OCTETS, check_alias_domain, is_same_account
from postbusd.directory.administration.scope import require_domain, require_superadmin, seen_domains
from postbusd.directory.administration.signatures import check_signature
from postbusd.directory.administration.values import DomainChange
from postbusd.directory.names import check_domain_name, check_host, is_plain_text, read_address, read_domain
from postbusd.directory.routes import relay_owner

MAX_PORT = 65_535
_SWITCHES = ("all_mail", "sharing", "search")
MAX_RELAY_USERNAME_CHARACTERS = 255
MAX_RELAY_PASSWORD_CHARACTERS = 1_000  # some hosts give tokens for passwords


class Domains(Desk):
    """The DomainAdmin and the SignatureFinder."""

    async def put_domain(self, request: PutDomainRequest) -> Domain:
        """Creates or replaces a domain."""
        standing = await self._standing(request.actor)
        name = check_domain_name(request.domain.name)
        require_domain(standing, "name", name)
        if len(request.domain.catch_all) > MAX_CATCH_ALL:
            raise invalid("catch_all", f"at most {MAX_CATCH_ALL} mailboxes")
        addresses = [read_address("catch_all", each) for each in request.domain.catch_all]
        for address in addresses:
            require_domain(standing, "catch_all", address.domain)
        catch_all = {str(address): address for address in addresses}
        relay = check_relay(request.domain.relay) if request.domain.relay is not None else None
        change = DomainChange(
            domain=Domain(
                name=name,
                incoming=request.domain.incoming,
                catch_all=tuple(sorted(catch_all)),
                relay=msgspec.structs.replace(relay, password="") if relay is not None else None,
                masquerading=request.domain.masquerading,
                alias_of=read_domain("alias_of", request.domain.alias_of) if request.domain.alias_of else "",
                suspended=request.domain.suspended,
                quota_octets=_check_octets("quota_octets", request.domain.quota_octets),
                default_quota_octets=_check_octets("default_quota_octets", request.domain.default_quota_octets),
                max_message_octets=_check_octets("max_message_octets", request.domain.max_message_octets),
                mail_host=check_mail_host(request.domain.mail_host),
                signature=check_signature(request.domain.signature),
                alternate_mx=check_alternate_mx(request.domain.alternate_mx),
                all_mail=request.domain.all_mail,
                sharing=request.domain.sharing,
                search=request.domain.search,
            ),
            catch_all=tuple(catch_all[each] for each in sorted(catch_all)),
            relay_password_sealed=await self._seal_if_new(name, relay) if relay and relay.password else None,
        )
        check_alias_domain(change.domain)
        written = await self._repository.put_domain(
            change, self._act(standing, request.condition, f"domain {name} set", _facts(change), domain=name)
        )
        await self._announce(written, domains=[name])
        return written.object

    async def find_signature(self, request: FindSignatureRequest) -> SignatureReply:
        """The signature of a domain."""
        return await self._repository.find_signature(request.domain.lower())

    async def get_domain(self, request: ObjectRequest) -> Domain:
        """One domain."""
        standing = await self._standing(request.actor)
        name = read_domain("name", request.name)
        require_domain(standing, "name", name)
        return await self._repository.get_domain(name)

    async def list_domains(self, request: ListDomainsRequest) -> ListDomainsReply:
        """One page of domains."""
        standing = await self._standing(request.actor)
        wanted = check_list(request)
        domains = seen_domains(standing)
        page = await self._repository.list_domains(domains, wanted)
        return ListDomainsReply(domains=page.objects, next_after=page.objects[-1].name if page.more else "")

    async def delete_domain(self, request: DeleteRequest) -> DeleteReply:
        """Deletes a domain that nothing lives in."""
        standing = await self._standing(request.actor)
        require_superadmin(standing)
        name = read_domain("name", request.name)
        act = self._act(standing, request.condition, f"domain {name} deleted", domain=name)
        deleted = await self._repository.delete_domain(name, act, dry_run=request.dry_run)
        return await self._ended(request, deleted, domains=[name])

    async def _seal_if_new(self, name: str, relay: Relay) -> bytes | None:
        """None: it is the one that is kept already."""
        stored = await self._repository.find_route([name])
        owner = relay_owner(name)
        if stored.password_sealed and is_same_account(relay, stored.relay):
            try:
                if self._tools.sealer.open(stored.password_sealed, owner) == relay.password.encode():
                    return None
            except MailError:
                pass  # of another master key: it is written anew
        return self._tools.sealer.seal(relay.password.encode(), owner)


def _check_octets(field: str, octets: int | None) -> int | None:
    """None and 0: no limit."""
    if octets is not None and not 0 <= octets <= MAX_QUOTA_OCTETS:
        raise invalid(field, f"1 to {MAX_QUOTA_OCTETS}, or none")
    return octets or None


def check_relay(relay: Relay) -> Relay:
    """A smart host that may be set. Raises MailError: INVALID."""
    host = check_host("relay.host", relay.host)
    if not 1 <= relay.port <= MAX_PORT:
        raise invalid("relay.port", f"1 to {MAX_PORT}")
    if len(relay.username) > MAX_RELAY_USERNAME_CHARACTERS or not is_plain_text(relay.username):
        raise invalid("relay.username", f"at most {MAX_RELAY_USERNAME_CHARACTERS} characters, no control characters")
    if len(relay.password) > MAX_RELAY_PASSWORD_CHARACTERS or not is_plain_text(relay.password):
        raise invalid("relay.password", f"at most {MAX_RELAY_PASSWORD_CHARACTERS} characters, no control characters")
    if relay.password and not relay.username:
        raise invalid("relay.password", "only with a username")
    if relay.username and relay.security is RelaySecurity.NONE:
        raise invalid("relay.security", "a password is never sent in plain text")
    return msgspec.structs.replace(relay, host=host)


def _default(switch: str) -> bool:
    return switch == "search"


def _facts(change: DomainChange) -> list[str]:
    domain = change.domain
    relay = f"{domain.relay.host}:{domain.relay.port} ({domain.relay.security.value})" if domain.relay else "none"
    facts = [f"incoming={word(domain.incoming)}", f"catch_all={' '.join(domain.catch_all) or 'none'}", f"relay={relay}"]
    facts += ["masquerading=on"] if domain.masquerading else []
    facts += [f"alias of {domain.alias_of}"] if domain.alias_of else []
    facts += ["suspended"] if domain.suspended else []
    facts += [f"mail_host={domain.mail_host}"] if domain.mail_host else []
    facts += ["signature"] if domain.signature is not None else []
    facts += [f"alternate_mx={' '.join(domain.alternate_mx)}"] if domain.alternate_mx else []
    facts += [f"{name}={word(getattr(domain, name))}" for name in _SWITCHES if getattr(domain, name) != _default(name)]
    for name in ("quota_octets", "default_quota_octets", "max_message_octets"):
        facts += [f"{name}={getattr(domain, name)}"] if getattr(domain, name) is not None else []
    return facts + (["new relay password"] if change.relay_password_sealed is not None else [])
