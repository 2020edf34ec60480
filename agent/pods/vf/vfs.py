"""VFs of SR-IOV cards as pods' interfaces: changed for a pod by ADD, and exactly what they were when it has ended.

What is the same of every device that a pod has stands in ``agent.pods.device.handover``; here is which steps a VF
takes: its PF's settings, its driver, its way into the pod.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence

import msgspec

from agent.compile.vf import changes, kept, refusal, spec_for
from agent.kernel.device.netdev import NamesTaken
from agent.kernel.device.pci import DeviceRefused
from agent.model.name import ObjectName, Problem
from agent.model.node import Pod
from agent.model.vf import NO_MAC, VFIO, Vf, VfKind, VfSpec
from agent.pods import fail_points
from agent.pods.attachments import made_mac
from agent.pods.device.guards import Guards
from agent.pods.device.handover import Handover, boot_time_ns
from agent.pods.device.hardware import Hardware, Use
from agent.pods.device.ipam import AddressPlugin, addresses
from agent.pods.device.record import DeviceJournal, DeviceStage
from agent.pods.device.words import whose
from agent.pods.errors import DeviceUnusable
from agent.pods.vf.check import faults, keep, not_kept, spoilt, unusable, without_hugepages
from agent.pods.vf.files import VfFiles
from agent.pods.vf.needs import Card
from agent.pods.vf.record import VfBefore, VfRecord
from agent.pods.vf.release import take_back
from agent.pods.vf.request import VfRequest

_replaced = msgspec.structs.replace


class Vfs(Handover[VfRequest, VfRecord]):
    """The VFs that pods of one node have."""

    noun = "VF"

    def __init__(  # noqa: PLR0913  each who does a part of the work
        self,
        card: Card,
        journal: DeviceJournal[VfRecord],
        ipam: AddressPlugin,
        files: VfFiles,
        *,
        guards: Guards,
        hardware: Hardware | None = None,
        claim: Callable[[VfRecord], None] = lambda _: None,
        clock: Callable[[], int] = boot_time_ns,
    ) -> None:
        """*hardware* is what others know of the node's devices, whose turns are ours; None: there are no others.

        *claim* tells a VF's link of its addresses; *clock* gives nanoseconds by CLOCK_BOOTTIME.
        """
        super().__init__(journal, ipam, guards, hardware or Hardware(), clock)
        self.turn = self.hardware.turn
        self._card = card
        self._files = files
        self._claim = claim

    def problems(self, node: str, pods: Mapping[ObjectName, Pod]) -> Iterator[Problem]:
        """Which VFs are given to no pod until they are right, and what the node lacks for those of *pods*."""
        yield from unusable(self.unread, self.stuck, node)
        yield from not_kept(self._spoilt, node)
        yield from without_hugepages(self._card, self.all(), pods)

    def _netns_cookie(self, netns: str) -> int:
        """As the base's."""
        return self._card.netns_cookie(netns)

    def _begin(self, request: VfRequest) -> tuple[VfRecord, Callable[[], VfRecord]]:
        """As the base's: look at the VF."""
        cookie = self._cookie(request.netns)
        try:
            vf = self._card.look(request.address)
        except DeviceRefused as error:
            raise DeviceUnusable(f"deviceID: {error}") from error
        spec = spec_for(vf, request.spec, made_mac(request.container_id, request.interface))
        if why := refusal(vf, spec, self._card.nics(request.address)):
            raise DeviceUnusable(why)
        if vf.netdev is not None:
            self._check_free(vf.netdev, request.address, is_alone=True)
        group = vf.group.number if vf.group else ""
        was = self._card.group_file(group) if group else None
        record = VfRecord(
            stage=DeviceStage.ADDING,
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
        return record, lambda: self._make(record, spec, vf)

    def _make(self, record: VfRecord, spec: VfSpec, vf: Vf) -> VfRecord:
        address = record.address
        for change in changes(spec.settings, vf.settings):
            self._card.set(address, change)
        fail_points.reached("VF ADD set")
        given = self._ipam.add(record)  # the device is not in the pod while this takes its time
        read = addresses(given)
        mtu, hidden = spec.mtu or vf.pf_mtu, None
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
            hidden = self._card.hide(address)
            mac = hidden.netdev.mac
        fail_points.reached("VF ADD hidden")
        record = _replaced(record, mac=mac or "", mtu=mtu, given=given, stage=DeviceStage.ADDED)
        record = self._guards.attach(record, hidden)
        fail_points.reached("VF ADD guarded")
        if hidden is not None:
            self._card.to_pod(address, record.netns, record.netns_cookie, record.interface, mtu)
        fail_points.reached("VF ADD moved")
        if hidden is not None:
            self._card.configure(record.netns, record.netns_cookie, address, read)
            self._claim(record)
        fail_points.reached("VF ADD addressed")
        made = self._card.look(address)
        record = _replaced(record, kept=kept(spec.settings, made.settings))
        self._files.write(record, made)
        fail_points.reached("VF ADD told")
        return record

    def _keeper(self, living: Sequence[VfRecord]) -> Callable[[VfRecord], str]:
        """As the base's: each PF is asked once what it keeps."""
        those = {one.address for one in spoilt(self._card, living)}
        return lambda record: keep(self._card, record, is_kept=record.address not in those)

    def _take_back(self, record: VfRecord, patience_s: float) -> None:
        """As the base's."""
        try:
            take_back(self._card, self._guards, record, patience_s)
        except NamesTaken as error:
            self._put(_replaced(record, home=error.index))
            raise
        self._files.remove(record)

    def _is_in_pod(self, record: VfRecord) -> bool:
        """As the base's; one without a network device is in no namespace."""
        if record.kind is VfKind.DPDK:
            return True
        return self._card.in_pod(record.address, record.netns, record.netns_cookie) is not None

    def _use(self, record: VfRecord) -> Use | None:
        """As the base's."""
        if (was := record.before.netdev) is None:
            return None
        return Use(record.home or was.index, was.shown, is_alone=True, address=record.address, who=whose(record))

    def _faults(self, record: VfRecord) -> Iterator[str]:
        """As the base's."""
        return faults(self._card, record)
