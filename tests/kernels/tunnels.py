"""Two nodes in the guest, one encapsulation after the other between them: pods talk over both families.

The neighbour becomes the second node, with a pod, programs and maps of its own. Geneve is tried by the kernel's device,
by the VXLAN device and headers exchanged, and with one on each side, which shows that they understand each other.
"""

import socket
import subprocess
import tempfile
import threading
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from ipaddress import ip_network
from pathlib import Path

from pyroute2 import IPRoute

from agent.compile.settings import NetworkSettings
from agent.compile.tunnel import TunnelLinks, tunnel
from agent.kernel.net.sysctl import Sysctls
from agent.kernel.net.tunnel import TunnelDevice
from agent.kernel.programs import attach, hooks
from agent.kernel.programs.load import Loaded
from agent.model.address import Address, mapped
from agent.netlink import netns
from agent.options.choices import Encapsulation
from maps import abi
from maps.pins import PinRoot
from maps.table import Table
from tests.kernels import site

FAR_PINS = Path("/sys/fs/bpf/far")
FAR_POD, FAR_MAC, FAR_DEVICE = "farpod", "02:00:00:00:00:04", "swpfar"
PORT, SIZE = 8081, 300_000  # bytes, so that GSO packets form
TIMEOUT_S = 60
PODS = {"near": ("10.1.0.0/16", "fd01::/64"), "far": ("10.2.0.0/16", "fd02::/64")}
FAR_ADDRESSES = ("10.2.0.2", "fd02::2")
IPIP, VXLAN = NetworkSettings(Encapsulation.IPIP), NetworkSettings(Encapsulation.VXLAN)
DEVICE, EXCHANGED = NetworkSettings(Encapsulation.GENEVE), NetworkSettings(Encapsulation.GENEVE, has_geneve=False)


@dataclass(frozen=True, slots=True)
class Mode:
    """How each side encapsulates, and over which family."""

    title: str
    near: NetworkSettings
    far: NetworkSettings
    over: int  # index in FAMILIES


MODES = (
    Mode("IPIP over IPv4", IPIP, IPIP, 0),
    Mode("IPIP over IPv6", IPIP, IPIP, 1),
    Mode("VXLAN over IPv4", VXLAN, VXLAN, 0),
    Mode("Geneve by devices over IPv4", DEVICE, DEVICE, 0),
    Mode("Geneve by a device and by exchanged headers over IPv4", DEVICE, EXCHANGED, 0),
    Mode("Geneve by exchanged headers and by a device over IPv6", EXCHANGED, DEVICE, 1),
)


@dataclass(frozen=True, slots=True)
class Node:
    """One side: its namespace, hooks and maps."""

    name: str
    path: str  # of the namespace; empty: the guest's own
    uplink: str
    hooks: attach.Hooks
    maps: Path

    def inside(self) -> AbstractContextManager[None]:
        """Visit its namespace."""
        return netns.inside(self.path) if self.path else nullcontext()

    def own(self) -> tuple[Address, ...]:
        """Its addresses."""
        return tuple(f.outside if self.path else f.node for f in site.FAMILIES)


def build(
    near: attach.Hooks, near_maps: Path, objects: Mapping[str, Path], sizes: Mapping[str, int], *, tcx: bool
) -> tuple[Node, Node]:
    """The second node, and both with what they know of each other."""
    pins = PinRoot(FAR_PINS)
    pins.lock()
    generation = pins.generation("one")
    loaded = Loaded(objects, generation, sizes)
    nodes = (
        Node("near", "", "uplink", near, near_maps),
        Node("far", "/run/netns/outside", "eth0", attach.Hooks(pins.links, loaded.programs, tcx=tcx), generation.maps),
    )
    _make_pod()
    with nodes[1].inside():
        nodes[1].hooks.attach(socket.if_nametoindex(FAR_DEVICE), hooks.POD)
        nodes[1].hooks.attach(socket.if_nametoindex("eth0"), hooks.UPLINK)
        index = socket.if_nametoindex(FAR_DEVICE)
        for setting in ("ipv4/ip_forward", "ipv6/conf/all/forwarding"):
            Path("/proc/sys/net", setting).write_text("1")
    mac = bytes.fromhex(FAR_MAC.replace(":", ""))
    Table.open(abi.ATTACHMENTS, generation.maps / "attachments").update([(1, abi.Attachment(index, 1, 1, mac, 0, 0))])
    pods = [(mapped(_address(a)), abi.Endpoint(1, 0)) for a in FAR_ADDRESSES]
    own = [(mapped(a), abi.Endpoint(0, abi.EndpointFlag.ENDPOINT_NODE)) for a in nodes[1].own()]
    Table.open(abi.ENDPOINTS, generation.maps / "endpoints").update([*pods, *own])
    threading.Thread(target=_serve, daemon=True).start()
    return nodes


