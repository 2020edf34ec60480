"""What lies between this node and the others: who is behind the tunnel, and where pods keep their own addresses.

A range of pods is encapsulated when its node is on none of our subnets, or always; so is what pods send to such a
node itself, for the network between knows no pod. The node's own packets to another node are never encapsulated.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import ip_network

from agent.compile.ids import RemoteIds
from agent.compile.records import BetweenRecords
from agent.compile.route import Route, gateway
from agent.model.address import Address, Network, mapped
from agent.model.local import Device, Local
from agent.model.node import Node
from agent.options.config import Encapsulation
from agent.options.values import LEAST_MTU
from maps import abi

IPV4, IPV6 = 4, 6
IP_OVERHEAD = {IPV4: 20, IPV6: 40}  # the outer IP header
UDP_OVERHEAD = 30  # the inner Ethernet header, UDP, and the 8 bytes of VXLAN or Geneve
PORTS = {Encapsulation.VXLAN: 8472, Encapsulation.GENEVE: 6081}  # the kernel's own, and RFC 8926's
DEFAULT_MTU = 1500  # of a node without uplink
KEY_BITS = 32  # of a prefix's key before the address: family and padding
MAPPED_BITS = 96  # of ::ffff:0:0


@dataclass(frozen=True, slots=True)
class Between:
    """What the options say of the way between nodes and of the way outside."""

    encapsulation: Encapsulation = Encapsulation.NATIVE
    cross_subnet: bool = False
    port: int = 0  # 0: the encapsulation's own
    vni: int = 1
    mtu: int = 0  # of pods; 0: found
    masquerade: bool = False
    has_geneve: bool = True  # the kernel has the device
    by_host: bool = False  # packets to other nodes' pods take the host's own way, where they are not encapsulated

    @property
    def is_native(self) -> bool:
        """Whether nothing is encapsulated."""
        return self.encapsulation is Encapsulation.NATIVE

    @property
    def udp_port(self) -> int:
        """Where other nodes take what is encapsulated; 0 without UDP."""
        default = PORTS.get(self.encapsulation)
        return (self.port or default) if default else 0

    @property
    def flags(self) -> abi.NodeFlag:
        """What the programs have to do themselves."""
        flags = abi.NodeFlag.NODE_MASQUERADE if self.masquerade else abi.NodeFlag(0)
        if self.encapsulation is Encapsulation.IPIP:
            flags |= abi.NodeFlag.NODE_IPIP
        if self.encapsulation is Encapsulation.GENEVE and not self.has_geneve:
            flags |= abi.NodeFlag.NODE_GENEVE
        return flags

    def overhead(self, version: int) -> int:
        """Bytes that encapsulation adds to a packet, inside an outer IP of this version."""
        return IP_OVERHEAD[version] + (0 if self.encapsulation is Encapsulation.IPIP else UDP_OVERHEAD)


class Kind(StrEnum):
    """What a device is to the kernel."""

    VXLAN = "vxlan"
    GENEVE = "geneve"
    VETH = "veth"  # encapsulates nothing: the programs do, and take its MTU


@dataclass(frozen=True, slots=True)
class Tunnel:
    """The one device by which what is encapsulated leaves, as it should be."""

    kind: Kind
    port: int  # 0: takes nothing from the network
    mtu: int


def tunnel(between: Between, records: BetweenRecords, uplinks: Iterable[Device]) -> Tunnel | None:
    """The device that this node needs; None without encapsulation."""
    if between.is_native:
        return None
    room = max(_narrowest(uplinks) - records.overhead, LEAST_MTU)
    return Tunnel(_kind(between), between.udp_port, between.mtu or room)


def pod_mtu(between: Between, wanted: Tunnel | None, uplinks: Iterable[Device]) -> int:
    """The MTU of pods' interfaces: as told, else the tunnel's where there is one, else the narrowest uplink's.

    Never less than IPv6 lives with: an interface of less loses its addresses for good.
    """
    if between.mtu:
        return between.mtu
    return wanted.mtu if wanted is not None else max(_narrowest(uplinks), LEAST_MTU)


def _narrowest(uplinks: Iterable[Device]) -> int:
    return min((device.mtu for device in uplinks if device.mtu), default=DEFAULT_MTU)


def _kind(between: Between) -> Kind:
    """The VXLAN device does Geneve's work where the kernel has none: the headers are of one size."""
    if between.encapsulation is Encapsulation.IPIP:
        return Kind.VETH
    return Kind.GENEVE if between.encapsulation is Encapsulation.GENEVE and between.has_geneve else Kind.VXLAN


