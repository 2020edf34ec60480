"""The programs on a pod's VF or NIC, in the pod's namespace: a pair for each, which carries its slot and addresses.

::

    <pin root>/vfs/<PCI address>/vf_egress   what the pod sends; of a NIC, in place of the address, what it is known by
                                 vf_ingress  what it is sent

They are on a device before its pod has it. Pinned links of tcx keep them: a pod that may configure its devices cannot
take them off, and they outlive the agent, whose next one exchanges the programs in place. bpffs takes neither dots nor
colons in names well: both are underscores.
"""

import os
import re
from collections.abc import Callable, Collection, Iterator
from contextlib import nullcontext
from pathlib import Path
from threading import Lock

from agent.compile.desired import Desired
from agent.errors import AgentError
from agent.kernel.device.unreached import Unreached
from agent.kernel.programs.load import OfInterface
from agent.model.address import mapped
from agent.model.attachment import Attachment, DeviceInPod
from agent.netlink.dump import Dump
from agent.netlink.netdev_requests import netdev_of
from agent.netlink.netns import inside, open_netns
from agent.netlink.nic_requests import netdev_at
from maps import abi, libbpf
from maps.errors import MapsError
from maps.libbpf import AttachType
from maps.object import Object
from maps.pins import held

HOOKS = {"vf_egress": AttachType.TCX_EGRESS, "vf_ingress": AttachType.TCX_INGRESS}
_OCTETS = 16  # of an address
Constants = dict[str, int | bytes]
FindDevice = Callable[[Attachment], int]


def device_in_pod(attachment: Attachment) -> int:
    """The number that an attachment's device has in its pod.

    Raises:
        AgentError: it is not there.
        OSError: the kernel refused.
    """
    device = attachment.link.in_pod or DeviceInPod("", ())
    with open_netns(attachment.netns, may_be_host=False) as there:
        dump = Dump(there.pod)
        found = netdev_at(dump, device.ifindex) if device.ifindex else netdev_of(dump, device.address)
        if found is None or there.cookie != attachment.netns_cookie:
            raise AgentError(f"{device.address} is not in {attachment.netns}")
        return found.index