def tried_modes(nodes: tuple[Node, Node], tried: Callable[[str, Callable[[], None]], list[str]]) -> list[str]:
    """Every mode between the two; what failed."""
    failures = []
    for revision, mode in enumerate(MODES, start=2):
        for node, other, network in ((nodes[0], nodes[1], mode.near), (nodes[1], nodes[0], mode.far)):
            _configure(node, other, network, mode.over, revision)
        for address in FAR_ADDRESSES:
            failures += tried(f"{mode.title}, pod to {address} on the other node", partial(_talk, address))
            failures += tried(f"{mode.title}, node to {address} on the other node", partial(_talk, address, ""))
    return failures


def _configure(node: Node, other: Node, network: NetworkSettings, over: int, revision: int) -> None:
    version = site.FAMILIES[over].node.version
    wanted = tunnel(network, network.overhead(version), ())
    assert wanted is not None
    with node.inside(), IPRoute() as netlink, tempfile.TemporaryDirectory() as state:
        links = TunnelDevice(netlink, Sysctls(Path(state))).sync(wanted)
        node.hooks.attach(links.tunnel, (*hooks.TUNNEL_OUT, *hooks.SEGMENTER) if links.segmenter else hooks.TUNNEL)
        for cidr, source in zip(PODS[other.name], node.own(), strict=True):
            subprocess.run(["ip", "route", "replace", cidr, "dev", "swtunnel", "src", str(source)], check=True)
    Table.open(abi.REMOTES, node.maps / "remotes").update([(1, abi.Remote(mapped(other.own()[over])))])
    no = abi.PrefixFlag.PREFIX_NO_MASQUERADE
    known = [(_key(cidr), abi.Prefix(1, no, 1, 1)) for cidr in PODS[other.name]]
    known += [(_key(str(ip_network(a))), abi.Prefix(1, no | abi.PrefixFlag.PREFIX_NODE, 1, 1)) for a in other.own()]
    Table.open(abi.PREFIXES, node.maps / "prefixes").update(known)
    Table.open(abi.NODE, node.maps / "node").update([(0, _record(node, network, links, revision))])


def _record(node: Node, network: NetworkSettings, links: TunnelLinks, revision: int) -> abi.Node:
    own = [mapped(a) for a in node.own()]
    ports = (*site.NAT_PORTS, *site.NODE_PORTS)
    way = (links.tunnel, network.vni, network.udp_port, network.flags, links.segmenter)
    return abi.Node(own[0], own[1], 1, revision, *ports, *way)


def _key(cidr: str) -> abi.PrefixKey:
    found = ip_network(cidr)
    skipped = 96 if found.version == 4 else 0
    return abi.PrefixKey(32 + skipped + found.prefixlen, found.version, mapped(found.network_address))


def _address(text: str) -> Address:
    return ip_network(text).network_address


def _make_pod() -> None:
    """The second node's pod, wired as every pod is."""
    gateways = [str(f.gateway) for f in site.FAMILIES]
    lines = [
        f"netns add {FAR_POD}",
        f"-n outside link add {FAR_DEVICE} type veth peer eth0 netns {FAR_POD} address {FAR_MAC}",
        f"-n outside link set {FAR_DEVICE} address {site.HOST_MAC}",
        f"-n outside link set {FAR_DEVICE} up",
        f"-n {FAR_POD} link set eth0 up",
    ]
    for address, gateway in zip(FAR_ADDRESSES, gateways, strict=True):
        bits, at_once = (128, "nodad") if ":" in address else (32, "")
        lines += [
            f"-n outside route add {address}/{bits} dev {FAR_DEVICE}",
            f"-n outside neighbour add {address} lladdr {FAR_MAC} dev {FAR_DEVICE} nud permanent",
            f"-n {FAR_POD} address add {address}/{bits} dev eth0 {at_once}",
            f"-n {FAR_POD} neighbour add {gateway} lladdr {site.HOST_MAC} dev eth0 nud permanent",
            f"-n {FAR_POD} route add default via {gateway} dev eth0 onlink",
        ]
    for line in lines:
        subprocess.run(["ip", *line.split()], check=True)


def _serve() -> None:
    """Send back what comes, in the far pod."""

    def answer(connection: socket.socket) -> None:
        with connection:
            while data := connection.recv(1 << 16):
                connection.sendall(data)

    with netns.inside(f"/run/netns/{FAR_POD}"):
        listener = socket.create_server(("::", PORT), family=socket.AF_INET6, dualstack_ipv6=True)
    while True:
        threading.Thread(target=answer, args=(listener.accept()[0],), daemon=True).start()


def _talk(address: str, path: str = "/run/netns/client") -> None:
    """Have it all come back; the client has an MTU of 1500, so the node tells it of the tunnel's."""
    with netns.inside(path) if path else nullcontext():
        asking = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
    asking.settimeout(TIMEOUT_S)
    with asking:
        asking.connect((address, PORT))
        writer = threading.Thread(target=_write, args=(asking,))
        writer.start()
        back = asking.makefile("rb").read()
        writer.join()
    assert back == bytes(SIZE), f"{len(back)} of {SIZE} bytes came back"


def _write(asking: socket.socket) -> None:
    asking.sendall(bytes(SIZE))
    asking.shutdown(socket.SHUT_WR)
