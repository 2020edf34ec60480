"""Two nodes with pods, as network namespaces: wired as ADD wires them, and a veth is the network between the nodes.

A node is served by what the agent is made of (its maps, hooks, tunnel and routes, brought up by reconcile), or by the
kernel's own routes and devices.
"""

import os
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_interface
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pyroute2 import IPRoute

from agent.compile.settings import NetworkSettings, Settings
from agent.compile.tunnel import NAME as TUNNEL
from agent.compile.tunnel import SEGMENTER
from agent.kernel.net.routes import Routes
from agent.kernel.net.sysctl import Sysctls
from agent.kernel.net.tunnel import TunnelDevice
from agent.kernel.parts import PodProgramsPart, RoutesPart, TunnelPart, UplinksPart
from agent.kernel.programs.attach import Hooks
from agent.model.attachment import Attachment
from agent.model.cluster import Cluster
from agent.model.local import Device, Local
from agent.model.node import Node
from agent.netlink.cookie import netns_cookie
from agent.pods.veth import PodVeths
from agent.pods.veth_spec import VethSpec
from agent.reconcile.parts import Dataplane
from agent.reconcile.round import Rounds
from bench.plane import Plane
from bench.testbed import PREFIX, Testbed
from maps.registry import agent_maps
from maps.table import Table

UPLINK = "u0"
UPLINK_MTU = 1500
IPV4 = 4
BPFFS = Path("/sys/fs/bpf")


def _node(number: int) -> Node:
    addresses = IPv4Address(f"10.88.0.{10 + number}"), IPv6Address(f"fd88::{10 + number:x}")
    return Node(f"n{number}", addresses, (IPv4Network(f"10.244.{number}.0/24"), IPv6Network(f"fd00:{number}::/64")))


NODES = (_node(1), _node(2))
# each pod's node, and which of the addresses of its ranges it has
PODS: Mapping[str, tuple[Node, int]] = {"asking": (NODES[0], 2), "near": (NODES[0], 3), "far": (NODES[1], 2)}
# what a network card does not do for us when the veth is to be like a wire, and what a receiver does then
WIRE = {"tso": "off", "gso": "off", "tx-udp_tnl-segmentation": "off", "tx-udp_tnl-csum-segmentation": "off"}
VETH = dict.fromkeys(WIRE, "on")


@dataclass(frozen=True, slots=True)
class TwoNodes:
    """The namespaces ``n1`` and ``n2``, and those of :data:`PODS`; *planes* are what was loaded, if anything was."""

    bed: Testbed
    planes: Sequence[Plane] = ()

    def be_a_wire(self, *, wire: bool) -> None:
        """Have GSO packets cut before they leave a node, and put together behind; or let them go as they are."""
        offloads = [word for pair in (WIRE if wire else VETH).items() for word in pair]
        for node in NODES:
            self.bed.run(node.name, "ethtool", "-K", UPLINK, *offloads, "gro", "on" if wire else "off")

    def largest(self) -> Callable[[], float]:
        """A function that tells how many octets a packet had on average that came in at n2 since."""
        before = self._received()

        def since() -> float:
            octets, packets = (now - then for now, then in zip(self._received(), before, strict=True))
            return octets / max(packets, 1)

        return since

    def _received(self) -> tuple[int, int]:
        text = self.bed.run("n2", "cat", *(f"/sys/class/net/{UPLINK}/statistics/rx_{n}" for n in ("bytes", "packets")))
        octets, packets = map(int, text.split())
        return octets, packets


def address(pod: str, version: int) -> str:
    """A pod's address of a family."""
    node, number = PODS[pod]
    return str(next(cidr[number] for cidr in node.pod_cidrs if cidr.version == version))


@contextmanager
def with_kernel(label: str, mtu: int, between: Callable[[Testbed, Node, Node], None]) -> Iterator[TwoNodes]:
    """Two nodes on which only the kernel works; *between* tells each of its own and the other node."""
    with _wired(label, mtu) as (bed, _):
        for own, other in (NODES, NODES[::-1]):
            between(bed, own, other)
        yield TwoNodes(bed)


@contextmanager
def with_agent(label: str, mtu: int, network: NetworkSettings) -> Iterator[TwoNodes]:
    """Two nodes with the shipped programs on every hook, everything as the agent's options *network* have it."""
    with _wired(label, mtu) as (bed, attachments), ExitStack() as stack:
        planes = [stack.enter_context(_served(bed, node, attachments[node.name], network)) for node in NODES]
        yield TwoNodes(bed, planes)


@contextmanager
def _wired(label: str, mtu: int) -> Iterator[tuple[Testbed, Mapping[str, tuple[Attachment, ...]]]]:
    """The namespaces with pods' veths and the veth between; each node's attachments."""
    bed = Testbed(f"{os.getpid()}-{label}")
    members = (*(node.name for node in NODES), *PODS)
    try:
        for member in members:
            subprocess.run(["ip", "netns", "add", PREFIX + f"{bed.name}-{member}"], check=True)
            bed.run(member, "ip", "link", "set", "lo", "up")
        _connect(bed)
        yield bed, {node.name: tuple(_veths(bed, node, mtu)) for node in NODES}
    finally:
        for member in members[::-1]:
            if Path(bed.path(member)).exists():
                subprocess.run(["ip", "netns", "del", PREFIX + f"{bed.name}-{member}"], check=True)


