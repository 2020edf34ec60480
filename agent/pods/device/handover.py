"""The life of a device that a pod has in place of a veth's end: given by ADD, and undone when the pod has ended.

Stands between those who are asked (``agent.cni``) and those who know one sort of device (``agent.pods.vf``,
``agent.pods.nic``). All that is needed to undo an ADD is on the disk before its first change; undoing compares with
what is there, so it can begin anew wherever it was cut off, and it is one thing for DEL, for an ADD that fails, for a
start behind a crash and for a pod that went without a DEL.
"""

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any, Generic, TypeVar

import msgspec

from agent.errors import AgentError
from agent.kernel.device.netdev import NamesTaken
from agent.log import logger
from agent.model.attachment import Attachment, AttachmentKey
from agent.model.netdev import Netdev
from agent.netlink.netns import NoSuchNetns
from agent.pods import fail_points
from agent.pods.device.guards import Guards
from agent.pods.device.hardware import Hardware, Use
from agent.pods.device.ipam import AddressPlugin
from agent.pods.device.record import DeviceJournal, DeviceRecord, DeviceStage
from agent.pods.device.request import DeviceRequest
from agent.pods.device.words import meant, names_of
from agent.pods.errors import AlreadyAttached, DeviceInUse, DeviceUnusable, NetnsUnusable
from agent.pods.in_turn import InTurn
from agent.pods.plugin import PluginFailed
from agent.reconcile.loop import LoopStopped
from maps.errors import MapsError

log = logger(__name__)

_replaced = msgspec.structs.replace
PATIENCE_S, AT_ONCE_S = 10.0, 0.5  # for a namespace that ends
# what can stand in the way of taking back; tried again later
TROUBLES = (OSError, AgentError, MapsError, LoopStopped, PluginFailed)
Q = TypeVar("Q", bound=DeviceRequest[Any])
R = TypeVar("R", bound=DeviceRecord)


