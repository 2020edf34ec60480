"""A server of the CNI commands over veths and a loop that only remember."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_network
from pathlib import Path

from agent.cni.commands import Cni
from agent.cni.device_commands import DeviceCommands
from agent.cni.hot_plug import HotPlug
from agent.cni.in_process import InProcess
from agent.cni.interfaces import OwnInterfaces
from agent.cni.network_source import NetworkSource
from agent.cni.networks import PodNetworks
from agent.ipam.pool import Ipam
from agent.model.address import Address
from agent.model.attachment import VETH_PREFIX, Attachment, AttachmentKey, Veth
from agent.model.cluster import Cluster
from agent.model.name import ObjectName
from agent.model.network import NetworkRules
from agent.pods.delegate import Delegates
from agent.pods.journal import Journal
from agent.pods.network_plug import NetworkPlug
from agent.pods.network_record import NetworkRecords, NetworkSet
from agent.pods.networks import Networks
from agent.pods.plugin import Plugins
from agent.pods.pods import Pods
from agent.pods.request import PodRequest
from agent.pods.veth_spec import MadeVeth, VethSpec
from agent.threads import Threads
from tests.agent.pods.nic.nic_node import NicNode
from tests.agent.pods.vf.vf_card import VfNode

Answer = tuple[int, dict[str, object]]


def without_networks(directory: Path) -> PodNetworks:
    """Pods' further networks where none are given."""
    networks = Networks(
        NetworkRecords(directory / "networks"), Delegates(Plugins(directory)), lambda *_: None, lambda _: True
    )
    return PodNetworks(networks, None, "boot")


@dataclass
class FakeLoop:
    """Remembers who is attached."""

    attached: set[str] = field(default_factory=set)
    error: Exception | None = None

    def attach(self, attachment: Attachment) -> None:
        """As the loop's."""
        if self.error:
            raise self.error
        self.attached.add(attachment.link.host_device)

    def detach(self, attachment: Attachment) -> None:
        """As the loop's."""
        self.attached.discard(attachment.link.host_device)


@dataclass
class FakeVeths:
    """Remembers the host ends."""

    names: dict[str, int] = field(default_factory=dict)
    error: Exception | None = None
    dead: set[str] = field(default_factory=set)
    repaired: list[str] = field(default_factory=list)

    def create(self, spec: VethSpec) -> MadeVeth:
        """As PodVeths'."""
        if self.error:
            raise self.error
        name = spec.host_device
        self.names[name] = len(self.names) + 10
        return MadeVeth(Veth(name, self.names[name]), spec.pod_mac, 1500, 4711)

    def remove(self, name: str) -> bool:
        """As PodVeths'."""
        return self.names.pop(name, None) is not None

    def leave(self, attachment: Attachment) -> None:
        """As PodVeths'."""
        self.remove(attachment.link.host_device)

    def ours(self) -> frozenset[str]:
        """As PodVeths'."""
        return frozenset(name for name in self.names if name.startswith(VETH_PREFIX))

    def is_alive(self, attachment: Attachment) -> bool:
        """As PodVeths'."""
        return attachment.link.host_device in self.names and attachment.link.host_device not in self.dead

    def is_there(self, attachment: Attachment) -> bool:
        """As PodVeths'."""
        return self.names.get(attachment.link.host_device) == attachment.link.ifindex

    def repair(self, attachment: Attachment) -> tuple[Address, ...]:
        """As PodVeths'."""
        if self.error:
            raise self.error
        self.repaired.append(attachment.link.host_device)
        return ()

    def faults(self, attachment: Attachment) -> tuple[str, ...]:
        """As PodVeths'."""
        return () if self.is_alive(attachment) else ("gone",)


@dataclass
class FakeOthers:
    """Remembers which devices of another plugin's have our programs."""

    veths: FakeVeths
    guarded: set[str] = field(default_factory=set)
    error: Exception | None = None

    def find(self, request: PodRequest) -> MadeVeth:
        """As ChainedVeths'."""
        name = f"veth-{request.container_id}"
        index = self.veths.names.setdefault(name, len(self.veths.names) + 90)
        return MadeVeth(Veth(name, index, is_chained=True), "02:00:00:00:00:09", 1450, 4711)

    def guard(self, link: Veth) -> None:
        """As ChainedVeths'."""
        if self.error:
            raise self.error
        self.guarded.add(link.host_device)

    def release(self, link: Veth) -> None:
        """As ChainedVeths'."""
        self.guarded.discard(link.host_device)

    def guarded_indexes(self) -> frozenset[int]:
        """As ChainedVeths'."""
        return frozenset(self.veths.names[name] for name in self.guarded)

    def release_indexes(self, those: Iterable[int]) -> None:
        """As ChainedVeths'."""
        gone = frozenset(those)
        self.guarded = {name for name in self.guarded if self.veths.names[name] not in gone}


