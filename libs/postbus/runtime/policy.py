"""The installation's policy, and what domains add to it, as a service follows it.

Until directory has answered once the defaults hold; afterwards the last answer does, however long directory is away
(promise 4).
"""

import logging
from collections.abc import Callable

from postbus.contracts import Empty
from postbus.contracts.policy import Policy, PolicyFinder
from postbus.core.errors import MailError
from postbus.runtime.watch import DirectoryWatch

log = logging.getLogger(__name__)


class PolicyWatch(DirectoryWatch):
    """`policy` is what holds now; `changed` is called with it when it, or what domains add, is another."""

    def __init__(self, finder: PolicyFinder, changed: Callable[[Policy], None] | None = None) -> None:
        super().__init__()
        self.policy = Policy()
        self.mail_hosts: tuple[str, ...] = ()
        """Locations of the mail server that the policy and domains name."""
        self.alternate_mx: tuple[str, ...] = ()
        """Of all domains."""
        self._finder = finder
        self._changed = changed
        self._due.set()

    async def check(self) -> bool:
        """Asks once; whether directory answered."""
        try:
            reply = await self._finder.find_policy(Empty())
        except MailError as error:
            log.warning("policy.unknown", extra={"reason": str(error)})
            return False
        known = (self.policy, self.mail_hosts, self.alternate_mx)
        if (reply.policy, reply.mail_hosts, reply.alternate_mx) != known:
            self.policy, self.mail_hosts, self.alternate_mx = reply.policy, reply.mail_hosts, reply.alternate_mx
            log.info("policy.changed", extra={"revision": reply.revision})
            if self._changed is not None:
                self._changed(reply.policy)
        return True
