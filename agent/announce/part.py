"""The addresses that this node announces, as a part of the round: the subnet hears of them once the maps have them."""

from collections.abc import Callable, Iterator

from agent.compile.announce import Announcement
from agent.compile.desired import Desired


class AnnouncedPart:
    """Tells the announcer what the programs answer for."""

    name, is_before_maps, is_vital, is_watched = "announced addresses", False, False, False

    def __init__(self, announce: Callable[[frozenset[Announcement]], object]) -> None:
        self._announce = announce

    def wanted(self, desired: Desired) -> frozenset[Announcement] | None:
        """What this node announces, on each device."""
        return desired.announced if desired.synced else None

    def apply(self, wanted: frozenset[Announcement]) -> Iterator[None]:
        """Pass it on."""
        self._announce(wanted)
        yield

    def resync(self) -> None:
        """Nothing is remembered of it."""
