"""Interfaces that are made of devices of the node: made or moved by ADD, and gone or home when the pod has ended.

What is the same of every device that a pod has stands in ``agent.pods.device.handover``.
"""

import errno
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace

import msgspec

from agent.compile.nic import other_mode, refusal
from agent.kernel.device.netdev import POLL_S, NamesTaken
from agent.kernel.device.nic import HostDevice
from agent.kernel.device.pci import DeviceRefused
from agent.kernel.device.unreached import Unreached
from agent.log import logger
from agent.model.name import ObjectName, Problem
from agent.model.nic import MacvlanMode, Nic, NicKind, NicSpec
from agent.netlink.counted import CountedLink
from agent.pods import fail_points
from agent.pods.attachments import made_mac
from agent.pods.device.guards import Guards
from agent.pods.device.handover import TROUBLES, Handover, boot_time_ns
from agent.pods.device.hardware import Hardware, Use
from agent.pods.device.ipam import AddressPlugin, addresses
from agent.pods.device.kept import faults, keep
from agent.pods.device.record import DeviceJournal, DeviceStage
from agent.pods.device.words import whose
from agent.pods.errors import DeviceInUse, DeviceUnusable
from agent.pods.nic.check import given_to, in_pod
from agent.pods.nic.needs import Devices
from agent.pods.nic.record import NicRecord
from agent.pods.nic.request import NicRequest

log = logger(__name__)

_replaced = msgspec.structs.replace
IPV6 = 6


