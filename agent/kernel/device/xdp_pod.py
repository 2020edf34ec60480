"""The program before a pod's stack that gives packets to AF_XDP sockets: one for each interface, with maps of its own.

::

    <pin root>/afxdp/interfaces/<node's end>/link      keeps the program on the pod's end
                                             xsks_map  the sockets by queue
                                             steered   packets by what became of them
                                             place     a symbolic link to the folder of the next line
    <pin root>/afxdp/<place>/xsks_map                  the same map, for a pod that mounts it (DPDK's use_pinned_map)

No pod has a way to another's maps, and a pod that may configure its devices cannot take the program off: a link holds
it. Program and sockets outlive the agent; the next one exchanges the program in place.
"""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from agent.errors import AgentError
from agent.kernel.device.interface import AfXdpInterface
from agent.kernel.device.pod_folders import PodFolders
from agent.kernel.programs.xdp import XDP_FLAGS_DRV_MODE
from agent.model.attachment import Captured
from agent.netlink.netns import inside, open_netns
from maps import abi, libbpf, mapio
from maps.libbpf import AttachType
from maps.object import Object
from maps.pins import held

PROGRAM, XSKS_MAP, STEERED = "pod_xdp", "xsks_map", "steered"
_INTERFACES, _LINK, _PLACE = "interfaces", "link", "place"
_NODE = "node"  # declared in a header that the program includes, and of no use to it
_RULES = "steering"
_COUNT = 8  # octets of a CPU's counter
_COUNTED = tuple(what for what in abi.Steered if what != abi.Steered.STEERED_COUNT)


class PodXdp:
    """The programs of one node's pods; *program* gives the object, *pins* is the folder."""

    def __init__(self, program: Callable[[], Path], pins: Path) -> None:
        self._program, self._pins = program, pins
        self._folders = PodFolders(pins)

    def attach(self, interface: AfXdpInterface, ifindex: int) -> None:
        """Have a program of its own on the pod's end, whose *ifindex* is that in the pod.

        Raises:
            NoSuchNetns, OSError, MapsError: nothing is left but what :meth:`remove` takes away.
        """
        self.remove(interface.host_device)
        folder = self._folder(interface.host_device)
        folder.mkdir(parents=True)
        with Object.open(self._program()) as opened:
            self._prepare(opened, interface)
            opened.load()
            self._pin_maps(opened, folder, interface)
            with inside(interface.netns):
                link = libbpf.link_create(opened.program_fd(PROGRAM), ifindex, AttachType.XDP, XDP_FLAGS_DRV_MODE)
            try:
                libbpf.pin(link, folder / _LINK)  # last: where it is, so is the rest
            finally:
                os.close(link)

    def renew(self, interface: AfXdpInterface) -> None:
        """Have this agent's program in place of an earlier one's, with the maps and sockets that are there.

        Raises:
            AgentError: the pod is gone.
            OSError, MapsError: the kernel refused.
        """
        if not self.is_attached(interface.host_device):
            self._attach_again(interface)
            return
        folder = self._folder(interface.host_device)
        with Object.open(self._program()) as opened, held(folder / _LINK) as link:
            self._prepare(opened, interface)
            for name in (XSKS_MAP, STEERED):
                with held(folder / name) as fd:
                    opened.reuse(name, fd)
            opened.load()
            libbpf.link_update(link, opened.program_fd(PROGRAM))

    def place(self, host_device: str) -> str:
        """An interface's place, to which the sockets' folder has one of the same name; empty: it has none."""
        try:
            return str((self._folder(host_device) / _PLACE).readlink())
        except OSError:  # nothing is here, or it died before
            return ""

    def places_of_others(self, host_device: str) -> frozenset[str]:
        """The places of all other interfaces; one of a pod's next sandbox has the same place too."""
        return frozenset(self.place(other) for other in self.all() if other != host_device)

    def remove(self, host_device: str) -> None:
        """Let go of all that is an interface's, of its place last; what is gone already is well."""
        folder = self._folder(host_device)
        if not folder.is_dir():
            return
        place, others = self.place(host_device), self.places_of_others(host_device)
        if place and place not in others:
            self._folders.leave(pinned_place(place), XSKS_MAP, tuple(map(pinned_place, others)))
        for path in sorted(folder.iterdir(), key=lambda path: path.name == _PLACE):
            path.unlink()
        folder.rmdir()

    def remove_discarded(self) -> Iterator[None]:
        """Remove in pieces what pods had left in their folders."""
        return self._folders.remove_discarded()

    def is_attached(self, host_device: str) -> bool:
        """Whether a program is on the pod's end."""
        path = self._folder(host_device) / _LINK
        if not path.exists():
            return False
        with held(path) as link:
            return libbpf.link_info(link).ifindex != 0

    def all(self) -> tuple[str, ...]:
        """The node's ends of all interfaces that have something here."""
        folder = self._pins / _INTERFACES
        return tuple(sorted(path.name for path in folder.iterdir())) if folder.is_dir() else ()

    @contextmanager
    def sockets(self, host_device: str) -> Iterator[int]:
        """A descriptor of the map of an interface's sockets, for the block."""
        with held(self._folder(host_device) / XSKS_MAP) as fd:
            yield fd

    def packets(self, host_device: str) -> dict[abi.Steered, int]:
        """How many packets of an interface's became what.

        Raises:
            KernelRefused: it is gone.
        """
        size = _COUNT * libbpf.possible_cpus()
        with held(self._folder(host_device) / STEERED) as fd:
            values = {what: mapio.lookup(fd, int(what).to_bytes(4, sys.byteorder), size) or b"" for what in _COUNTED}
        return {what: sum(memoryview(value).cast("Q")) for what, value in values.items()}

    def _attach_again(self, interface: AfXdpInterface) -> None:
        with open_netns(interface.netns, may_be_host=True) as netns:
            link = netns.pod.find(name=interface.name)
            if netns.cookie != interface.netns_cookie or link is None:
                raise AgentError(f"{interface.name} is not in {interface.netns} any more")
            self.attach(interface, link.index)

    def _prepare(self, opened: Object, interface: AfXdpInterface) -> None:
        opened.leave_out(_NODE)
        opened.resize(XSKS_MAP, interface.afxdp.queues)
        opened.set_constants({_RULES: _packed(interface.afxdp.captured)})

    def _pin_maps(self, opened: Object, folder: Path, interface: AfXdpInterface) -> None:
        for name in (XSKS_MAP, STEERED):
            libbpf.pin(opened.map_fd(name), folder / name)
        (folder / _PLACE).symlink_to(interface.afxdp.place)
        with self._folders.made(pinned_place(interface.afxdp.place)) as shown:
            self._folders.discard(shown, XSKS_MAP)  # of an earlier sandbox of the pod
            libbpf.pin(opened.map_fd(XSKS_MAP), Path(f"/proc/self/fd/{shown}") / XSKS_MAP)

    def _folder(self, host_device: str) -> Path:
        return self._pins / _INTERFACES / host_device


def pinned_place(place: str) -> str:
    """A place as bpffs has it, which takes no dots in names; no two are alike there, for no place has a %."""
    return place.replace("_", "%").replace(".", "_")


def _packed(captured: tuple[Captured, ...]) -> bytes:
    rules = [abi.SteeringRule(one.protocol, one.first_port, one.last_port) for one in captured]
    return abi.SteeringRule.pack_many(rules).ljust(abi.STEERING_RULES * abi.SteeringRule.SIZE, b"\0")
