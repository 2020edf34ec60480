"""VFs of SR-IOV cards as pods' interfaces: changed for a pod by ADD, and exactly what they were when it has ended.

Stands between those who are asked (``agent.cni``) and those who do the work: the card, the IPAM plugin and the disk
(``vf_record``). All that a VF was is on the disk before the first change; what takes it back compares with what is
there, so it can begin anew wherever it was cut off, and it is one thing for DEL, for an ADD that fails, for a start
behind a crash and for a pod that went without a DEL.
"""

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager

import msgspec

from agent.compile.vf import changes, refusal, spec_for
from agent.errors import AgentError
from agent.kernel.device.pci import DeviceRefused
from agent.log import logger
from agent.model.attachment import Attachment, AttachmentKey
from agent.model.name import ObjectName, Problem
from agent.model.node import Pod
from agent.model.vf import NO_MAC, VFIO, Vf, VfKind, VfSpec
from agent.netlink.netns import NoSuchNetns
from agent.pods import fail_points
from agent.pods.attachments import made_mac
from agent.pods.errors import AlreadyAttached, InterfaceTaken, NetnsUnusable, VfInUse, VfUnusable
from agent.pods.plugin import PluginFailed
from agent.pods.vf.check import faults, unusable, without_hugepages
from agent.pods.vf.files import VfFiles
from agent.pods.vf.guards import VfGuards
from agent.pods.vf.ipam import addresses
from agent.pods.vf.needs import AddressPlugin, Card
from agent.pods.vf.record import VfBefore, VfJournal, VfRecord, VfStage
from agent.pods.vf.release import has_pod, is_alive, take_back
from agent.pods.vf.request import VfRequest
from agent.reconcile.loop import LoopStopped
from maps.errors import MapsError

log = logger(__name__)

_replaced = msgspec.structs.replace
# what can stand in the way of taking back; tried again later
PATIENCE_S, AT_ONCE_S = 10.0, 0.5  # for a namespace that ends
TROUBLES = (OSError, AgentError, MapsError, LoopStopped, PluginFailed)