def between_records(
    nodes: Mapping[str, Node], node_name: str, local: Local, between: Between, known: RemoteIds
) -> tuple[BetweenRecords, RemoteIds]:
    """Prefixes, remotes and routes of this node, and the ids given to the remotes."""
    own = nodes.get(node_name, Node(node_name))
    others = [node for name, node in sorted(nodes.items()) if name != node_name]
    far = _Far(own, local, between)
    outers = {node.name: address for node in others if (address := far.outer(node)) is not None}
    ids = known.of([mapped(address).packed for address in outers.values()])
    prefixes = dict(_prefixes((own, *others), far, outers, ids))
    prefixes |= {_key(r): _prefix(0) for r in local.not_masqueraded if _key(r) not in prefixes}
    keys = abi.REMOTES.key
    remotes = {keys.pack(ids.ids[mapped(a).packed]): abi.Remote(mapped(a)).pack() for a in outers.values()}
    versions = {own.internal_ips[0].version if own.internal_ips else IPV4, *(a.version for a in outers.values())}
    routes = tuple(route for node in others for route in _routes(node, far))
    overhead = 0 if between.is_native else between.overhead(max(versions))
    return BetweenRecords(prefixes, remotes, routes, overhead), ids


class _Far:
    """Which addresses of other nodes are reached through the tunnel alone."""

    def __init__(self, own: Node, local: Local, between: Between) -> None:
        self._own = own
        self._between = between
        self._networks = tuple(
            n for d in local.devices if not d.loopback for n in d.networks if not n.network_address.is_link_local
        )
        here = {address for device in local.devices for address in device.addresses}
        self._sources = tuple(address for address in own.internal_ips if address in here)

    def outer(self, node: Node) -> Address | None:
        """Where packets for a node are sent, encapsulated; None when none of them are, or it cannot be reached so.

        The families are tried in the order of this node's own InternalIPs.
        """
        if not any(self.is_far(node, version) for version in (IPV4, IPV6)):
            return None
        ours = dict.fromkeys(address.version for address in self._own.internal_ips)
        return next((found for version in ours if (found := gateway(node, version)) is not None), None)

    def is_far(self, node: Node, version: int) -> bool:
        """Whether what one family needs to reach *node* is encapsulation."""
        if self._between.is_native:
            return False
        near = gateway(node, version)
        if near is None:
            return any(cidr.version == version for cidr in node.pod_cidrs)
        return not (self._between.cross_subnet and any(near in network for network in self._networks))

    def near_id(self, node: Node) -> int:
        """What stands for a remote with the pods of a node that nothing is encapsulated for."""
        return 0 if self._between.by_host or node.name == self._own.name else abi.REMOTE_ROUTED

    def source(self, version: int) -> Address | None:
        """The address of this node's own packets to pods behind the tunnel."""
        return next((address for address in self._sources if address.version == version), None)


def _prefixes(
    nodes: Iterable[Node], far: _Far, outers: Mapping[str, Address], ids: RemoteIds
) -> Iterator[tuple[bytes, bytes]]:
    """Every node's pods and addresses, which meet pods unmasqueraded, and the remote behind which they are."""
    for node in nodes:
        outer = outers.get(node.name)
        remote_id = ids.ids[mapped(outer).packed] if outer is not None else 0
        ranges = {cidr: (far.near_id(node), abi.PrefixFlag(0)) for cidr in node.pod_cidrs}
        ranges |= {ip_network(address): (0, abi.PrefixFlag.PREFIX_NODE) for address in node.internal_ips}
        for found, (near_id, flag) in ranges.items():
            is_far = outer is not None and far.is_far(node, found.version)
            yield _key(found), _prefix(remote_id if is_far else near_id, flag)


def _routes(node: Node, far: _Far) -> Iterator[Route]:
    """The kernel's own routes to a node's pods."""
    for cidr in node.pod_cidrs:
        if far.is_far(node, cidr.version):
            if far.outer(node) is not None:
                yield Route(cidr, None, far.source(cidr.version))
        elif (near := gateway(node, cidr.version)) is not None:
            yield Route(cidr, near)


def _key(network: Network) -> bytes:
    bits = network.prefixlen + (MAPPED_BITS if network.version == IPV4 else 0)
    return abi.PrefixKey(KEY_BITS + bits, network.version, mapped(network.network_address)).pack()


def _prefix(remote_id: int, flag: int = 0) -> bytes:
    return abi.Prefix(remote_id, abi.PrefixFlag.PREFIX_NO_MASQUERADE | flag).pack()
