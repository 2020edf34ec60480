"""What the device plugin knows now: one value, which the thread that looks exchanges, and others read."""

from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Condition

from agent.devices.pools import Device, Pool, Pools
from agent.model.device import Hardware


@dataclass(frozen=True, slots=True)
class Known:
    """Hardware and pools of one look."""

    hardware: Hardware = field(default_factory=Hardware)
    pools: Pools = field(default_factory=Pools)

    def pool(self, resource: str) -> Pool | None:
        """A resource's; None: it is not configured any more."""
        return next((pool for pool in self.pools.pools if pool.resource.name == resource), None)

    def devices(self, resource: str) -> tuple[Device, ...]:
        """A resource's, as :meth:`pool`."""
        pool = self.pool(resource)
        return pool.devices if pool else ()


class Inventory:
    """Holds the latest, and wakes who waits for another."""

    def __init__(self) -> None:
        self._known = Known()
        self._changed = Condition()

    def now(self) -> Known:
        """The latest."""
        return self._known

    def put(self, known: Known) -> None:
        """Exchange it."""
        with self._changed:
            self._known = known
            self._changed.notify_all()

    def rouse(self) -> None:
        """Have those that wait look whether they still should."""
        with self._changed:
            self._changed.notify_all()

    def wait(self, is_over: Callable[[Known], bool]) -> Known:
        """The first that satisfies *is_over*, which is asked at every change and when roused."""
        with self._changed:
            self._changed.wait_for(lambda: is_over(self._known))
            return self._known