def boot_time_ns() -> int:
    """Nanoseconds by CLOCK_BOOTTIME."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


class Handover(ABC, Generic[Q, R]):
    """The devices of one sort that pods of one node have; called from a thread per request."""

    noun: str  # what points of failure call one

    def __init__(
        self,
        journal: DeviceJournal[R],
        ipam: AddressPlugin,
        guards: Guards,
        hardware: Hardware,
        clock: Callable[[], int] = boot_time_ns,
    ) -> None:
        """*clock* gives nanoseconds by CLOCK_BOOTTIME."""
        self.hardware = hardware
        hardware.tell(self._uses)
        self._journal = journal
        self._ipam = ipam
        self._guards = guards
        self._clock = clock
        self._records: dict[str, R] = {}  # by address
        self._unread: frozenset[str] = frozenset()  # addresses of devices of which nobody knows what they were
        self._stuck: dict[str, str] = {}  # by address: why a device is not what it was
        self._spoilt: dict[str, str] = {}  # by address: why a device is not what its pod was given
        self.turn = InTurn()  # at a device, by its address
        self._lock = threading.Lock()  # guards records and what is stuck

    @abstractmethod
    def _netns_cookie(self, netns: str) -> int:
        """What tells the namespace at a path from all others of this boot.

        Raises:
            NoSuchNetns: it leads to none, or to the node's.
            OSError: that cannot be seen now.
        """

    @abstractmethod
    def _begin(self, request: Q) -> tuple[R, Callable[[], R]]:
        """Look, and change nothing: what is to be on the disk, and what makes it then; that gives the whole record.

        Raises:
            DeviceUnusable, NetnsUnusable: it cannot be made.
        """

    @abstractmethod
    def _take_back(self, record: R, patience_s: float) -> None:
        """Have the device be what it was, whatever of it was changed; its programs go with it.

        Raises:
            OSError, AgentError: it is not yet.
        """

    @abstractmethod
    def _is_in_pod(self, record: R) -> bool:
        """Whether the namespace of its pod, which is there, has it.

        Raises:
            OSError: that cannot be seen now.
        """

    @abstractmethod
    def _keeper(self, living: Sequence[R]) -> Callable[[R], str]:
        """What has a device be what its pod was given, and says why it is not; made of a look at those that live."""

    @abstractmethod
    def _use(self, record: R) -> Use | None:
        """Its part in a network device of the node; None: it has none."""

    @abstractmethod
    def _faults(self, record: R) -> Iterator[str]:
        """What is not as ADD left it, of the device itself."""

    def _shared(self, asked: Q | R) -> AbstractContextManager[object]:  # noqa: ARG002  a sort may look at it
        """Be alone at what is not this attachment's own, behind its turn; there is nothing unless a sort says so."""
        return nullcontext()

    def restore(self) -> tuple[Attachment, ...]:
        """Take over what an earlier agent left; devices of pods that are dead or half made are taken back.

        Returns those that policy and services are for; called once, before the loop starts.
        """
        records, unread = self._journal.load()
        self._unread = frozenset(unread)
        self._records = {record.address: record for record in records}
        for record in records:
            if record.stage is not DeviceStage.ADDED or not self._has_pod(record):
                self._try_to_end(record.address)
            elif (kept := self._guards.restore(record)) != record:
                self._put(kept)
        return self._guards.attachments()

    def all(self) -> tuple[R, ...]:
        """The devices that pods have, or have had until a moment ago."""
        with self._lock:
            return tuple(self._records.values())

    @property
    def unread(self) -> frozenset[str]:
        """The addresses of devices whose record cannot be read: nobody knows what they were."""
        return self._unread

    @property
    def stuck(self) -> dict[str, str]:
        """Why devices are not yet what they were, by address."""
        return self._stuck

    @property
    def can_guard(self) -> bool:
        """Whether policy and services can be had on them here."""
        return self._guards.is_possible

    def find(self, key: AttachmentKey) -> R | None:
        """The device of this attachment."""
        return next((record for record in self.all() if record.key == key), None)

    def add(self, request: Q) -> R:
        """Give a pod its device, whole or not at all.

        Raises:
            DeviceInUse: another container has it.
            DeviceUnusable: it cannot do what is asked; the key is named.
            AlreadyAttached, NetnsUnusable, InterfaceTaken, NoFreeAddress: nothing is left.
            OSError: the kernel or the disk refused.
        """
        with self.turn.of(request.address), self._shared(request):
            if self.find(request.key) is not None:
                text = f"{request.container_id} has {request.interface} already; DEL comes first"
                raise AlreadyAttached(text)
            self._free(request.address)
            with self.hardware.noting:  # else of two at once neither sees the other
                record, make = self._begin(request)
                self._put(record)
            self._reached("ADD noted")
            try:
                made = make()
                self._put(made)
                self._reached("ADD done")
            except Exception as error:
                self._give_up(record, error)
                raise meant(record, error) from error
        log.info("device attached", **names_of(made))
        return made

    def delete(self, key: AttachmentKey, asked_at_ns: int | None = None) -> bool:
        """Undo an ADD; whether there was one here. One that was asked for after *asked_at_ns* is not the one meant.

        Raises:
            OSError, AgentError, PluginFailed: the device is not what it was yet; another DEL goes on.
        """
        record = self.find(key)
        if record is None:
            return False
        with self.turn.of(record.address), self._shared(record):
            present = self._records.get(record.address)
            if present is None or present.key != key:
                return True
            if asked_at_ns is not None and present.asked_at_ns > asked_at_ns:
                log.info("device is younger than the request to give it back, and stays", **names_of(present))
                return True
            try:
                self._end(present)
            except NamesTaken as error:  # the pod has it no more: what is left is tried by later looks
                log.warning("device is home without all its names; tried again", why=error, **names_of(present))
        return True

    def forget(self, request: Q) -> None:
        """Have the IPAM plugin take back what it gave to one that has no record, as one of before a reboot has none.

        Raises:
            PluginFailed: it does not.
        """
        if self.find(request.key) is None:
            self._ipam.delete(request)

    def drop(self, record: R) -> None:
        """Forget a device that is what it was, whatever its IPAM plugin still holds.

        Raises:
            OSError: the disk refuses.
        """
        self._journal.remove(record.address)
        with self._lock:
            self._records.pop(record.address, None)

    def check(self, record: R) -> Iterator[str]:
        """What is not as ADD left it."""
        yield from self._faults(record)
        if trouble := self._guards.fault(record):
            yield trouble
        if trouble := self._ipam.check(record):
            yield trouble

    def collect(self) -> None:
        """Have the devices of pods that are gone taken back, and go on with what could not be done before.

        Those of pods that live are to be what they were given.
        """
        for record in self.all():
            if record.stage is not DeviceStage.ADDED or not self._is_alive(record):
                self._try_to_end(record.address, waits=False)  # whoever is at it ends it
        living = [one for one in self.all() if one.stage is DeviceStage.ADDED and self._is_alive(one)]
        keep = self._keeper(living)
        reasons = {one.address: self._kept(one, keep) for one in living}
        self._spoilt = {address: why for address, why in reasons.items() if why}

    def _kept(self, record: R, keep: Callable[[R], str]) -> str:
        """As *keep*; empty also where somebody is at it, who sees to it."""
        with self.turn.of(record.address, waits=False) as is_alone:
            return keep(record) if is_alone and self._records.get(record.address) is record else ""

    def _cookie(self, netns: str) -> int:
        """What tells the namespace that an ADD names from others.

        Raises:
            NetnsUnusable: the path leads to none, or to the node's.
        """
        try:
            return self._netns_cookie(netns)
        except NoSuchNetns as error:
            raise NetnsUnusable(str(error)) from error

    def _free(self, address: str) -> None:
        """Nobody has it, or nobody that lives.

        Raises:
            DeviceInUse: somebody has.
        """
        if address in self._unread:
            text = f"deviceID: the record of {address} in the state directory cannot be read; remove it"
            raise DeviceUnusable(text)
        has = self._records.get(address)
        if has is None:
            return
        if has.stage is DeviceStage.ADDED and self._is_alive(has):
            who = has.pod or has.container_id
            raise DeviceInUse(f"{address} is {has.interface} of {who}, which is still there")
        try:
            self._end(has)
        except TROUBLES as error:
            raise DeviceInUse(f"{address} was {has.interface} of {has.pod or has.container_id}: {error}") from error

    def _give_up(self, record: R, error: Exception) -> None:
        log.warning("device cannot be attached, and is given back", why=error, **names_of(record))
        self._end_or_log(record.address)

    def _try_to_end(self, address: str, *, waits: bool = True) -> None:
        """For when nobody waits for it, and it is tried again."""
        with self.turn.of(address, waits=waits) as is_alone:
            record = self._records.get(address)
            if is_alone and record is not None:
                with self._shared(record):
                    self._end_or_log(address)

    def _end_or_log(self, address: str) -> None:
        try:
            self._end_present(address)
        except TROUBLES as error:
            log.warning("device is not what it was; tried again", device=address, why=error)

    def _end_present(self, address: str) -> None:
        record = self._records.get(address)
        if record is None or (record.stage is DeviceStage.ADDED and self._has_pod(record)):
            return  # a DEL came meanwhile, and perhaps an ADD
        self._end(record, AT_ONCE_S)

    def _end(self, record: R, patience_s: float = PATIENCE_S) -> None:
        """As :meth:`_restore`; what stands in the way is told until it does not."""
        try:
            self._restore(record, patience_s)
        except TROUBLES as error:
            with self._lock:
                self._stuck = {**self._stuck, record.address: str(error)}
            raise
        with self._lock:
            self._stuck = {address: why for address, why in self._stuck.items() if address != record.address}

    def _restore(self, record: R, patience_s: float) -> None:
        """Have the device be what it was; all is tried before what the IPAM plugin says is told."""
        record = _replaced(record, stage=DeviceStage.DELETING)
        try:
            self._put(record)
        except OSError as error:
            log.warning("device goes, and its record cannot say so", why=error, **names_of(record))
            with self._lock:
                self._records[record.address] = record
        self._reached("DEL begun")
        unfreed: PluginFailed | None = None
        try:
            self._ipam.delete(record)
        except PluginFailed as error:
            unfreed = error
        self._reached("DEL address")
        self._take_back(record, patience_s)
        if unfreed is not None:
            raise unfreed
        self.drop(record)
        self._reached("DEL done")
        log.info("device is what it was", **names_of(record))

    def _uses(self) -> Iterator[Use]:
        for record in self.all():
            if (use := self._use(record)) is not None:
                why = self._stuck.get(record.address)
                yield replace(use, who=f"{use.who}, which has not given it back: {why}") if why else use

    def _check_free(self, netdev: Netdev, address: str, *, is_alone: bool) -> None:
        """A device of the node is for the device that is to be known by *address*; nothing else is noted meanwhile.

        Raises:
            DeviceInUse: another pod has a part in it, and one of the two has to be alone there.
        """
        if why := self.hardware.trouble(netdev.index, netdev.shown, is_alone=is_alone, address=address):
            raise DeviceInUse(why)

    def _reached(self, point: str) -> None:
        fail_points.reached(f"{self.noun} {point}")

    def _put(self, record: R) -> None:
        self._journal.put(record)
        with self._lock:
            self._records[record.address] = record

    def _is_alive(self, record: R) -> bool:
        """Whether the pod's namespace is there; where that cannot be seen now, it is."""
        try:
            return self._netns_cookie(record.netns) == record.netns_cookie
        except NoSuchNetns:
            return False
        except OSError as error:
            log.warning("whether a pod is there cannot be seen; its device stays", device=record.address, why=error)
            return True

    def _has_pod(self, record: R) -> bool:
        """Whether the pod is there, and has it; where that cannot be seen now, it has."""
        if not self._is_alive(record):
            return False
        try:
            return self._is_in_pod(record)
        except OSError as error:
            log.warning("whether a pod has its device cannot be seen; it stays", device=record.address, why=error)
            return True


def of_network(records: Iterable[R], network: str) -> tuple[R, ...]:
    """Those that a configuration of this name asked for."""
    return tuple(record for record in records if record.network == network)
