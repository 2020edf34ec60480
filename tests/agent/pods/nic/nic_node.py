"""Devices of a node without a kernel, that pods can have a part in, in namespaces that end as the kernel ends them."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from ipaddress import IPv6Address
from pathlib import Path

from agent.cni.device_commands import DeviceCommands
from agent.kernel.device.netdev import NamesTaken, PodAddresses
from agent.kernel.device.netdev_repair import Given
from agent.kernel.device.nic import HostDevice
from agent.kernel.device.pci import DeviceRefused
from agent.kernel.device.unreached import Unreached
from agent.model.attachment import Attachment
from agent.model.netdev import Netdev
from agent.model.nic import IpvlanMode, Nic, NicKind, NicSpec
from agent.netlink.counted import CountedLink
from agent.netlink.netns import NoSuchNetns
from agent.pods.device.guards import Guards
from agent.pods.device.hardware import Hardware
from agent.pods.device.record import DeviceRecord
from agent.pods.known import KnownAttachments
from agent.pods.nic.nics import Nics
from agent.pods.nic.record import nic_journal
from agent.pods.vf.vfs import Vfs
from tests.agent.pods.vf.vf_card import FakeIpam, FakeLoop, FakePrograms, VfNode

HOME, NURSERY = "", "/proc/self/fd/7"  # the node's namespace, and that of devices that are made
MASTER, SPARE, VLAN_DEVICE = "eth1", "eth2", "eth1.7"


@dataclass
class FakeNics:
    """A node with two NICs, of which one has a VLAN device, and software alone that is called so."""

    nics: dict[str, Nic] = field(default_factory=dict)  # by name, as they are when nobody has them
    where: dict[str, str] = field(default_factory=dict)  # of each: the namespace that it is in
    now: dict[str, Netdev] = field(default_factory=dict)
    made: dict[tuple[str, int], Netdev] = field(default_factory=dict)  # by namespace and number
    kinds: dict[tuple[str, int], NicKind] = field(default_factory=dict)
    unreached: dict[int, tuple[NicKind, str]] = field(default_factory=dict)  # by number, with the device below
    numbers: int = 0  # of those that were made
    lingers: bool = False  # the kernel takes its time to remove them
    up: dict[tuple[str, int], tuple[PodAddresses, IPv6Address | None]] = field(default_factory=dict)
    netns: dict[str, int] = field(default_factory=lambda: {"/run/netns/p1": 101, "/run/netns/p2": 102})
    taken: set[tuple[str, str]] = field(default_factory=set)  # namespace and name, of other devices
    refuses: str = ""  # why nothing is made
    comings: int = 0  # of devices that pods had
    modes: dict[str, IpvlanMode] = field(default_factory=dict)  # of ipvlan devices, by the device below
    below: dict[tuple[str, int], str] = field(default_factory=dict)  # what one that was made is above
    gone: dict[tuple[str, int], tuple[str, ...]] = field(default_factory=dict)  # what one has lost
    keeps: str = ""  # why nothing is set again

    def __post_init__(self) -> None:
        """As an operator has set them up."""
        for number, name in enumerate((MASTER, SPARE, VLAN_DEVICE)):
            netdev = Netdev(name, 10 + number, f"02:00:00:00:01:0{number}", 1500, (f"nic-{number}",), is_up=True)
            parent = "" if name == VLAN_DEVICE else f"0000:04:00.{number}"
            self.nics[name] = Nic(netdev, parent, netdev.mac if parent else "")
            self.now[name], self.where[name] = netdev, HOME

    def set_mac(self, name: str, mac: str) -> None:
        """As somebody gives a device of the node another one: the kernel gives it to what follows above it."""
        was, self.now[name] = self.now[name].mac, replace(self.now[name], mac=mac)
        for key, made in self.made.items():
            if self.below[key] == name and made.mac == was:
                self.made[key] = replace(made, mac=mac)

    def snapshot(self) -> object:
        """All that one could see."""
        return dict(self.now), dict(self.where), dict(self.made), dict(self.unreached)

    def end_netns(self, netns: str) -> None:
        """As the kernel ends one: hardware comes home under the name that it had, and down; all else is gone."""
        del self.netns[netns]
        self.made = {key: made for key, made in self.made.items() if key[0] != netns}
        for name, where in tuple(self.where.items()):
            if where != netns:
                continue
            if self.nics[name].parent:
                self.where[name], self.now[name] = HOME, replace(self.now[name], is_up=False)
            else:
                del self.where[name], self.now[name]

    def look(self, spec: NicSpec) -> Nic:
        """As the node's."""
        name = spec.device or next((n for n, one in self.nics.items() if spec.pci_address == one.parent), MASTER)
        if self.where.get(name) != HOME or (spec.device and self.now[name].name != name):
            raise DeviceRefused(f"master: this node has no device {name}")
        return replace(self.nics[name], netdev=self.now[name])

    def netns_cookie(self, netns: str) -> int:
        """As the node's."""
        if netns not in self.netns:
            raise NoSuchNetns(f"{netns}: No such file or directory")
        return self.netns[netns]

    @contextmanager
    def make(self, spec: NicSpec, below: Nic, name: str) -> Iterator[Unreached]:
        """As the node's."""
        if self.refuses:
            raise DeviceRefused(self.refuses)
        self.numbers += 1
        made = Netdev(name, self.numbers, spec.mac or below.netdev.mac, spec.mtu or below.netdev.mtu)
        self.unreached[made.index] = spec.kind, below.netdev.name
        if spec.kind is NicKind.IPVLAN:
            self.modes[below.netdev.name] = spec.ipvlan_mode
        try:
            yield Unreached(made, NURSERY)
        finally:
            if not self.lingers:
                self.unreached.pop(made.index, None)

    def enter(self, out: Unreached, netns: str, cookie: int, index: int) -> None:
        """As the node's."""
        if self.netns.get(netns) != cookie:
            raise FileNotFoundError(2, "the namespace is another's now", netns)
        if (netns, out.netdev.name) in self.taken:
            raise FileExistsError(17, "File exists")
        self.kinds[netns, index], self.below[netns, index] = self.unreached.pop(out.netdev.index)
        self.made[netns, index] = replace(out.netdev, index=index)

    def hide(self, moved: HostDevice) -> Unreached:
        """As the node's."""
        own = self._name(moved)
        assert self.where[own] == HOME
        self.now[own] = replace(self.now[own], name=moved.hidden, altnames=(), is_up=False)
        return Unreached(self.now[own])

    def to_pod(self, moved: HostDevice, netns: str, cookie: int, name: str) -> None:
        """As the node's."""
        assert self.netns.get(netns) == cookie
        own = self._name(moved)
        self.where[own] = netns
        self.now[own] = Netdev(moved.hidden, moved.index, moved.was.mac, moved.was.mtu)
        if (netns, name) in self.taken:
            raise FileExistsError(17, "File exists")
        self.now[own] = replace(self.now[own], name=name)

    def configure(
        self, netns: str, cookie: int, index: int, name: str, given: PodAddresses, own: IPv6Address | None
    ) -> None:
        """As the node's."""
        assert self.in_pod(netns, cookie, index) is not None, name
        mac = self.made[netns, index].mac if (netns, index) in self.made else ""
        macvlans = [key for key in self.up if self.kinds.get(key) is self.kinds.get((netns, index)) is NicKind.MACVLAN]
        if any(self.made[key].mac == mac for key in macvlans if key in self.made and key != (netns, index)):
            raise OSError(errno.EADDRINUSE, "set the device up: Address already in use")
        self.up[netns, index] = given, own
        if (netns, index) in self.made:
            self.made[netns, index] = replace(self.made[netns, index], is_up=True)
        for device, where in self.where.items():
            if where == netns and self.now[device].index == index:
                self.now[device] = replace(self.now[device], is_up=True)

    def in_pod(self, netns: str, cookie: int, index: int) -> Netdev | None:
        """As the node's."""
        if self.netns.get(netns) != cookie:
            return None
        moved = (self.now[name] for name, where in self.where.items() if where == netns)
        found = next((one for one in moved if one.index == index), None)
        return found or self.made.get((netns, index))

    def has(self, index: int) -> bool:
        """Whether a device of this number is in some pod's namespace."""
        moved = (self.now[name].index for name, where in self.where.items() if where != HOME)
        return index in {*(number for _, number in self.made), *moved}

    def is_unreached(self, at: Unreached) -> bool:
        """Whether a device is still where its pod cannot reach it."""
        if at.netns:
            return at.netdev.index in self.unreached
        return any(one.name == at.netdev.name and self.where[own] == HOME for own, one in self.now.items())

    def lost(self, netns: str, cookie: int, index: int, given: Given) -> tuple[str, ...]:
        """As the node's."""
        assert self.netns.get(netns) == cookie
        mode = self.modes.get(self.below.get((netns, index), ""))
        other = (f"is of mode {mode}, not {given.mode}",) if given.mode not in {None, mode} else ()
        return (*other, *self.gone.get((netns, index), ()))

    def repair(self, netns: str, cookie: int, index: int, given: Given) -> tuple[str, ...]:
        """As the node's."""
        found = self.lost(netns, cookie, index, given)
        if found and self.keeps:
            raise OSError(errno.EPERM, self.keeps)
        if given.mode is not None:
            self.modes[self.below[netns, index]] = given.mode
        self.gone.pop((netns, index), None)
        return found

    def counted(self, netns: str, cookie: int, index: int) -> CountedLink | None:
        """As the node's."""
        found = self.in_pod(netns, cookie, index)
        return None if found is None else CountedLink(index, found.name, found.mac, found.mtu, 1, 2, 3, 4, 5, 6)

    def remove(self, kind: NicKind, netns: str, cookie: int, index: int) -> None:
        """As the node's."""
        if self.netns.get(netns) == cookie and self.kinds.get((netns, index)) is kind:
            self.made.pop((netns, index), None)

    def bring_home(self, moved: HostDevice, netns: str, cookie: int, _patience_s: float) -> bool:
        """As the node's."""
        own = self._name(moved)
        if own not in self.where:
            return False
        if self.where[own] == netns and self.netns.get(netns) == cookie:
            self.where[own] = HOME
        if self.where[own] != HOME:
            raise DeviceRefused(f"the network device of {own} is in a namespace that nobody names, or it has none")
        self.now[own] = replace(self.now[own], name=moved.hidden, altnames=(), is_up=False)
        self.comings += 1
        return True

    def restore(self, moved: HostDevice) -> None:
        """As the node's."""
        own = self._name(moved)
        is_taken = (HOME, moved.was.name) in self.taken
        self.now[own] = replace(moved.was, name=moved.hidden) if is_taken else moved.was
        if is_taken:
            raise NamesTaken(f"the name {own} is another device's", moved.was.index)

    def restore_names(self, moved: HostDevice, index: int) -> bool:
        """As the node's."""
        own = self._name(moved)
        if self.where.get(own) != HOME or self.now[own].index != index:
            return False
        self.restore(moved)
        return True

    def _name(self, moved: HostDevice) -> str:
        return next(name for name, one in self.nics.items() if one.netdev.name == moved.was.name)


