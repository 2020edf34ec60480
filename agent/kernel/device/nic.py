"""Devices of the node that pods have a part in: looked at, devices above them made for a pod, or moved there and home.

Stands between the pods' interfaces (``agent.pods.nic.nics``) and rtnetlink. A device in a pod is found by its number
there, which ADD has chosen: a pod that may configure its devices gives them other names, and no other numbers.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from ipaddress import IPv6Address
from pathlib import Path, PurePosixPath

from agent.compile.nic import key_of
from agent.kernel.device import sysfs
from agent.kernel.device.netdev import Movable, PodAddresses, configure, namespace
from agent.kernel.device.netdev_repair import Given, generate_none, has_ipv6, lost, repair
from agent.kernel.device.pci import DeviceRefused
from agent.kernel.device.unreached import Unreached, enter, made
from agent.model.netdev import Netdev
from agent.model.nic import Nic, NicKind, NicSpec
from agent.netlink.counted import CountedLink, counted_links
from agent.netlink.dump import Dump
from agent.netlink.netns import open_netns
from agent.netlink.nic_requests import (
    add_link_local,
    hardware_of,
    kind_of,
    moved_at,
    netdev_at,
    netdev_named,
    nics,
)
from agent.netlink.requests import delete_link
from agent.netlink.ways_out import routes_out_of


@dataclass(frozen=True, slots=True)
class HostDevice:
    """A device of the node that is a pod's for a while: what it was, and how it is found again."""

    was: Netdev
    parent: str  # as Nic's
    permanent_mac: str
    made_as: str
    below: int
    hidden: str  # the name that it has on its way
    index: int  # in the pod

    @property
    def movable(self) -> Movable:
        """Its way. With the number that it has in the pod it would be in the way of the pod's next one, at home."""
        if self.parent:
            return Movable(self.was.name, self.hidden, self._hardware, self._hardware, self.was.index)
        return Movable(self.was.name, self.hidden, self._named, self._moved, self.was.index)

    def _moved(self, dump: Dump) -> Netdev | None:
        """What is software alone, in the pod: not what the pod has put in its place."""
        return moved_at(dump, self.index, self.made_as, self.below)

    def _hardware(self, dump: Dump) -> Netdev | None:
        return hardware_of(dump, self.parent, self.permanent_mac)

    def _named(self, dump: Dump) -> Netdev | None:
        """Under its hidden name, or before it was given that."""
        found = netdev_named(dump, self.hidden)
        if found is not None:
            return found
        own = netdev_named(dump, self.was.name)
        return own if own is not None and own.index == self.was.index else None