class Vfs:
    """The VFs that pods of one node have; called from a thread per request."""

    def __init__(  # noqa: PLR0913  each who does a part of the work
        self,
        card: Card,
        journal: VfJournal,
        ipam: AddressPlugin,
        files: VfFiles,
        *,
        guards: VfGuards,
        claim: Callable[[VfRecord], None] = lambda _: None,
        clock: Callable[[], int] = lambda: time.clock_gettime_ns(time.CLOCK_BOOTTIME),
    ) -> None:
        """*claim* tells a VF's link of its addresses; *clock* gives nanoseconds by CLOCK_BOOTTIME."""
        self._card = card
        self._journal = journal
        self._ipam = ipam
        self._files = files
        self._guards = guards
        self._claim = claim
        self._clock = clock
        self._records: dict[str, VfRecord] = {}  # by PCI address
        self._unread: frozenset[str] = frozenset()  # addresses of VFs of which nobody knows what they were
        self._stuck: dict[str, str] = {}  # by address: why a VF is not what it was
        self._busy: dict[str, threading.Lock] = {}
        self._lock = threading.Lock()  # guards them

    def restore(self) -> tuple[Attachment, ...]:
        """Take over what an earlier agent left; VFs of pods that are dead or half made come home.

        Returns those that policy and services are for; called once, before the loop starts.
        """
        records, unread = self._journal.load()
        self._unread = frozenset(unread)
        self._records = {record.address: record for record in records}
        for record in records:
            if record.stage is not VfStage.ADDED or not has_pod(self._card, record):
                self._try_to_end(record.address)
            elif (kept := self._guards.restore(record)) != record:
                self._put(kept)
        return self._guards.attachments()

    def all(self) -> tuple[VfRecord, ...]:
        """The VFs that pods have, or have had until a moment ago."""
        with self._lock:
            return tuple(self._records.values())

    @property
    def unread(self) -> frozenset[str]:
        """The addresses of VFs whose record cannot be read: nobody knows what they were."""
        return self._unread

    @property
    def can_guard(self) -> bool:
        """Whether policy and services can be had on VFs here."""
        return self._guards.is_possible

    def find(self, key: AttachmentKey) -> VfRecord | None:
        """The VF of this attachment."""
        return next((record for record in self.all() if record.key == key), None)

    def add(self, request: VfRequest) -> tuple[VfRecord, Vf]:
        """Give a pod its VF, whole or not at all.

        Raises:
            VfInUse: another container has it.
            VfUnusable: it cannot do what is asked; the key is named.
            AlreadyAttached, NetnsUnusable, InterfaceTaken, NoFreeAddress: nothing is left.
            OSError: the kernel or the disk refused.
        """
        with self._alone(request.address):
            if self.find(request.key) is not None:
                text = f"{request.container_id} has {request.interface} already; DEL comes first"
                raise AlreadyAttached(text)
            self._free(request.address)
            record, spec, vf = self._begin(request)
            try:
                made = self._make(record, spec, vf)
            except Exception as error:
                self._give_up(record, error)
                raise _meant(record, error) from error
        log.info("VF attached", **_names(made[0]))
        return made

    def delete(self, key: AttachmentKey, asked_at_ns: int | None = None) -> bool:
        """Undo an ADD; whether there was one here. One that was asked for after *asked_at_ns* is not the one meant.

        Raises:
            OSError, AgentError, PluginFailed: the VF is not what it was yet; another DEL goes on.
        """
        record = self.find(key)
        if record is None:
            return False
        with self._alone(record.address):
            present = self._records.get(record.address)
            if present is None or present.key != key:
                return True
            if asked_at_ns is not None and present.asked_at_ns > asked_at_ns:
                log.info("VF is younger than the request to give it back, and stays", **_names(present))
                return True
            self._end(present)
        return True

    def forget(self, request: VfRequest) -> None:
        """Have the IPAM plugin take back what it gave to a VF that has no record, as one of before a reboot has none.

        Raises:
            PluginFailed: it does not.
        """
        if self.find(request.key) is None:
            self._ipam.delete(request)

    def check(self, record: VfRecord) -> Iterator[str]:
        """What is not as ADD left it."""
        return faults(self._card, self._ipam, self._guards, record)

    def collect(self) -> None:
        """Have the VFs of pods that are gone come home, and go on with what could not be done before."""
        for record in self.all():
            if self._is_busy(record.address):
                continue  # whoever is at it ends it, and this thread has more to do than to wait
            if record.stage is not VfStage.ADDED or not is_alive(self._card, record):
                self._try_to_end(record.address)

    def problems(self, node: str, pods: Mapping[ObjectName, Pod]) -> Iterator[Problem]:
        """Which VFs are given to no pod until they are right, and what the node lacks for those of *pods*."""
        yield from unusable(self._unread, self._stuck, node)
        yield from without_hugepages(self._card, self.all(), pods)

    def _begin(self, request: VfRequest) -> tuple[VfRecord, VfSpec, Vf]:
        """Look at the VF and have what it is on the disk, before anything of it changes."""
        try:
            cookie = self._card.netns_cookie(request.netns)
        except NoSuchNetns as error:
            raise NetnsUnusable(str(error)) from error
        try:
            vf = self._card.look(request.address)
        except DeviceRefused as error:
            raise VfUnusable(f"deviceID: {error}") from error
        spec = spec_for(vf, request.spec, made_mac(request.container_id, request.interface))
        if why := refusal(vf, spec):
            raise VfUnusable(why)
        group = vf.group.number if vf.group else ""
        was = self._card.group_file(group) if group else None
        record = VfRecord(
            stage=VfStage.ADDING,
            address=request.address,
            kind=spec.kind,
            network=request.network,
            container_id=request.container_id,
            interface=request.interface,
            netns=request.netns,
            netns_cookie=cookie,
            before=VfBefore(vf.driver, vf.driver_override, vf.settings, vf.netdev, group, was),
            asked_at_ns=request.asked_at_ns or self._clock(),
            config=request.config,
            pod=request.pod,
            pod_uid=request.pod_uid,
            definition=request.definition,
            device_info=request.device_info,
        )
        self._put(record)
        fail_points.reached("VF ADD noted")
        return record, spec, vf

    def _make(self, record: VfRecord, spec: VfSpec, vf: Vf) -> tuple[VfRecord, Vf]:
        address = record.address
        for change in changes(spec.settings, vf.settings):
            self._card.set(address, change)
        fail_points.reached("VF ADD set")
        given = self._ipam.add(record)  # the device is not in the pod while this takes its time
        mtu = spec.mtu or vf.pf_mtu
        if spec.kind is VfKind.DPDK:
            self._card.bind(address, VFIO, VFIO)
            fail_points.reached("VF ADD bound")
            self._card.open_group(record.before.group, spec.owner)
            settings = self._card.look(address).settings
            mac = settings.mac if settings.mac not in {None, NO_MAC} else ""
        else:
            if spec.settings.mac is not None:
                self._card.set_mac(address, spec.settings.mac)
            fail_points.reached("VF ADD bound")
            moved = self._card.to_pod(address, record.netns, record.netns_cookie, record.interface, mtu)
            mac, mtu = moved.mac, moved.mtu
        fail_points.reached("VF ADD moved")
        record = _replaced(record, mac=mac or "", mtu=mtu)
        record = self._guards.attach(_replaced(record, given=given, stage=VfStage.ADDED))
        fail_points.reached("VF ADD guarded")
        if spec.kind is VfKind.NETDEV:
            self._card.configure(record.netns, record.netns_cookie, address, addresses(given))
            self._claim(record)
        fail_points.reached("VF ADD addressed")
        made = self._card.look(address)
        self._files.write(record, made)
        fail_points.reached("VF ADD told")
        self._put(record)
        fail_points.reached("VF ADD done")
        return record, made

    def _free(self, address: str) -> None:
        """Nobody has it, or nobody that lives.

        Raises:
            VfInUse: somebody has.
        """
        if address in self._unread:
            raise VfUnusable(f"deviceID: the record of {address} in the state directory cannot be read; remove it")
        has = self._records.get(address)
        if has is None:
            return
        if has.stage is VfStage.ADDED and is_alive(self._card, has):
            who = has.pod or has.container_id
            raise VfInUse(f"{address} is {has.interface} of {who}, which is still there")
        try:
            self._end(has)
        except TROUBLES as error:
            raise VfInUse(f"{address} was {has.interface} of {has.pod or has.container_id}: {error}") from error

    def _give_up(self, record: VfRecord, error: Exception) -> None:
        log.warning("VF cannot be attached, and is given back", why=error, **_names(record))
        self._try_to_end(record.address, is_alone=True)

    def _try_to_end(self, address: str, *, is_alone: bool = False) -> None:
        """For when nobody waits for it, and it is tried again."""
        try:
            if is_alone:
                self._end_present(address)
            else:
                with self._alone(address):
                    self._end_present(address)
        except TROUBLES as error:
            log.warning("VF is not what it was; tried again", vf=address, why=error)

    def _end_present(self, address: str) -> None:
        record = self._records.get(address)
        if record is None or (record.stage is VfStage.ADDED and has_pod(self._card, record)):
            return  # a DEL came meanwhile, and perhaps an ADD
        self._end(record, AT_ONCE_S)

    def _end(self, record: VfRecord, patience_s: float = PATIENCE_S) -> None:
        """As :meth:`_restore`; what stands in the way is told until it does not."""
        try:
            self._restore(record, patience_s)
        except TROUBLES as error:
            with self._lock:
                self._stuck = {**self._stuck, record.address: str(error)}
            raise
        with self._lock:
            self._stuck = {address: why for address, why in self._stuck.items() if address != record.address}

    def _restore(self, record: VfRecord, patience_s: float) -> None:
        """Have the VF be what it was; all is tried before what the IPAM plugin says is told."""
        record = _replaced(record, stage=VfStage.DELETING)
        try:
            self._put(record)
        except OSError as error:
            log.warning("a VF goes, and its record cannot say so", why=error, **_names(record))
            with self._lock:
                self._records[record.address] = record
        fail_points.reached("VF DEL begun")
        unfreed: PluginFailed | None = None
        try:
            self._ipam.delete(record)
        except PluginFailed as error:
            unfreed = error
        fail_points.reached("VF DEL address")
        take_back(self._card, self._guards, record, patience_s)
        self._files.remove(record)
        if unfreed is not None:
            raise unfreed
        self._journal.remove(record.address)
        with self._lock:
            self._records.pop(record.address, None)
        fail_points.reached("VF DEL done")
        log.info("VF is what it was", **_names(record))

    def _put(self, record: VfRecord) -> None:
        self._journal.put(record)
        with self._lock:
            self._records[record.address] = record

    def _is_busy(self, address: str) -> bool:
        with self._lock:
            return address in self._busy and self._busy[address].locked()

    @contextmanager
    def _alone(self, address: str) -> Iterator[None]:
        """One request at a time for a VF."""
        with self._lock:
            lock = self._busy.setdefault(address, threading.Lock())
        with lock:
            yield


def of_network(records: Iterable[VfRecord], network: str) -> tuple[VfRecord, ...]:
    """Those that a configuration of this name asked for."""
    return tuple(record for record in records if record.network == network)


def _meant(record: VfRecord, error: Exception) -> Exception:
    """What a failed ADD is told as."""
    match error:
        case DeviceRefused():
            return VfUnusable(str(error))
        case FileExistsError():
            return InterfaceTaken(f"{record.interface} exists already in {record.netns}")
        case ValueError():
            return VfUnusable(f"ipam: the plugin's answer cannot be used: {error}")
        case _:
            return error


def _names(record: VfRecord) -> dict[str, object]:
    """What a log line says of one."""
    return {
        "pod": str(record.pod or record.container_id),
        "interface": record.interface,
        "vf": record.address,
        "kind": str(record.kind),
    }
