"""Where forward_paths lead that could not be resolved at RCPT: DSNs and what else delivery writes itself.

The resolution made at RCPT travels in the envelope. What is resolved here is pinned before anything is delivered by it
(architecture §3.5): a pass that dies half-way is followed by one to the same destinations, whatever the directory says
by then.
"""

import msgspec

from postbus.contracts.directory import AddressResolver, Outcome, Resolution, ResolveRequest
from postbus.contracts.events import MailAccepted, Origin
from postbus.core.clock import Clock
from postbus.core.errors import ErrorKind, MailError
from postbusd.delivery.outbound.entering import OWN_ORIGINS
from postbusd.delivery.ports import Expansions


class Expander:
    """Resolves each message once."""

    def __init__(self, resolver: AddressResolver, expansions: Expansions, clock: Clock) -> None:
        """`resolver` is directory."""
        self._resolver = resolver
        self._expansions = expansions
        self._clock = clock

    async def expand(self, accepted: MailAccepted) -> MailAccepted:
        """With all forward_paths resolved. Raises MailError: UNAVAILABLE while the directory can't tell."""
        envelope = accepted.envelope
        open_paths = [path.address for path in envelope.forward_paths if path.resolution.outcome is Outcome.LATER]
        if not open_paths:
            return accepted
        pinned = await self._expansions.find(accepted.queue_id)
        if pinned is None:
            resolved = await self._resolve(accepted.origin, open_paths)
            pinned = await self._expansions.pin(accepted.queue_id, resolved, self._clock.now_ms())
        found = dict(zip(open_paths, pinned, strict=True))
        paths = tuple(
            msgspec.structs.replace(path, resolution=found.get(path.address, path.resolution))
            for path in envelope.forward_paths
        )
        return msgspec.structs.replace(accepted, envelope=msgspec.structs.replace(envelope, forward_paths=paths))

    async def _resolve(self, origin: Origin, addresses: list[str]) -> list[Resolution]:
        reply = await self._resolver.resolve(ResolveRequest(forward_paths=tuple(addresses)))
        if any(resolution.outcome is Outcome.LATER for resolution in reply.resolutions):
            raise MailError(ErrorKind.UNAVAILABLE, "directory can't resolve a forward_path now")
        return [_as_sent_by(origin, resolution) for resolution in reply.resolutions]


def _as_sent_by(origin: Origin, resolution: Resolution) -> Resolution:
    """What we write ourselves reaches a domain that we don't receive for where it receives its mail."""
    if resolution.incoming or origin not in OWN_ORIGINS:
        return resolution
    return Resolution(forward_path=resolution.forward_path, outcome=Outcome.REMOTE)
