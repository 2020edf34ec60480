"""BGP as a part of the round: the keeper is handed what is wanted."""

from collections.abc import Iterator

from agent.bgp.keeper import Keeper
from agent.compile.bgp.router import Router
from agent.compile.desired import Desired


class BgpPart:
    """Hands on the Router; no packet and no pod waits for BIRD."""

    name, is_before_maps, is_vital, is_watched = "bgp", False, False, False

    def __init__(self, keeper: Keeper) -> None:
        self._keeper = keeper

    def wanted(self, desired: Desired) -> Router | None:
        """The sessions and prefixes; none before all is known, so that BIRD goes on with what it has."""
        return desired.bgp.router if desired.synced else None

    def apply(self, wanted: Router) -> Iterator[None]:
        """Pass it on."""
        self._keeper.want(wanted)
        yield

    def resync(self) -> None:
        """Have the keeper look again."""
        self._keeper.doubt()
