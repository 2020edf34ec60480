"""The counters of policies begin at zero: a number may have been another policy's, of this agent or of one before."""

from collections.abc import Iterator, Mapping

from agent.compile.desired import Desired
from maps import abi
from maps.table import TableLike

Table = TableLike[int, abi.PolicyCounter]


class PolicyCountersPart:
    """What the programs count of each policy, by its number and direction; a part of a round, before rules name it."""

    name, is_before_maps, is_vital, is_watched = "policy counters", True, False, False

    def __init__(self, policies: TableLike[int, abi.PolicyName], counters: Table) -> None:
        """*policies* has the numbers that an earlier agent gave."""
        self._counters = counters
        self._known = {number: name.label for number, name in policies.items()}

    def wanted(self, desired: Desired) -> Mapping[str, int] | None:
        """The number of each policy."""
        return desired.policies.ids.policies.known if desired.policies.is_known else None

    def apply(self, wanted: Mapping[str, int]) -> Iterator[None]:
        """Zero those of each number that was not this policy's."""
        now = {number: label for label, number in wanted.items()}
        fresh = [number for number, label in now.items() if self._known.get(number) != label]
        directions = range(abi.Direction.DIRECTIONS)
        none = abi.PolicyCounter(0, 0, 0)
        self._counters.update((number * len(directions) + at, none) for number in fresh for at in directions)
        self._known = now
        yield

    def resync(self) -> None:
        """The programs write them, and nobody else does."""
