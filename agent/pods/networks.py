"""The interfaces of this node's pods that other plugins make: all of a pod's in their order, or none.

Stands between those who are asked (``agent.cni``) and those who do the work: plugins (``delegate``), the pod's routes
(``network_routes``) and the disk (``network_record``). What was begun is on the disk before a plugin is executed, so
that a DEL, or the next agent, undoes it wherever this one died. Called from a thread per request, and from one that
looks after what nobody asks for any more; a plugin that hangs keeps its own pod waiting, and no other.
"""

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import msgspec

from agent.compile.network_status import Entry, annotation, entries
from agent.log import logger
from agent.model.attachment import AttachmentKey
from agent.model.name import ObjectName, Problem
from agent.model.network import DEFINITION, InterfaceRequest
from agent.netlink.netns import NoSuchNetns, open_netns
from agent.pods import fail_points
from agent.pods.busy import Busy
from agent.pods.delegate import DelegateFailed, Delegates, without_netns
from agent.pods.errors import AlreadyAttached, NetworkFailed
from agent.pods.in_turn import InTurn
from agent.pods.network_record import InterfaceRecord, NetworkRecords, NetworkSet, Step, interface_record
from agent.pods.network_routes import KeptRoutes, Routed
from agent.pods.plugin import PluginFailed

log = logger(__name__)

ADD_S = 25.0  # for all plugins of an ADD; with what comes before and behind it less than the shim waits
UNDO_S = 10.0  # of that, for what is undone when one fails
DEL_S = 40.0
_replaced = msgspec.structs.replace

IsAlive = Callable[[NetworkSet], bool]


@dataclass(frozen=True, slots=True)
class Made:
    """What an ADD made."""

    owner: NetworkSet
    results: tuple[dict[str, Any], ...]  # of each interface