@dataclass
class NicPrograms(FakePrograms):
    """Programs that are gone with their device, whichever namespace that is in."""

    devices: FakeNics = field(default_factory=FakeNics)
    put_on: dict[str, Unreached] = field(default_factory=dict)

    def attach(self, attachment: Attachment, at: Unreached) -> None:
        """As the kernel's."""
        assert attachment.link.in_pod is not None
        assert not self.devices.has(attachment.link.in_pod.ifindex), "its pod has it"
        self.put_on[attachment.link.in_pod.address] = at
        super().attach(attachment, at)

    def is_attached(self, address: str) -> bool:
        """As the kernel's."""
        attachment = self.on.get(address)
        if attachment is None or attachment.link.in_pod is None:
            return False
        at = self.put_on[address]
        return self.devices.has(attachment.link.in_pod.ifindex) or self.devices.is_unreached(at)


@dataclass
class NicNode:
    """A node's agent, over fake devices and real files."""

    directory: Path
    devices: FakeNics = field(default_factory=FakeNics)
    ipam: FakeIpam = field(default_factory=FakeIpam)
    programs: NicPrograms = field(default_factory=NicPrograms)
    loop: FakeLoop = field(default_factory=FakeLoop)  # of the last agent
    hardware: Hardware = field(default_factory=Hardware)
    claimed: list[str] = field(default_factory=list)  # devices whose links heard of their addresses

    def __post_init__(self) -> None:
        """The programs are on these devices."""
        self.programs.devices = self.devices

    def agent(self) -> Nics:
        """A new one, which has taken over what it finds."""
        self.loop = FakeLoop()
        guards = Guards(KnownAttachments(), self.loop, self.programs)
        made = Nics(
            self.devices,
            nic_journal(self.directory / "state", "boot"),
            self.ipam,
            guards=guards,
            hardware=self.hardware,
            claim=self._note_claim,
            mac_of=self._mac_of,
            clock=lambda: 1000,
        )
        self.loop.attached = {one.slot: one for one in made.restore()}
        return made

    def _mac_of(self, index: int) -> str:
        """Of a device that is on the node."""
        here = (one for name, one in self.devices.now.items() if self.devices.where[name] == HOME)
        return next((one.mac for one in here if one.index == index), "")

    def _note_claim(self, record: DeviceRecord) -> None:
        self.claimed.append(record.address)

    def files(self) -> list[str]:
        """What is on the disk of them."""
        return sorted(path.name for path in self.directory.rglob("*.json"))


def device_commands(directory: Path, vfs: Vfs | None = None) -> DeviceCommands:
    """The commands of a node with these VFs, or without any."""
    return DeviceCommands(vfs or VfNode(directory / "vfs").agent(), NicNode(directory / "nics").agent())
