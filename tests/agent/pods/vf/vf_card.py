"""A card without hardware: VFs whose PF keeps settings, in namespaces that end as the kernel ends them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from agent.compile.vf import Change, SetMac, done
from agent.kernel.device.netdev import NamesTaken, PodAddresses
from agent.kernel.device.netdev_repair import Given
from agent.kernel.device.pci import DeviceGone, DeviceRefused, GroupFile, HugePages
from agent.kernel.device.unreached import Unreached
from agent.model.attachment import Attachment
from agent.model.netdev import Netdev
from agent.model.nic import Nic
from agent.model.vf import NO_MAC, IommuGroup, LinkState, NodeOwner, Vf, VfSettings, VlanProtocol
from agent.netlink.netns import NoSuchNetns
from agent.pods.device.guards import Guards
from agent.pods.device.record import DeviceRecord
from agent.pods.device.request import DeviceRequest
from agent.pods.errors import NoFreeAddress
from agent.pods.known import KnownAttachments
from agent.pods.plugin import PluginFailed
from agent.pods.vf.files import VfFiles
from agent.pods.vf.record import vf_journal
from agent.pods.vf.vfs import Vfs
from maps.errors import KernelRefused

ADDRESS, OTHER = "0000:03:02.0", "0000:03:02.1"
SETTINGS = VfSettings(
    vlan=0,
    vlan_qos=0,
    vlan_proto=VlanProtocol.C_TAG,
    mac=NO_MAC,
    spoofchk=True,
    trust=False,
    link_state=LinkState.AUTO,
    min_tx_rate=0,
    max_tx_rate=0,
)
HOME = ""  # the node's namespace


@dataclass
class FakeCard:
    """Two VFs of one PF, bound to a network driver, each alone in its IOMMU group."""

    vfs: dict[str, Vf] = field(default_factory=dict)
    where: dict[str, str] = field(default_factory=dict)  # VF: its device's namespace
    devices: dict[str, Netdev] = field(default_factory=dict)  # wherever they are
    netns: dict[str, int] = field(default_factory=lambda: {"/run/netns/p1": 101, "/run/netns/p2": 102})
    taken: set[tuple[str, str]] = field(default_factory=set)  # namespace and name, of other devices
    refuses: dict[str, str] = field(default_factory=dict)  # key of a definition: why
    files: dict[str, GroupFile] = field(default_factory=dict)
    pages: dict[int, HugePages] = field(default_factory=lambda: {2048: HugePages(16, 16)})
    gone: dict[str, tuple[str, ...]] = field(default_factory=dict)  # what a device has lost in its pod
    above: dict[str, tuple[str, ...]] = field(default_factory=dict)  # what the node has above a device
    comings: int = 0  # of devices that pods had
    is_pf_away: bool = False  # its driver is exchanged, or its device is in some container
    wants_rebind: bool = False  # a device hears of an address that the PF has set when it is bound

    def __post_init__(self) -> None:
        """As an operator has set them up."""
        for number, address in enumerate((ADDRESS, OTHER)):
            name = f"ens1v{number}"
            self.devices[address] = Netdev(name, 10 + number, f"02:00:00:00:00:0{number}", 1400, (f"card-{number}",))
            self.where[address] = HOME
            group = IommuGroup(str(7 + number))
            self.vfs[address] = Vf(
                address, "0000:03:00.0", "ens1", "fake", 1500, number, "fakevf", "", SETTINGS, group=group
            )

    def snapshot(self) -> dict[str, object]:
        """All that one could see."""
        return {a: (replace(vf, netdev=self._home(a)), self.where[a], self.files.get(a)) for a, vf in self.vfs.items()}

    def end_netns(self, netns: str) -> None:
        """As the kernel ends one: its devices come home as they are, and down."""
        del self.netns[netns]
        for address, where in self.where.items():
            if where == netns:
                self.where[address] = HOME
                self.devices[address] = replace(self.devices[address], is_up=False)

    def look(self, address: str) -> Vf:
        """As the card's."""
        if address not in self.vfs:
            raise DeviceGone(f"there is no PCI function {address} on this node")
        if self.is_pf_away:
            raise DeviceRefused(f"the PF of {address} has no network device on the node; bind its driver")
        return replace(self.vfs[address], netdev=self._home(address))

    def nics(self, address: str) -> tuple[Nic, ...]:
        """As the card's."""
        home = self._home(address)
        return () if home is None else (Nic(home, address, above=self.above.get(address, ())),)

    def settings(self, addresses: Iterable[str]) -> Mapping[str, VfSettings]:
        """As the card's."""
        return {} if self.is_pf_away else {each: self.vfs[each].settings for each in addresses if each in self.vfs}

    def set(self, address: str, change: Change) -> None:
        """As the card's."""
        if change.field in self.refuses:
            raise DeviceRefused(f"{change.field}: {change}: refused by fake: {self.refuses[change.field]}")
        vf = self.vfs[address]
        self.vfs[address] = replace(vf, settings=done(change, vf.settings))
        if isinstance(change, SetMac) and change.mac != NO_MAC and not self.wants_rebind and self._bound(address):
            self.devices[address] = replace(self.devices[address], mac=change.mac)

    def netns_cookie(self, netns: str) -> int:
        """As the card's."""
        if netns not in self.netns:
            raise NoSuchNetns(f"{netns}: No such file or directory")
        return self.netns[netns]

    def bind(self, address: str, driver: str, override: str) -> None:
        """As the card's: a network driver makes a new device."""
        vf = self.vfs[address]
        if driver != vf.driver:
            if driver in self.refuses:
                raise DeviceRefused(f"the driver {driver} does not take {address}")
            self.where[address] = HOME
            if driver == "fakevf":
                mac = vf.settings.mac if vf.settings.mac not in {None, NO_MAC} else "02:99:99:99:99:99"
                self.devices[address] = Netdev("eth7", 77, str(mac), 1500)
            if driver == "vfio-pci" and vf.group is not None:
                self.files[vf.group.number] = GroupFile(0, 0, 0o600)
            elif vf.group is not None:
                self.files.pop(vf.group.number, None)
        self.vfs[address] = replace(vf, driver=driver, driver_override=override)

    def open_group(self, group: str, owner: NodeOwner | None) -> None:
        """As the card's."""
        if owner is not None:
            self.files[group] = GroupFile(owner.uid, owner.gid, 0o660)

    def group_file(self, group: str) -> GroupFile | None:
        """As the card's."""
        return self.files.get(group)

    def restore_group_file(self, group: str, was: GroupFile) -> None:
        """As the card's."""
        self.files[group] = was

    def hugepages(self) -> dict[int, HugePages]:
        """As the card's."""
        return self.pages

    def set_mac(self, address: str, mac: str) -> None:
        """As the card's."""
        self.devices[address] = replace(self._required(address), mac=mac)

    def hide(self, address: str) -> Unreached:
        """As the card's."""
        self.devices[address] = replace(self._required(address), name="swv", altnames=(), is_up=False)
        return Unreached(self.devices[address])

    def to_pod(self, address: str, netns: str, cookie: int, name: str, mtu: int) -> None:
        """As the card's."""
        found = self._required(address)
        assert self.netns.get(netns) == cookie
        self.where[address] = netns
        self.devices[address] = replace(found, name="swv", altnames=(), mtu=mtu, is_up=False)
        if (netns, name) in self.taken:
            raise FileExistsError(17, "rename", name)
        self.devices[address] = replace(self.devices[address], name=name)

    def configure(self, netns: str, cookie: int, address: str, _given: PodAddresses) -> None:
        """As the card's."""
        assert (self.where[address], self.netns[netns]) == (netns, cookie)
        self.devices[address] = replace(self.devices[address], is_up=True)

    def in_pod(self, address: str, netns: str, cookie: int) -> Netdev | None:
        """As the card's."""
        there = self.netns.get(netns) == cookie and self.where[address] == netns
        return self.devices[address] if there else None

    def lost(self, address: str, netns: str, cookie: int, _given: Given) -> tuple[str, ...]:
        """As the card's."""
        return self.gone.get(address, ()) if self.in_pod(address, netns, cookie) is not None else ()

    def repair(self, address: str, netns: str, cookie: int, given: Given) -> tuple[str, ...]:
        """As the card's."""
        found = self.lost(address, netns, cookie, given)
        self.gone.pop(address, None)
        return found

    def bring_home(self, address: str, netns: str, cookie: int, _patience_s: float) -> Netdev:
        """As the card's."""
        if self.where[address] == netns and self.netns.get(netns) == cookie:
            self.where[address] = HOME
        self.devices[address] = replace(self._required(address), name="swv", altnames=(), is_up=False)
        self.comings += 1
        return self.devices[address]

    def restore_netdev(self, address: str, was: Netdev) -> Netdev:
        """As the card's."""
        found = self._required(address)
        is_taken = (HOME, was.name) in self.taken
        name = found.name if is_taken else was.name
        self.devices[address] = replace(
            found, name=name, mtu=was.mtu, altnames=was.altnames, is_up=was.is_up, index=was.index
        )
        if is_taken:
            raise NamesTaken(f"the name {was.name} is another device's", was.index)
        return self.devices[address]

    def restore_names(self, address: str, was: Netdev, index: int) -> bool:
        """As the card's."""
        found = self._home(address)
        if found is None or found.index != index:
            return False
        self.restore_netdev(address, was)
        return True

    def _required(self, address: str) -> Netdev:
        found = self._home(address)
        if found is None:
            raise DeviceRefused(f"the network device of {address} is in a namespace that nobody names")
        return found

    def _home(self, address: str) -> Netdev | None:
        return self.devices[address] if self.where[address] == HOME and self._bound(address) else None

    def _bound(self, address: str) -> bool:
        return self.vfs[address].driver == "fakevf"


