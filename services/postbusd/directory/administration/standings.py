"""Standings: what an actor may administer, for those who keep objects of their own."""

from postbus.contracts.standing import Standing, StandingRequest
from postbusd.directory.administration.desk import Desk


class Standings(Desk):
    """The StandingFinder."""

    async def find_standing(self, request: StandingRequest) -> Standing:
        """What this actor may administer now."""
        return await self._standing(request.actor)