@dataclass
class Room:
    """A server's parts, kept when the server is made anew."""

    directory: Path
    loop: FakeLoop = field(default_factory=FakeLoop)
    veths: FakeVeths = field(default_factory=FakeVeths)
    cidr: str = "10.0.0.0/29"
    missing: str = ""  # for the first sync
    waited_s: list[float] = field(default_factory=list)  # for it
    is_chained: bool = False
    told: list[tuple[ObjectName, str, str]] = field(default_factory=list)  # of pods without an address
    cluster: Cluster = field(default_factory=Cluster)  # has definitions where pods are given further networks
    resources: Mapping[str, list[str]] = field(default_factory=dict)  # devices that each pod has, by resource
    ended: set[AttachmentKey] = field(default_factory=set)  # containers that are gone
    changed: list[NetworkSet] = field(default_factory=list)  # pods whose networks changed while they ran
    others_devices: set[str] = field(default_factory=set)  # that pods have of others
    now_s: float = 0.0

    def __post_init__(self) -> None:
        """Start the first server."""
        self.others = FakeOthers(self.veths)
        self.vfs, self.nics = VfNode(self.directory / "vfs"), NicNode(self.directory / "nics")
        self.start()

    def start(self) -> tuple[Attachment, ...]:
        """A new agent over the same kernel and disk."""
        self.ipam = Ipam(lambda: (ip_network(self.cidr),))
        self.pods = pods = Pods(
            loop=self.loop,
            journal=Journal(self.directory, "boot"),
            ipam=self.ipam,
            veths=self.veths,
            others=self.others,
            unsynced=self._unsynced,
            no_address=lambda *told: self.told.append(told),
        )
        devices = DeviceCommands(self.vfs.agent(), self.nics.agent())
        own = OwnInterfaces(pods, self.ipam, (self.veths.faults,), devices, is_chained=self.is_chained)
        self.networks = self._networks(own)
        self.cni = Cni(pods, self.networks, self.ipam, own, devices, is_chained=self.is_chained)
        return self.cni.restore()

    def _networks(self, own: OwnInterfaces) -> PodNetworks:
        """Pods' further networks; none are given where no definitions are there."""
        delegates = Delegates(Plugins(self.directory / "bin"), InProcess(own))
        records = NetworkRecords(self.directory / "networks")
        made = Networks(records, delegates, lambda *_: None, lambda one: one.key not in self.ended)
        source = None
        if self.cluster.networks:
            source = NetworkSource(
                lambda: self.cluster, NetworkRules(), self.directory, devices=lambda *_: self.resources
            )
        plug = NetworkPlug(made, records, delegates, lambda *_: None, self._devices_of)
        self.hot_plug = HotPlug(
            lambda: self.cluster,
            self.pods,
            made,
            plug,
            source,
            boot="boot",
            on_changed=self.changed.append,
            threads=Threads(),
            clock=lambda: self.now_s,
        )
        self.further = made
        return PodNetworks(made, source, "boot", cookie_of=lambda _: 4711)

    def _devices_of(self, one: NetworkSet) -> set[str] | None:
        return None if one.key in self.ended else self.others_devices

    def _unsynced(self, wait_s: float) -> str:
        self.waited_s.append(wait_s)
        return self.missing

    def call(
        self, command: str, container: str = "c1", config: Mapping[str, object] | None = None, **more: str
    ) -> Answer:
        """One request, at version 1.1.0, with *more* in its environment."""
        environment = {
            "CNI_COMMAND": command,
            "CNI_CONTAINERID": container,
            "CNI_IFNAME": "eth0",
            "CNI_NETNS": f"/run/netns/{container}",
            "CNI_ARGS": f"K8S_POD_NAMESPACE=default;K8S_POD_NAME={container};K8S_POD_UID=u-{container}",
            **more,
        }
        conf = {"cniVersion": "1.1.0", "name": "sluiceway", **(config or {})}
        code, output = self.cni.answer(environment, json.dumps(conf).encode())
        return code, json.loads(output or b"{}")

    def is_empty(self) -> bool:
        """Whether nothing of any attachment is left."""
        used = sum(used for _, used, _ in self.ipam.free())
        left = Journal(self.directory, "boot").load()
        return not (self.loop.attached or self.veths.names or self.cni.attachments() or used or left)