@dataclass
class FakeIpam:
    """Gives each attachment one address; can refuse either way."""

    held: dict[tuple[str, str], str] = field(default_factory=dict)
    refuses: set[str] = field(default_factory=set)
    gives: Mapping[str, Any] = field(
        default_factory=lambda: {
            "ips": [{"address": "10.9.0.2/24", "gateway": "10.9.0.1"}],
            "routes": [{"dst": "10.8.0.0/16"}],
        }
    )

    def add(self, record: DeviceRecord) -> Mapping[str, Any]:
        """As the plugin's."""
        if "ADD" in self.refuses:
            raise NoFreeAddress("ipam: plugin fake: full")
        self.held[record.key] = record.address
        return self.gives

    def delete(self, record: DeviceRecord | DeviceRequest[Any]) -> None:
        """As the plugin's."""
        if "DEL" in self.refuses:
            raise PluginFailed("fake", "its books are closed")
        self.held.pop(record.key, None)

    def check(self, record: DeviceRecord) -> str:
        """As the plugin's."""
        return "" if record.key in self.held else "ipam: gone"


@dataclass
class FakePrograms:
    """Programs on VFs, as the kernel keeps them; can refuse, and be of a kernel that has no hooks for them."""

    on: dict[str, Attachment] = field(default_factory=dict)
    refuses: bool = False
    is_possible: bool = True

    def attach(self, attachment: Attachment, at: Unreached) -> None:
        """As the kernel's."""
        assert attachment.link.in_pod is not None
        assert not at.netdev.is_up
        self.on[attachment.link.in_pod.address] = attachment
        if self.refuses:
            raise KernelRefused("attach vf_ingress", 12)

    def remove(self, address: str) -> None:
        """As the kernel's."""
        self.on.pop(address, None)

    def is_attached(self, address: str) -> bool:
        """As the kernel's."""
        return address in self.on