class Networks:
    """The networks of one node's pods."""

    def __init__(  # noqa: PLR0913  who does a part of the work
        self,
        records: NetworkRecords,
        delegates: Delegates,
        route: Routed,
        is_alive: IsAlive,
        clock: Callable[[], float] = time.monotonic,
        *,
        kept: KeptRoutes | None = None,
    ) -> None:
        """*is_alive* tells whether a container is still there; *clock* gives seconds.

        *kept* looks after the routes that *route* has set; None: nobody does.
        """
        self._kept = kept
        self._records = records
        self._delegates = delegates
        self._route = route
        self._is_alive = is_alive
        self._clock = clock
        self._turn = InTurn()
        self.busy = Busy()
        self.wake = threading.Event()  # there is something to look after
        self._stuck: tuple[Problem, ...] = ()  # networks of which pods that are gone have something still
        self._silent: tuple[Problem, ...] = ()  # networks in use whose plugins cannot serve now

    @property
    def problems(self) -> tuple[Problem, ...]:
        """What is wrong with networks in use."""
        return (*self._stuck, *self._silent)

    def restore(self) -> None:
        """Take over what an earlier agent left."""
        self._records.load()
        self.wake.set()

    def all(self) -> tuple[NetworkSet, ...]:
        """The pods of this moment that have such interfaces."""
        return self._records.all()

    def find(self, key: AttachmentKey) -> NetworkSet | None:
        """What a container has."""
        return self._records.get(key)

    def add(self, owner: NetworkSet, wanted: Iterable[InterfaceRequest], first: Iterable[Entry]) -> Made:
        """Make all interfaces that are wanted, or leave none.

        *first* are the entries of network-status of a first interface that is our own.

        Raises:
            AlreadyAttached: the container has some.
            NetworkFailed: a plugin or the kernel refused, or took too long.
            OSError: the disk refuses.
        """
        until = self._clock() + ADD_S
        with self.alone(owner.key):
            self._clear(owner.key, until)
            one = _replaced(owner, interfaces=tuple(map(interface_record, wanted)))
            try:
                for each in one.interfaces:
                    self._delegates.look(each)
                made = self._make(one, tuple(first), until)
            except BaseException as error:
                self._roll_back(owner.key)
                if isinstance(error, DelegateFailed):
                    raise NetworkFailed(str(error), error.code) from error
                raise
        log.info("pod's networks are made", pod=str(one.pod or one.container_id), networks=len(one.interfaces))
        return made

    def delete(self, key: AttachmentKey, asked_at_ns: int | None = None) -> None:
        """Unmake all, the last first; done already is done well. All are tried before the first failure is told.

        One that was asked for after *asked_at_ns*, by CLOCK_BOOTTIME, is not the one meant.

        Raises:
            NetworkFailed: a plugin refused, or took too long; another DEL tries again what is left.
            OSError: the disk refuses.
        """
        with self.alone(key):
            one = self._records.get(key)
            if one is not None and not self._is_younger(one, asked_at_ns):
                self._undo(one, self._clock() + DEL_S)

    def leave(self, key: AttachmentKey, asked_at_ns: int | None) -> None:
        """As :meth:`delete`, later and by another thread: for what nobody waits for.

        Raises:
            OSError: the disk refuses.
        """
        with self.alone(key):
            one = self._records.get(key)
            if one is None or self._is_younger(one, asked_at_ns):
                return
            self._records.put(_replaced(one, is_leaving=True))
        self.wake.set()

    def check(self, key: AttachmentKey) -> None:
        """Ask the plugins whether all is as they made it.

        Raises:
            NetworkFailed: something is not.
        """
        one = self._records.get(key)
        if one is None:
            return
        until = self._clock() + ADD_S
        for each in one.interfaces:
            if each.step is not Step.MADE:  # one that comes, or goes, while the pod runs
                continue
            try:
                self._delegates.check(one, each, until)
            except DelegateFailed as error:
                raise NetworkFailed(str(error)) from error
        if self._kept is not None and (gone := self._kept.lost(one, _routed(one))):
            missing = ", ".join(map(str, gone))
            raise NetworkFailed(f"default-route: the way out is not what it was: there is no route to {missing}")

    def keep_only(self, network: str, valid: frozenset[AttachmentKey], asked_at_ns: int | None) -> tuple[str, ...]:
        """Unmake what containers have that are not *valid*, and have the plugins forget them; what went wrong.

        Of those alone whose runtime asked by a configuration of this name.
        """
        wrong = []
        for one in self._records.all():
            if one.cluster_network == network and one.key not in valid:
                try:
                    self.delete(one.key, asked_at_ns)
                except (NetworkFailed, OSError) as error:
                    wrong.append(f"{one.container_id}: {error}")
        until = self._clock() + DEL_S
        for plugins in dict.fromkeys(each.list for one in self._records.all() for each in one.interfaces):
            try:
                self._delegates.collect(plugins, partial(self._valid, plugins.name), until)
            except PluginFailed as error:
                wrong.append(f"network {plugins.name}: {error}")
        return tuple(wrong)

    def status_of(self, one: NetworkSet, first: Iterable[Entry]) -> str:
        """The text of network-status; *first* as :meth:`add` has it."""
        told = list(first)
        for index, each in enumerate(one.interfaces):
            if each.step is Step.MADE:
                info = self._delegates.device_info(one, each)
                result = msgspec.json.decode(each.result or "{}")
                told += _entries(each, result, info, is_first=one.replaces_first and not index)
        return annotation(_one_way_out(told, [each for each in one.interfaces if each.default_route]))

    def collect(self) -> None:
        """Unmake what is half made or of pods that are gone, but for what somebody is at; what stays is a problem."""
        stuck: dict[ObjectName, Problem] = {}  # one of a network says it
        for one in self._records.all():
            if one.is_whole and not one.is_leaving and self._is_alive(one):
                continue
            with self.alone(one.key, waits=False) as is_alone:
                if is_alone:  # else its own request is at it
                    self._try_to_bury(one, stuck)
        self._stuck = tuple(stuck.values())

    def keep(self) -> None:
        """Have pods that live go out as they were asked to, also by interfaces that were down and lost their routes."""
        for one in self._records.all():
            routed = _routed(one)
            if self._kept is None or not routed or one.is_leaving or not one.is_whole or not self._is_alive(one):
                continue
            with self.alone(one.key, waits=False) as is_alone:
                if is_alone and self._records.get(one.key) is one:
                    self._keep(self._kept, one, routed)

    def _keep(self, kept: KeptRoutes, one: NetworkSet, routed: Sequence[InterfaceRecord]) -> None:
        who = str(one.pod or one.container_id)
        try:
            for destination in kept.repair(one, routed):
                log.info("a route that a pod with another way out lacked is set", pod=who, route=destination)
        except NetworkFailed as error:
            log.warning("a pod does not go out as it was asked to; tried again", pod=who, why=error)

    def look(self) -> None:
        """Ask the plugins of the networks in use whether they can serve: what cannot is a problem."""
        used = {each.list: each.network for one in self._records.all() for each in one.interfaces}
        found = []
        for plugins, network in used.items():
            try:
                self._delegates.status(plugins, self._clock() + UNDO_S)
            except PluginFailed as error:
                found.append(Problem(DEFINITION, network, "spec.config", f"cannot serve now: {error}"))
        self._silent = tuple(sorted(set(found)))

    def _try_to_bury(self, one: NetworkSet, stuck: dict[ObjectName, Problem]) -> None:
        try:
            self._bury(one.key)
        except (NetworkFailed, OSError) as error:
            log.warning("networks of a pod that is gone cannot be unmade; tried again", why=error)
            _note(stuck, one, error)
        # whatever it is: others' are unmade all the same, and this thread has to live
        except Exception as error:
            log.exception("networks of a pod that is gone cannot be unmade; tried again", why=error)
            _note(stuck, one, error)

    def _bury(self, key: AttachmentKey) -> None:
        one = self._records.get(key)
        if one is not None and not (one.is_whole and not one.is_leaving and self._is_alive(one)):
            self._undo(one, self._clock() + UNDO_S)
            log.info("networks of a pod that is gone are unmade", pod=str(one.pod or one.container_id))

    def _valid(self, network: str) -> frozenset[AttachmentKey]:
        """The attachments to a network, by the name in its configuration, which several may have."""
        every = ((one.container_id, each) for one in self._records.all() for each in one.interfaces)
        return frozenset((container, each.interface) for container, each in every if each.name == network)

    def _is_younger(self, one: NetworkSet, asked_at_ns: int | None) -> bool:
        return asked_at_ns is not None and one.asked_at_ns > asked_at_ns and self._is_alive(one)

    def _clear(self, key: AttachmentKey, until: float) -> None:
        """Undo what an ADD left that did not end well."""
        left = self._records.get(key)
        if left is None:
            return
        if left.is_whole and not left.is_leaving and self._is_alive(left):
            raise AlreadyAttached(f"{key[0]} has its networks already; DEL comes first")
        self._undo(left, until)

    def _make(self, one: NetworkSet, first: tuple[Entry, ...], until: float) -> Made:
        results: list[dict[str, Any]] = []
        for index, each in enumerate(one.interfaces):
            one = self._at(one, index, step=Step.BEGUN)
            fail_points.reached("NETWORK noted")
            result = self._delegates.add(one, each, until)
            fail_points.reached("NETWORK made")
            one = self._at(one, index, is_noted=False, step=Step.MADE, result=result)
            results.append(msgspec.json.decode(result))
        routed = _routed(one)
        if not one.replaces_first or routed:
            self._route(one, routed)
        one = _replaced(one, is_whole=True, status=self.status_of(one, first))
        self._records.put(one)
        fail_points.reached("NETWORKS noted")
        return Made(one, tuple(results))

    def _at(self, one: NetworkSet, index: int, *, is_noted: bool = True, **changed: Any) -> NetworkSet:
        """With another state of one interface, on the disk if *is_noted*; else the next write takes it along."""
        every = list(one.interfaces)
        every[index] = _replaced(every[index], **changed)
        one = _replaced(one, interfaces=tuple(every))
        if is_noted:
            self._records.put(one)
        return one

    def _roll_back(self, key: AttachmentKey) -> None:
        """Undo an ADD that failed; what cannot be undone in time is left to :meth:`collect`."""
        left = self._records.get(key)
        if left is None:
            return
        try:
            self._undo(left, self._clock() + UNDO_S)
        except (NetworkFailed, OSError) as error:
            log.warning("networks half made cannot be unmade; tried again", why=error)

    def _undo(self, one: NetworkSet, until: float) -> None:
        """Unmake what was begun, the last first; what is left of it stays on the disk."""
        if not one.is_leaving:
            one = _replaced(one, is_leaving=True)
            with suppress(OSError):  # a full disk keeps no pod from going
                self._records.put(one)
        seen = one if self._is_alive(one) else without_netns(one)
        left: list[InterfaceRecord] = []
        failed: list[DelegateFailed] = []
        begun = [each for each in one.interfaces if each.step is not Step.WANTED]
        while begun:
            now = self._clock()
            share = now + (until - now) / len(begun)  # one that hangs leaves the others theirs
            each = begun.pop()
            try:
                self._delegates.delete(seen, each, share)
                self._delegates.forget_device_info(one, each)
            except DelegateFailed as error:
                failed.append(error)
                left.insert(0, each)
            fail_points.reached("NETWORK unmade")
        if failed:
            with suppress(OSError):
                self._records.put(_replaced(one, interfaces=tuple(left)))
            raise NetworkFailed("; ".join(map(str, failed)))
        self._records.remove(one.key)
        fail_points.reached("NETWORKS forgotten")

    def alone(self, key: AttachmentKey, *, waits: bool = True) -> AbstractContextManager[bool]:
        """Be the only request that is at the container, for a block; whether one is, where one does not wait."""
        return self._turn.of(key[0], waits=waits)