def _connect(bed: Testbed) -> None:
    """Join the nodes."""
    first, second = NODES
    for node in NODES:
        bed.sysctls(node.name, {"ipv6/conf/default/accept_dad": "0"})
    peer = PREFIX + f"{bed.name}-{second.name}"
    bed.run(first.name, "ip", "link", "add", UPLINK, "type", "veth", "peer", "name", UPLINK, "netns", peer)
    for node in NODES:
        four, six = node.internal_ips
        lines = f"address add {four}/24 dev {UPLINK}\naddress add {six}/64 dev {UPLINK} nodad\nlink set {UPLINK} up"
        bed.run(node.name, "ip", "-batch", "-", text=lines)


def _veths(bed: Testbed, node: Node, mtu: int) -> Iterator[Attachment]:
    """Make forwarding and the pods of a node as the agent does."""
    with tempfile.TemporaryDirectory() as state, bed.inside(node.name):
        sysctls = Sysctls(Path(state))
        sysctls.node()
        veths = PodVeths(lambda: (), lambda device: (sysctls.pod(device), ()), fixed_mtu=mtu)
        for number, (pod, (home, _)) in enumerate(PODS.items(), start=1):
            if home is not node:
                continue
            four, six = IPv4Address(address(pod, 4)), IPv6Address(address(pod, 6))
            veth = veths.create(VethSpec(pod, "eth0", bed.path(pod), False, four, six))  # noqa: FBT003  ADD's own words
            yield Attachment(
                pod, "eth0", number, number, bed.path(pod), veth.netns_cookie, veth.mac, veth.link, four, six
            )


@contextmanager
def _served(bed: Testbed, node: Node, attachments: tuple[Attachment, ...], network: NetworkSettings) -> Iterator[Plane]:
    """Have a node served; its programs and maps."""
    links = BPFFS / f"{PREFIX}{bed.name}-{node.name}"
    with ExitStack() as stack:
        plane = Plane.load(("tc_pod", "tc_uplink"))
        stack.callback(plane.close)
        links.mkdir()
        stack.callback(_remove, links)
        with ExitStack() as visit:
            state = Path(visit.enter_context(tempfile.TemporaryDirectory()))
            visit.enter_context(bed.inside(node.name))
            netlink = visit.enter_context(IPRoute())
            sysctls = Sysctls(state)
            hooks = Hooks(links, plane.programs, tcx=True)
            device, pods = TunnelDevice(netlink, sysctls), PodProgramsPart(hooks, has_moved=lambda: True)
            parts = (
                TunnelPart(device, hooks),
                pods,
                UplinksPart(hooks, sysctls),
                RoutesPart(Routes(), network),
            )
            dataplane = Dataplane(_tables(plane, visit), parts, pods)
            rounds = Rounds(dataplane, Settings(node.name, devices=(UPLINK,), network=network), attachments, lambda: 0)
            _bring_up(rounds, node)
        yield plane


def _tables(plane: Plane, stack: ExitStack) -> dict[str, Table[Any, Any]]:
    """What reconcile fills: the programs' maps, and others that only socket programs read."""
    found: dict[str, Table[Any, Any]] = {}
    for spec in agent_maps():
        if spec.name in plane.tables:
            found[spec.name] = plane.tables[spec.name]
        else:
            found[spec.name] = Table.create(spec)
            stack.callback(found[spec.name].close)
    return found


def _cluster(node: Node) -> Cluster:
    """What the node whose namespace the thread is in knows of the world."""
    uplink = Device(
        socket.if_nametoindex(UPLINK),
        UPLINK,
        node.internal_ips,
        tuple(ip_interface(f"{a}/{24 if a.version == IPV4 else 64}").network for a in node.internal_ips),
        UPLINK_MTU,
        default_route=True,
    )
    tunnel = tuple(Device(i, name) for i, name in socket.if_nameindex() if name in {TUNNEL, SEGMENTER})
    nodes = MappingProxyType({each.name: each for each in NODES})
    return Cluster(nodes=nodes, local=Local((uplink, *tunnel), netns_cookie=netns_cookie()), synced=True)


def _bring_up(rounds: Rounds, node: Node) -> None:
    """Two rounds: the first makes the tunnel's device, whose number the second has; then what could wait."""
    for _ in range(2):
        for _ in rounds.round(_cluster(node)):
            pass
        for error in (rounds.map_error, *rounds.parts.errors(vital=True), *rounds.parts.errors(vital=False)):
            if error is not None:
                raise error
    while rounds.deferred.is_left:
        rounds.deferred.piece()


def _remove(links: Path) -> None:
    for pin in links.iterdir():
        pin.unlink()
    links.rmdir()