@dataclass
class FakeLoop:
    """Remembers who is attached, by slot."""

    attached: dict[int, Attachment] = field(default_factory=dict)

    def attach(self, attachment: Attachment) -> None:
        """As the loop's."""
        held = self.attached.get(attachment.slot, attachment)
        assert (held.key, held.endpoint_id) == (attachment.key, attachment.endpoint_id)
        self.attached[attachment.slot] = attachment

    def detach(self, attachment: Attachment) -> None:
        """As the loop's."""
        self.attached.pop(attachment.slot, None)


@dataclass
class VfNode:
    """A node's agent, over a fake card and real files."""

    directory: Path
    card: FakeCard = field(default_factory=FakeCard)
    ipam: FakeIpam = field(default_factory=FakeIpam)
    programs: FakePrograms = field(default_factory=FakePrograms)
    loop: FakeLoop = field(default_factory=FakeLoop)  # of the last agent
    claimed: list[str] = field(default_factory=list)  # VFs whose links heard of their addresses
    taken: tuple[int, ...] = ()  # slots that the pods of the next agent have

    def agent(self) -> Vfs:
        """A new one, which has taken over what it finds."""
        journal, places = vf_journal(self.directory / "state", "boot"), KnownAttachments()
        for slot in self.taken:
            assert places.keep_place(slot, slot) == slot
        self.loop = FakeLoop()
        guards = Guards(places, self.loop, self.programs)
        files = VfFiles(self.directory / "run")
        made = Vfs(self.card, journal, self.ipam, files, guards=guards, claim=self._note_claim, clock=lambda: 1000)
        self.loop.attached = {one.slot: one for one in made.restore()}
        return made

    def _note_claim(self, record: DeviceRecord) -> None:
        self.claimed.append(record.address)

    def files(self) -> list[str]:
        """What of VFs is on the disk."""
        return sorted(path.name for path in self.directory.rglob("*.json"))
