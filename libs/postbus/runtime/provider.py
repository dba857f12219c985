"""Whether mail programs may log in with tokens of an identity provider, as a service follows it.

Until directory has answered, and where there is no provider, they may not; afterwards the last answer holds.
"""

import logging

from postbus.contracts import Empty
from postbus.contracts.identity_provider import TokenAuthenticator
from postbus.core.errors import MailError
from postbus.runtime.watch import DirectoryWatch

log = logging.getLogger(__name__)


class ProviderWatch(DirectoryWatch):
    """`configuration_url` is what clients are told; empty: there is no provider."""

    def __init__(self, directory: TokenAuthenticator) -> None:
        super().__init__()
        self.configuration_url = ""
        self._directory = directory
        self._due.set()

    async def check(self) -> bool:
        """Asks once; whether directory answered."""
        try:
            facts = await self._directory.find_provider(Empty())
        except MailError as error:
            log.warning("provider.unknown", extra={"reason": str(error)})
            return False
        if facts.configuration_url != self.configuration_url:
            self.configuration_url = facts.configuration_url
            log.info("provider.changed", extra={"configured": bool(facts.configuration_url)})
        return True