def _note(stuck: dict[ObjectName, Problem], one: NetworkSet, why: Exception) -> None:
    for each in one.interfaces:
        text = f"cannot be taken from a pod that is gone: {why}"
        stuck.setdefault(each.network, Problem(DEFINITION, each.network, "spec.config", text))


def _entries(each: InterfaceRecord, result: dict[str, Any], info: Any, *, is_first: bool) -> Iterator[Entry]:
    ways = None if is_first and not each.default_route else each.default_route
    return entries(str(each.network), each.interface, result, is_default=is_first, gateways=ways, device_info=info)


def _routed(one: NetworkSet) -> list[InterfaceRecord]:
    """The interfaces that are there and asked to be a way out."""
    return [each for each in one.interfaces if each.step is Step.MADE and each.default_route]


def _one_way_out(told: Iterable[Entry], routed: Iterable[InterfaceRecord]) -> Iterator[Entry]:
    """The entries, of which those alone have gateways that the pod's default routes lead to."""
    moved = {each.interface for each in routed}
    for entry in told:
        is_moved_away = moved and entry["interface"] not in moved
        yield {key: value for key, value in entry.items() if key != "gateway"} if is_moved_away else entry


def is_alive(one: NetworkSet, boot: str, find: Callable[[AttachmentKey], object]) -> bool:
    """Whether a container is there still: its interface of ours, by *find*, or else its namespace.

    Where that cannot be seen now, it is: what a pod has is not unmade for want of descriptors.
    """
    if one.boot != boot:
        return False
    if find(one.key) is not None:
        return True
    try:
        with open_netns(one.netns, may_be_host=True) as there:
            return there.cookie == one.netns_cookie
    except NoSuchNetns:
        return False
    except OSError as error:
        log.warning("whether a pod is there cannot be seen; its interfaces stay", netns=one.netns, why=error)
        return True
