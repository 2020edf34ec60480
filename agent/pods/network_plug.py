"""A further interface more, or less, of a pod that runs.

Beside ``networks``, which makes and unmakes all of a pod's together. A pod's record stays whole meanwhile, for its
other interfaces do: one that is being made or unmade stands in it as begun, and whoever finds it so unmakes it.
"""

import time
from collections.abc import Callable, Collection, Iterable

import msgspec

from agent.compile.network_status import Entry
from agent.model.attachment import AttachmentKey
from agent.model.network import InterfaceRequest
from agent.pods import fail_points
from agent.pods.delegate import DelegateFailed, Delegates
from agent.pods.errors import NetworkFailed
from agent.pods.network_record import InterfaceRecord, NetworkRecords, NetworkSet, Step, interface_record
from agent.pods.network_routes import Routed
from agent.pods.networks import ADD_S, UNDO_S, Networks

_replaced = msgspec.structs.replace


class PodIsGone(Exception):  # noqa: N818  the name says what happened
    """The pod's sandbox is not there any more, or a request of its runtime is at it: nothing is to be done now."""


class NetworkPlug:
    """Changes the further interfaces of one node's pods, one at a time."""

    def __init__(  # noqa: PLR0913, PLR0917  who does a part of the work
        self,
        networks: Networks,
        records: NetworkRecords,
        delegates: Delegates,
        route: Routed,
        devices: Callable[[NetworkSet], Collection[str] | None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """*devices* gives the names of a pod's devices, None where its namespace is not there any more.

        *clock* gives seconds.
        """
        self._networks = networks
        self._records = records
        self._delegates = delegates
        self._route = route
        self._devices = devices
        self._clock = clock

    def add(self, owner: NetworkSet, wanted: InterfaceRequest, first: Iterable[Entry]) -> NetworkSet:
        """Make one more, behind the others, or leave them as they are; what the pod has then.

        *owner* has no interfaces, and is what is noted of a pod that had none; *first* is as ``Networks.add`` has it.

        Raises:
            PodIsGone: nothing was touched.
            NetworkFailed: a plugin or the kernel refused, or took too long.
            OSError: the disk refuses.
        """
        with self._networks.alone(owner.key):
            one = self._living(owner.key, _replaced(owner, is_whole=True))
            each = interface_record(wanted)
            if each.interface in (self._devices(one) or ()):  # another's: our plugin's DEL would take it away
                why = "the pod has an interface of this name that is not from here"
                raise NetworkFailed(f"{each.interface} of {each.network}: {why}")
            try:
                self._delegates.look(each)
                one = self._put(one, _replaced(each, step=Step.BEGUN))
                fail_points.reached("PLUG noted")
                result = self._delegates.add(one, each, self._clock() + ADD_S)
                fail_points.reached("PLUG made")
                each = _replaced(each, step=Step.MADE, result=result)
                routed = [other for other in (*one.interfaces, each) if other.step is Step.MADE and other.default_route]
                if not one.replaces_first or routed:
                    self._route(one, routed)
            except (DelegateFailed, NetworkFailed) as error:
                self._take_back(one, each)
                raise NetworkFailed(str(error)) from error
            return self._put(one, each, tuple(first))

    def remove(self, key: AttachmentKey, interface: str, first: Iterable[Entry]) -> NetworkSet:
        """Unmake one, and leave the others as they are; what the pod has then.

        Raises:
            PodIsGone: nothing was touched.
            NetworkFailed: a plugin refused, or took too long; it may be tried again.
            OSError: the disk refuses.
        """
        with self._networks.alone(key):
            one = self._living(key, None)
            each = next((each for each in one.interfaces if each.interface == interface), None)
            if each is None:
                return one
            one = self._put(one, _replaced(each, step=Step.BEGUN))
            fail_points.reached("UNPLUG noted")
            try:
                self._unmake(one, each, self._clock() + ADD_S)
            except DelegateFailed as error:
                raise NetworkFailed(str(error)) from error
            fail_points.reached("UNPLUG unmade")
            return self._without(one, each, tuple(first))

    def _living(self, key: AttachmentKey, absent: NetworkSet | None) -> NetworkSet:
        """What is noted of a pod that runs, and that nobody else is at."""
        one = self._records.get(key) or absent
        if one is None or one.is_leaving or not one.is_whole or self._networks.busy.has(key):
            raise PodIsGone
        if self._devices(one) is None:
            raise PodIsGone
        return one

    def _take_back(self, one: NetworkSet, each: InterfaceRecord) -> None:
        """Undo what failed; what cannot be undone now stays begun, to be unmade before another try."""
        if self._records.get(one.key) is None or each.interface not in {other.interface for other in one.interfaces}:
            return
        try:
            self._unmake(one, each, self._clock() + UNDO_S)
        except DelegateFailed:
            return
        self._without(one, each, None)

    def _unmake(self, one: NetworkSet, each: InterfaceRecord, until: float) -> None:
        self._delegates.delete(one, each, until)
        self._delegates.forget_device_info(one, each)

    def _put(self, one: NetworkSet, each: InterfaceRecord, first: tuple[Entry, ...] | None = None) -> NetworkSet:
        """Note an interface, in its place or behind the others; with *first* the status too."""
        others = {other.interface: other for other in one.interfaces}
        one = _replaced(one, interfaces=tuple((others | {each.interface: each}).values()))
        return self._noted(one, first)

    def _without(self, one: NetworkSet, each: InterfaceRecord, first: tuple[Entry, ...] | None) -> NetworkSet:
        left = tuple(other for other in one.interfaces if other.interface != each.interface)
        return self._noted(_replaced(one, interfaces=left), first)

    def _noted(self, one: NetworkSet, first: tuple[Entry, ...] | None) -> NetworkSet:
        if first is not None:
            one = _replaced(one, status=self._networks.status_of(one, first))
        self._records.put(one)
        return one