class Nics(Handover[NicRequest, NicRecord]):
    """Those that pods of one node have."""

    noun = "NIC"

    def __init__(  # noqa: PLR0913  each who does a part of the work
        self,
        devices: Devices,
        journal: DeviceJournal[NicRecord],
        ipam: AddressPlugin,
        *,
        guards: Guards,
        hardware: Hardware,
        claim: Callable[[NicRecord], None] = lambda _: None,
        mac_of: Callable[[int], str] = lambda _: "",
        clock: Callable[[], int] = boot_time_ns,
    ) -> None:
        """*hardware* is that of the node's VFs: its turns are at devices that a pod may have itself, VFs among them.

        *claim* tells the link of the addresses; *mac_of* knows the MAC of the node's device of a number, of none
        nothing; *clock* gives nanoseconds by CLOCK_BOOTTIME.
        """
        super().__init__(journal, ipam, guards, hardware, clock)
        self._devices = devices
        self._claim = claim
        self._mac_of = mac_of

    def problems(self, node: str) -> Iterator[Problem]:
        """Which devices of the node are not what they were, and why."""
        names = {record.address: record.device for record in self.all()}
        for address in sorted(self.unread):
            text = "its record in the state directory cannot be read, so it is not taken back; remove the file"
            yield Problem("Node", ObjectName("", node), f"device {address}", text)
        for address, why in sorted(self.stuck.items()):
            field = f"device {names.get(address, address)}"
            yield Problem("Node", ObjectName("", node), field, f"a pod that is gone has left something of it: {why}")
        spoilt = self._spoilt
        for record in self.all():
            if why := spoilt.get(record.address, ""):
                kind, name = ("Pod", record.pod) if record.pod else ("Node", ObjectName("", node))
                yield Problem(kind, name, f"interface {record.interface}", why)

    def counted(self) -> Iterator[tuple[NicRecord, CountedLink | None]]:
        """What each has counted; None where it is not in its pod, or that cannot be seen."""
        for record in self.all():
            try:
                yield record, self._devices.counted(record.netns, record.netns_cookie, record.ifindex)
            except OSError as error:
                log.info("what a device has counted cannot be seen", device=record.device, why=error)
                yield record, None

    def follow(self) -> None:
        """Have pods' devices pass with the MACs that devices of the node have by now; for when some have others."""
        for record in self.all():
            if record.stage is DeviceStage.ADDED and self._new_mac(record):
                self._kept(record, self._followed)

    def _shared(self, asked: NicRequest | NicRecord) -> AbstractContextManager[object]:
        """As the base's: a device that goes from one pod to another is each one's in turn, from its look to its end."""
        if isinstance(asked, NicRecord):
            moved = host_device(asked)
            return nullcontext() if moved is None else self.hardware.turn.of(moved.parent or moved.was.name)
        if asked.spec.kind is not NicKind.HOST_DEVICE:
            return nullcontext()
        try:
            nic = self._devices.look(asked.spec)
        except DeviceRefused:  # which the ADD is told
            return nullcontext()
        return self.hardware.turn.of(nic.parent or nic.netdev.name)

    def _netns_cookie(self, netns: str) -> int:
        """As the base's."""
        return self._devices.netns_cookie(netns)

    def _begin(self, request: NicRequest) -> tuple[NicRecord, Callable[[], NicRecord]]:
        """As the base's: look at the node's device."""
        cookie = self._cookie(request.netns)
        try:
            nic = self._devices.look(request.spec)
        except DeviceRefused as error:
            self._check_at_home(request.spec)
            raise DeviceUnusable(str(error)) from error
        if why := refusal(nic, request.spec):
            raise DeviceUnusable(why)
        is_moved = request.spec.kind is NicKind.HOST_DEVICE
        self._check_named(nic)
        self._check_free(nic.netdev, request.address, is_alone=is_moved)
        record = NicRecord(
            stage=DeviceStage.ADDING,
            address=request.address,
            kind=request.spec.kind,
            device=nic.netdev.name,
            network=request.network,
            container_id=request.container_id,
            interface=request.interface,
            netns=request.netns,
            netns_cookie=cookie,
            before=nic.netdev if is_moved else None,
            parent=nic.parent if is_moved else "",
            permanent_mac=nic.permanent_mac if is_moved else "",
            made_as=nic.made_as if is_moved else "",
            below=nic.below if is_moved else 0,
            master=0 if is_moved else nic.netdev.index,
            mode=request.spec.ipvlan_mode if request.spec.kind is NicKind.IPVLAN else None,
            asked_at_ns=request.asked_at_ns or self._clock(),
            config=request.config,
            pod=request.pod,
            pod_uid=request.pod_uid,
            definition=request.definition,
        )
        self._check_mode(record, nic)
        return record, lambda: self._make(record, request.spec, nic)

    def _check_at_home(self, spec: NicSpec) -> None:
        """The device that is not on the node is not another pod's.

        Raises:
            DeviceInUse: it is.
        """
        for other in self.all():
            if (was := other.before) is None:
                continue
            if (spec.device, spec.pci_address, spec.hardware_address) in (
                (was.name, "", ""),
                ("", other.parent, ""),
                ("", "", was.mac),
            ):
                raise DeviceInUse(f"{other.device} is {other.interface} of {other.pod or other.container_id}")

    def _check_mode(self, record: NicRecord, nic: Nic) -> None:
        """No pod has an ipvlan above the same device that this one would switch to another mode.

        Raises:
            DeviceUnusable: one has.
        """
        for other in self.all() if record.mode else ():
            is_same = other.address == record.address or other.mode in {None, record.mode}
            if not is_same and other.is_above(nic) and self._is_alive(other):
                who = str(other.pod or other.container_id)
                raise DeviceUnusable(other_mode(nic.netdev.name, str(other.mode), who))

    def _check_named(self, nic: Nic) -> None:
        """The device lacks no name since a pod had it.

        Raises:
            DeviceInUse: it does.
        """
        for other in self.all():
            if other.home == nic.netdev.index:
                why = self.stuck.get(other.address, "")
                raise DeviceInUse(f"{other.device} is not what it was before {whose(other)} had it: {why}")

    def _make(self, record: NicRecord, spec: NicSpec, nic: Nic) -> NicRecord:
        netns, cookie, index = record.netns, record.netns_cookie, record.ifindex
        given = self._ipam.add(record)
        wanted = addresses(given)
        if why := refusal(nic, spec, has_ipv6=any(one.version == IPV6 for one in wanted.interfaces)):
            raise DeviceUnusable(why)
        fail_points.reached("NIC ADD given")
        with self._out_of_reach(record, spec, nic) as out:
            fail_points.reached("NIC ADD made")
            made = out.netdev
            record = _replaced(record, mac=made.mac, mtu=made.mtu, given=given, stage=DeviceStage.ADDED)
            record = self._guards.attach(record, out)
            fail_points.reached("NIC ADD guarded")
            if (moved := host_device(record)) is not None:
                self._move(moved, record)
            else:
                self._devices.enter(out, netns, cookie, index)
        fail_points.reached("NIC ADD moved")
        own = given_to(record).link_local
        try:
            self._devices.configure(netns, cookie, index, record.interface, wanted, own)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            raise DeviceUnusable(_taken(record)) from error
        self._claim(record)
        fail_points.reached("NIC ADD addressed")
        return record

    def _move(self, moved: HostDevice, record: NicRecord) -> None:
        try:
            self._devices.to_pod(moved, record.netns, record.netns_cookie, record.interface)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            text = f"device: the kernel lets {record.device} into no other network namespace, as no bridge or tunnel"
            raise DeviceUnusable(text) from error

    def _out_of_reach(self, record: NicRecord, spec: NicSpec, nic: Nic) -> AbstractContextManager[Unreached]:
        """The device, which the pod cannot set up before its programs are on it."""
        if (moved := host_device(record)) is not None:
            return nullcontext(self._devices.hide(moved))
        if spec.kind is NicKind.MACVLAN and spec.macvlan_mode is not MacvlanMode.PASSTHRU:
            spec = replace(spec, mac=spec.mac or made_mac(*record.key))
        return self._devices.make(spec, nic, record.interface)

    def _take_back(self, record: NicRecord, patience_s: float) -> None:
        """As the base's: the programs go when the device has left the pod, and before it is up on the node."""
        moved = host_device(record)
        if moved is None:
            self._devices.remove(record.kind, record.netns, record.netns_cookie, record.ifindex)
            self._detach(record, patience_s if not record.mac else 0.0)  # an agent that died may have been at it
            fail_points.reached("NIC DEL removed")
            return
        if record.home and self._devices.restore_names(moved, record.home):
            return
        is_there = self._devices.bring_home(moved, record.netns, record.netns_cookie, patience_s)
        if is_there:
            self._guards.detach(record.address)
        else:
            self._detach(record)
        fail_points.reached("NIC DEL removed")
        if is_there:
            try:
                self._devices.restore(moved)
            except NamesTaken as error:
                self._put(_replaced(record, home=error.index))
                raise
        else:
            log.warning("a device of the node has ended with the pod that had it", device=record.device)

    def _detach(self, record: NicRecord, patience_s: float = 0.0) -> None:
        """Take away programs and rules of a device that is gone; with one that its pod has hidden they stay.

        Raises:
            DeviceRefused: it is hidden.
        """
        deadline = time.monotonic() + patience_s
        while self._guards.is_on(record.address) and time.monotonic() < deadline:
            time.sleep(POLL_S)
        if self._guards.is_on(record.address):
            raise DeviceRefused(f"{record.interface} is in a namespace that is not its pod's, with its policy on it")
        self._guards.detach(record.address)

    def _keeper(self, living: Sequence[NicRecord]) -> Callable[[NicRecord], str]:  # noqa: ARG002  there is none of all
        """As the base's."""
        return lambda record: self._followed(record) or keep(record, in_pod(self._devices, record))

    def _new_mac(self, record: NicRecord) -> str:
        """The MAC that the kernel has given it with that of its master; empty: none but its own."""
        found = self._mac_of(record.master) if record.has_masters_mac else ""
        return found if found != record.mac else ""

    def _followed(self, record: NicRecord) -> str:
        """Have a device's programs take its master's new MAC for its own; why they do not, else empty.

        The master is the node's, in whose namespace it was seen: nothing that the pod does to its own device counts.
        """
        if not (mac := self._new_mac(record)):
            return ""
        now = record.with_mac(mac)
        try:
            self._guards.renew(now)
            self._put(now)
        except TROUBLES as error:
            log.warning("a device's new MAC is not known yet; tried again", interface=record.interface, why=error)
            return f"{whose(record)} has the MAC {mac} with its master, and what it sends is dropped: {error}"
        log.info("a device has its master's new MAC", pod=str(now.pod or now.container_id), mac=mac, was=record.mac)
        self._claim(now)
        return ""

    def _is_in_pod(self, record: NicRecord) -> bool:
        """As the base's. One that went with the device below it stays its pod's until DEL, and so do its addresses."""
        if record.before is None:
            return True
        return self._devices.in_pod(record.netns, record.netns_cookie, record.ifindex) is not None

    def _use(self, record: NicRecord) -> Use:
        """As the base's."""
        number = record.master if record.before is None else record.home or record.before.index
        is_alone = record.before is not None
        return Use(number, record.device, is_alone=is_alone, address=record.address, who=whose(record))

    def _faults(self, record: NicRecord) -> Iterator[str]:
        """As the base's."""
        return faults(record, in_pod(self._devices, record))


def host_device(record: NicRecord) -> HostDevice | None:
    """The device of the node that the pod has itself; None: it has one above."""
    if record.before is None:
        return None
    return HostDevice(
        record.before,
        record.parent,
        record.permanent_mac,
        record.made_as,
        record.below,
        record.hidden,
        record.ifindex,
    )


def _taken(record: NicRecord) -> str:
    """What the kernel means that finds an address in use: a macvlan's MAC when it comes up, an ipvlan's IP address."""
    if record.kind is NicKind.MACVLAN:
        return f"mac: {record.mac} is another's above {record.device}"
    return f"ipam: an address that it gave is another's above {record.device}"
