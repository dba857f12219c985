"""What dns-provisioner needs from a database."""

from collections.abc import Callable
from typing import Protocol

from postbusd.dns_provisioner.values import Stock

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