class VfPrograms:
    """The programs of one node's VFs; *programs* is the object, None on a kernel without tcx, *pins* the folder."""

    def __init__(self, programs: OfInterface | None, pins: Path, find: FindDevice = device_in_pod) -> None:
        self._programs, self._pins, self._find = programs, pins, find
        self._lock = Lock()  # ADD makes them while the part looks
        self._loaded: dict[str, Constants] = {}  # of this agent's programs, by their folders

    @property
    def is_possible(self) -> bool:
        """Whether the kernel has hooks that a pod cannot empty."""
        return self._programs is not None

    def attach(self, attachment: Attachment, at: Unreached) -> None:
        """Have this agent's programs on the device of a new attachment, where its pod cannot reach it yet.

        Raises:
            OSError, MapsError: the kernel refused; nothing is left but what :meth:`remove` takes away.
        """
        vf = attachment.link.in_pod
        if vf is None or self._programs is None:
            return
        folder, constants = self._folder(vf.address), _constants(attachment, vf)
        with self._lock, self._programs.loaded(constants) as opened:
            self._attach(opened, folder, at.netns, at.netdev.index)
            self._loaded[folder.name] = constants

    def adopt(self, attachment: Attachment) -> None:
        """Have this agent's programs on an attachment's VF, in place of an earlier one's where these are there.

        So it is with this agent's own that know other addresses.

        Raises:
            AgentError: the VF is not in the pod.
            OSError, MapsError: the kernel refused; nothing is left but what :meth:`remove` takes away.
        """
        vf = attachment.link.in_pod
        if vf is None or self._programs is None:
            return
        folder, constants = self._folder(vf.address), _constants(attachment, vf)
        with self._lock:
            if self._loaded.get(folder.name) == constants and self._is_attached(folder):
                return
            with self._programs.loaded(constants) as opened:
                if self._is_attached(folder):
                    _exchange(opened, folder)
                else:
                    self._attach(opened, folder, attachment.netns, self._find(attachment))
            self._loaded[folder.name] = constants

    def remove(self, address: str) -> None:
        """Have no programs on the VF of a PCI address; without any, nothing happens."""
        with self._lock:
            self._remove(self._folder(address))

    def is_attached(self, address: str) -> bool:
        """Whether both programs are on a VF."""
        return self._is_attached(self._folder(address))

    def collect(self, known: Collection[str]) -> Iterator[None]:
        """Leave nothing of VFs that are not *known*, by PCI address, and gone."""
        names = {_name(address) for address in known}
        for folder in tuple(self._pins.iterdir()) if self._pins.is_dir() else ():
            if folder.name not in names:
                with self._lock:
                    if not self._is_attached(folder):  # else ADD has just made it
                        self._remove(folder)
                yield

    def _attach(self, opened: Object, folder: Path, netns: str, ifindex: int) -> None:
        """*netns* is empty for the calling thread's."""
        self._remove(folder)
        folder.mkdir(parents=True)
        for name, hook in HOOKS.items():
            with inside(netns) if netns else nullcontext():
                link = libbpf.link_create(opened.program_fd(name), ifindex, hook)
            try:
                libbpf.pin(link, folder / name)
            finally:
                os.close(link)

    def _remove(self, folder: Path) -> None:
        self._loaded.pop(folder.name, None)
        if not folder.is_dir():
            return
        for path in tuple(folder.iterdir()):
            with held(path) as link:
                libbpf.link_detach(link)  # a link that only loses its pin lives on for a moment
            path.unlink()
        folder.rmdir()

    @staticmethod
    def _is_attached(folder: Path) -> bool:
        for name in HOOKS:
            if not (folder / name).exists():
                return False
            with held(folder / name) as link:
                if not libbpf.link_info(link).ifindex:
                    return False
        return True

    def _folder(self, address: str) -> Path:
        return self._pins / _name(address)


class VfProgramsPart:
    """The programs on pods' VFs as ADD made them, of this agent; nothing of VFs that are gone.

    Not before all links have moved to this agent's maps: until then flows are in the old ones.
    """

    name, is_before_maps, is_vital, is_watched = "VF programs", False, False, False

    def __init__(self, programs: VfPrograms, *, has_moved: Callable[[], bool]) -> None:
        self._programs, self._has_moved = programs, has_moved
        self._seen: set[Attachment] = set()

    def wanted(self, desired: Desired) -> tuple[tuple[Attachment, ...], bool]:
        """The attachments, and whether it is time."""
        return tuple(one for one in desired.attachments.values() if one.is_in_pod), self._has_moved()

    def apply(self, wanted: tuple[tuple[Attachment, ...], bool]) -> Iterator[None]:
        """Look at those that have not been seen, and away from those that are gone."""
        those, is_time = wanted
        self._seen.intersection_update(those)
        failed = []
        for one in those if is_time else ():
            if one in self._seen:
                continue
            try:
                self._programs.adopt(one)
                self._seen.add(one)
            except (AgentError, MapsError, OSError) as error:
                failed.append(f"{one.interface} of {one.pod or one.container_id}: {error}")
            yield
        yield from self._programs.collect({one.link.in_pod.address for one in those if one.link.in_pod})
        if failed:
            raise AgentError(f"VFs of pods are without policy and services: {'; '.join(failed[:3])}")

    def resync(self) -> None:
        """Look at each anew."""
        self._seen.clear()


def _exchange(opened: Object, folder: Path) -> None:
    for name in HOOKS:
        with held(folder / name) as link:
            libbpf.link_update(link, opened.program_fd(name))


def _constants(attachment: Attachment, vf: DeviceInPod) -> Constants:
    own = b"".join(mapped(address).packed for address in vf.own)
    return {"own_slot": attachment.slot, "own_addresses": own.ljust(abi.OWN_ADDRESSES * _OCTETS, b"\0")}


def _name(address: str) -> str:
    return re.sub(r"[:.]", "_", address)
