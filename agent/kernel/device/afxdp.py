"""Interfaces with AF_XDP: the veth's offloads, the program at the pod's end, the socket by which the pod gets its map.

ADD makes all of it before it answers (``agent.pods.veth``), DEL takes it away, and the reconcile loop's part has it
again after a restart, or when somebody took of it away.
"""

from collections.abc import Callable, Collection, Iterator
from itertools import chain
from pathlib import Path
from threading import Lock

from agent.compile.desired import Desired
from agent.errors import AgentError
from agent.kernel.device.interface import AfXdpInterface
from agent.kernel.device.xdp_pod import PodXdp
from agent.kernel.device.xsk_sockets import XskSockets
from agent.log import logger
from agent.model.attachment import Attachment
from agent.netlink.ethtool import ETHTOOL_STXCSUM, ethtool
from agent.threads import Threads
from maps.errors import MapsError

log = logger(__name__)

FOLDER = "afxdp"  # in --run-dir and --pin-root
FAILURES = (AgentError, MapsError, OSError)  # of one interface, whatever its pod does


class AfXdp:
    """What interfaces with AF_XDP have beside others."""

    def __init__(self, program: Callable[[], Path], pin_root: Path, run_dir: Path, threads: Threads) -> None:
        """*program* gives the object of the program at pods' ends; it is asked when one is loaded."""
        self.programs = PodXdp(program, pin_root / FOLDER)
        self._sockets = XskSockets(run_dir / FOLDER, self.programs.sockets, threads)
        self._lock = Lock()  # ADD makes one while the part looks
        self._loaded: set[str] = set()  # the node's ends whose program is this agent's

    def stop(self) -> None:
        """Answer no more; packets go on."""
        self._sockets.stop()

    def attach(self, interface: AfXdpInterface, ifindex: int) -> None:
        """Make an interface, whose *ifindex* is that in the pod, one with AF_XDP; :meth:`remove` undoes it.

        Raises:
            OSError, MapsError, NoSuchNetns: the kernel refused.
        """
        with self._lock:
            whole_sums(interface.host_device)
            self.programs.attach(interface, ifindex)
            self._loaded.add(interface.host_device)
            self._sockets.open(interface)

    def adopt(self, interface: AfXdpInterface) -> None:
        """Have what :meth:`attach` made, by this agent's program. Raises as :meth:`attach`."""
        device = interface.host_device
        with self._lock:
            whole_sums(device)
            if device not in self._loaded or not self.programs.is_attached(device):
                self.programs.renew(interface)
                self._loaded.add(device)
            self._sockets.open(interface)

    def remove(self, host_device: str) -> None:
        """Leave nothing of an interface; of one without AF_XDP there is nothing.

        What cannot be removed now is left to :meth:`collect`: a pod's folder keeps no DEL from its end, and no agent
        from its start.
        """
        with self._lock:
            try:
                self._remove(host_device)
            except FAILURES as error:
                log.warning("AF_XDP of an interface cannot be removed; tried again", device=host_device, why=error)

    def collect(self, known: Collection[str]) -> Iterator[str]:
        """Leave nothing of those that are neither known, by the node's end, nor there, nor of what pods had left.

        Yields after each piece, and why something stays; else nothing.
        """
        for device in self.programs.all():
            if device not in known:
                yield self._collect(device)
        for _ in chain(self._sockets.remove_discarded(), self.programs.remove_discarded()):
            yield ""

    def _collect(self, device: str) -> str:
        with self._lock:
            try:
                if not self.programs.is_attached(device):  # else ADD has just made it
                    self._remove(device)
            except FAILURES as error:
                return f"{device}: {error}"
        return ""

    def _remove(self, host_device: str) -> None:
        self._loaded.discard(host_device)
        place = self.programs.place(host_device)
        if place:  # which the pins alone tell: they go last, so that whoever dies here is followed up
            self._sockets.close(host_device, place, self.programs.places_of_others(host_device))
        self.programs.remove(host_device)

    def faults(self, attachment: Attachment) -> tuple[str, ...]:
        """What is missing of an attachment's; CHECK asks."""
        interface = AfXdpInterface.of(attachment)
        if interface is None:
            return ()
        found = []
        if not self.programs.is_attached(interface.host_device):
            found.append(f"the AF_XDP program is not on {interface.name}")
        if not self._sockets.is_open(interface):
            found.append(f"nobody answers for the AF_XDP sockets of {interface.name}")
        return tuple(found)


class AfXdpPart:
    """Interfaces with AF_XDP as ADD made them, by this agent's program; nothing of those that are gone."""

    name, is_before_maps, is_vital, is_watched = "AF_XDP", False, False, False

    def __init__(self, afxdp: AfXdp) -> None:
        self._afxdp = afxdp
        self._seen: set[AfXdpInterface] = set()

    def wanted(self, desired: Desired) -> tuple[AfXdpInterface, ...]:
        """The interfaces."""
        every = (AfXdpInterface.of(one) for one in desired.attachments.values() if one.link.afxdp)
        return tuple(one for one in every if one is not None)

    def apply(self, wanted: tuple[AfXdpInterface, ...]) -> Iterator[None]:
        """Look at those that have not been seen, and away from those that are gone."""
        failed = []
        self._seen.intersection_update(wanted)
        for one in wanted:
            if one in self._seen:
                continue
            try:
                self._afxdp.adopt(one)
                self._seen.add(one)
            except FAILURES as error:
                failed.append(f"{one.host_device}: {error}")
            yield
        for why in self._afxdp.collect({one.host_device for one in wanted}):
            if why:
                failed.append(why)
            yield
        if failed:
            raise AgentError(f"AF_XDP is not whole: {'; '.join(failed[:3])}")

    def resync(self) -> None:
        """Look at each anew."""
        self._seen.clear()


def whole_sums(host_device: str) -> None:
    """Have the kernel write whole checksums into what it sends by a device: the application reads no kernel's notes.

    What cuts large packets up goes with it, for segments have sums of their own.
    """
    ethtool(host_device, ETHTOOL_STXCSUM, 0)
