"""BGP as a part of the round: the keeper is handed what is wanted; without `--router` what one left goes."""

from collections.abc import Iterator
from pathlib import Path

from agent.bgp.keeper import Keeper
from agent.bgp.leave import leave
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


class NoBgpPart:
    """Nothing of an agent that ran with `--router`: its node is withdrawn from peers, and routes taken from them go.

    After the first sync, so that what comes in their place is there. No BIRD keeps such routes any more, and a next hop
    that is gone would have their packets for ever.
    """

    name, is_before_maps, is_vital, is_watched = "bgp", False, False, False

    def __init__(self, run_dir: Path) -> None:
        self._run_dir = run_dir

    def wanted(self, desired: Desired) -> bool | None:
        """That it is so, once all is known."""
        return desired.synced or None

    def apply(self, _wanted: bool, /) -> Iterator[None]:  # noqa: FBT001  as the loop hands it on
        """Have it so; where there never was a BIRD of ours nothing is asked."""
        leave(self._run_dir)
        yield

    def resync(self) -> None:
        """Nothing is remembered of the kernel."""
