"""How long changes of policies, labels and addresses take from their arrival to the maps that pods are judged by."""

from collections.abc import Callable

from agent.compile.policy_state import Policies


class Propagation:
    """Follows what arrives until it is written; a change that says nothing else of anybody here is none."""

    def __init__(self, clock: Callable[[], int], observe: Callable[[float], None]) -> None:
        """*observe* is called with the seconds of each change, of several that go together those of the first."""
        self._clock, self._observe = clock, observe
        self._arrived_ns: int | None = None  # the first that is not taken
        self._taken_ns: int | None = None  # and the first that is, and not written
        self._written: tuple[object, ...] = ()

    @property
    def pending_since_ns(self) -> int | None:
        """When the first came of what is not written yet, from any thread; None: all is written."""
        taken, arrived = self._taken_ns, self._arrived_ns
        return arrived if taken is None else taken

    def arrived(self) -> None:
        """Something came; called by any thread, under the loop's lock."""
        if self._arrived_ns is None:
            self._arrived_ns = self._clock()

    def taken(self) -> None:
        """All that came is worked on; under the same lock."""
        if self._taken_ns is None:
            self._taken_ns = self._arrived_ns
        self._arrived_ns = None

    def written(self, policies: Policies) -> None:
        """The maps hold what follows from all that was taken."""
        peers = policies.peers
        now = (policies.readers, peers.elsewhere, peers.here, peers.ranges, policies.apart, policies.pods)
        is_first, old = not self._written, self._written
        is_other = not is_first and any(one is not other for one, other in zip(now, old, strict=True))
        if is_other and self._taken_ns is not None:
            self._observe((self._clock() - self._taken_ns) / 1e9)
        self._written, self._taken_ns = now, None
