"""What dns-provisioner needs: a database, and directory's word on whose domains there are."""

from collections.abc import Callable, Sequence
from typing import Protocol

from postbus.contracts.domains import Domain
from postbus.contracts.objects import ObjectRequest
from postbus.contracts.policy import PolicyFinder
from postbusd.dns_provisioner.values import SealedDkimKey, Stock

Change = Callable[[Stock], Stock | None]
"""Given what is in force, what shall be instead (its revision is ignored); None: all is well."""


class CertificateStore(Protocol):
    """Certificates and their revision. Every method raises MailError: UNAVAILABLE."""

    async def load_revision(self) -> int:
        """The revision in force."""
        ...

    async def load(self) -> Stock:
        """Everything in force, in one snapshot."""
        ...

    async def change(self, decide: Change) -> tuple[Stock, bool]:
        """Lets `decide` look and change while nobody else can; what is in force then, and whether it changed."""
        ...


class DkimKeyStore(Protocol):
    """DKIM keys in force. Every method raises MailError: UNAVAILABLE."""

    async def load_installation_id(self) -> str:
        """Made with the schema, never changed: a part of every selector."""
        ...

    async def load_keys(self, domain: str) -> tuple[SealedDkimKey, ...]:
        """Of one domain, by selector; empty: none were made yet."""
        ...

    async def add_keys(self, domain: str, keys: Sequence[SealedDkimKey]) -> tuple[SealedDkimKey, ...]:
        """Adds the first keys of a domain, unless somebody else did; what is in force then."""
        ...


class Domains(Protocol):
    """directory, as far as this service asks it; `postbus.contracts.directory.Directory` has it."""

    async def get_domain(self, request: ObjectRequest) -> Domain:
        """Raises MailError: NOT_FOUND for a domain that is not ours, FORBIDDEN for one out of the actor's scope."""
        ...


class PlannedDomains(Domains, PolicyFinder, Protocol):
    """Domains, and what holds for those that say nothing else."""