class NodeNics:
    """The devices of one node; called from several threads."""

    def __init__(self, root: Path = Path("/sys")) -> None:
        self._functions = root / "bus/pci/devices"

    def look(self, spec: NicSpec) -> Nic:
        """The device of the node that a definition means.

        Raises:
            DeviceRefused: there is none, or nobody knows which.
            OSError: the kernel refused to tell.
        """
        with Dump() as dump:
            one = self._chosen(nics(dump), spec)
            if spec.is_alone:  # to look at each route takes its time
                one = replace(one, routed=routes_out_of(dump, one.netdev.index))
        return replace(one, vfs=self._vfs(one.parent))

    def _chosen(self, found: Sequence[Nic], spec: NicSpec) -> Nic:
        key = key_of(spec)
        if spec.kind is not NicKind.HOST_DEVICE and not spec.device:
            one = next((one for one in found if one.is_way_out), None)
            if one is None:
                raise DeviceRefused(f"{key}: is not said, and the node has no default route whose device it could be")
            return one
        wanted = _wanted(spec)
        meant = self._parents(wanted) if spec.pci_address or spec.path else {wanted}
        those = [one for one in found if not meant.isdisjoint(_names(one, spec))]
        if len(those) > 1:
            names = ", ".join(one.netdev.shown for one in those)
            raise DeviceRefused(f"{key}: {wanted} means {names}; name one of them as device")
        if not those:
            raise DeviceRefused(f"{key}: this node has no device {wanted}".rstrip())
        if those[0].netdev.shown != those[0].netdev.name:
            raise DeviceRefused(f"{key}: the name of {those[0].netdev.shown} is no UTF-8; rename the device")
        return those[0]

    def _vfs(self, function: str) -> int:
        """How many VFs a PCI function has; 0 also where it can have none, or is none."""
        return int(sysfs.text(self._functions / function / "sriov_numvfs") or 0) if function else 0

    def _parents(self, hardware: str) -> set[str]:
        """What a network device of this hardware may have for a parent: the card, or virtio within it."""
        return {hardware, *(path.name for path in (self._functions / hardware).glob("virtio*"))}

    def netns_cookie(self, netns: str) -> int:
        """What tells the namespace at a path from all others of this boot.

        Raises:
            NoSuchNetns: it leads to none, or to the node's.
        """
        with open_netns(netns, may_be_host=False) as there:
            return there.cookie

    def make(self, spec: NicSpec, below: Nic, name: str) -> AbstractContextManager[Unreached]:
        """As :func:`agent.kernel.device.unreached.made`."""
        return made(spec, below, name)

    def enter(self, out: Unreached, netns: str, cookie: int, index: int) -> None:
        """As :func:`agent.kernel.device.unreached.enter`."""
        enter(out, netns, cookie, index)

    def configure(  # noqa: PLR0913, PLR0917
        self, netns: str, cookie: int, index: int, name: str, given: PodAddresses, own: IPv6Address | None
    ) -> None:
        """Set a device in a pod up, with addresses and routes; *own* is a link-local address that is not the MAC's.

        Raises:
            DeviceRefused: it is not there.
            OSError: the kernel refused.
        """
        with namespace(netns, cookie) as there:
            found = netdev_at(Dump(there.pod), index)
            if found is None:
                raise DeviceRefused(f"{name} is not in {netns}")
            if own is not None:
                generate_none(there, name)
            configure(there, index, given)
            if own is not None and has_ipv6(found.mtu):
                there.pod.ask(add_link_local(index, own))

    def in_pod(self, netns: str, cookie: int, index: int) -> Netdev | None:
        """A device as it is in a pod; None when it is not there, or the namespace is gone."""
        try:
            with namespace(netns, cookie) as there:
                return netdev_at(Dump(there.pod), index)
        except FileNotFoundError:
            return None

    def lost(self, netns: str, cookie: int, index: int, given: Given) -> tuple[str, ...]:
        """What a device in a pod has no more of what it was given, as ends of sentences about it.

        Raises:
            OSError: the kernel did not answer.
        """
        try:
            with namespace(netns, cookie) as there:
                return tuple(one.what for one in lost(there, index, given))
        except FileNotFoundError:
            return ()

    def repair(self, netns: str, cookie: int, index: int, given: Given) -> tuple[str, ...]:
        """Set that again; what it had lost, as :meth:`lost` has it.

        Raises:
            OSError: the kernel refused; the rest was tried.
        """
        try:
            with namespace(netns, cookie) as there:
                return tuple(one.what for one in repair(there, index, given))
        except FileNotFoundError:
            return ()

    def counted(self, netns: str, cookie: int, index: int) -> CountedLink | None:
        """What a device in a pod has counted; None when it is not there, or the namespace is gone.

        Raises:
            OSError: the kernel refused to tell.
        """
        try:
            with namespace(netns, cookie) as there:
                return next((one for one in counted_links(Dump(there.pod)) if one.index == index), None)
        except FileNotFoundError:
            return None

    def remove(self, kind: NicKind, netns: str, cookie: int, index: int) -> None:
        """Take a device that :meth:`add` made away; with its namespace it is gone.

        Raises:
            OSError: the kernel refused.
        """
        try:
            with namespace(netns, cookie) as there:
                if kind_of(Dump(there.pod), index) == kind:
                    there.pod.ask(delete_link(index))
        except FileNotFoundError:
            pass

    def hide(self, moved: HostDevice) -> Unreached:
        """As :meth:`Movable.hide`."""
        return Unreached(moved.movable.hide())

    def to_pod(self, moved: HostDevice, netns: str, cookie: int, name: str) -> None:
        """As :meth:`Movable.to_pod`."""
        moved.movable.to_pod(netns, cookie, name, moved.was.mtu, moved.index)

    def bring_home(self, moved: HostDevice, netns: str, cookie: int, patience_s: float) -> bool:
        """As :meth:`Movable.bring_home`; whether it is there: what is software alone ends with its namespace."""
        movable = moved.movable
        if not moved.parent:
            movable.leave_pod(netns, cookie)
            with Dump() as dump:
                if movable.find(dump) is None:
                    return False
        movable.bring_home(netns, cookie, patience_s)
        return True

    def restore(self, moved: HostDevice) -> None:
        """As :meth:`Movable.restore`."""
        moved.movable.restore(moved.was)

    def restore_names(self, moved: HostDevice, index: int) -> bool:
        """As :meth:`Movable.restore_names`."""
        return moved.movable.restore_names(moved.was, index)


def _names(one: Nic, spec: NicSpec) -> tuple[str, ...]:
    """Where the word that a definition has for a device can stand."""
    if spec.pci_address or spec.path:
        return (one.parent,)
    if spec.hardware_address:
        return (one.netdev.mac,)
    return (one.netdev.name, *one.netdev.altnames)


def _wanted(spec: NicSpec) -> str:
    """That word, by the order of the reference plugin; of a path in sysfs its last part, which names the hardware."""
    return spec.pci_address or spec.device or spec.hardware_address or PurePosixPath(spec.path).name
