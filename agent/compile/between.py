"""What lies between this node and the others: who is behind the tunnel, and where pods keep their own addresses.

A range of pods is encapsulated when its node is on none of our subnets, or always; so is what pods send to such a
node itself, for the network between knows no pod. The node's own packets to another node are never encapsulated.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import ip_network

from agent.compile.ids import RemoteIds
from agent.compile.records import BetweenRecords
from agent.compile.route import Route, gateway
from agent.config import Encapsulation
from agent.model.address import Address, Network, mapped
from agent.model.local import Device, Local
from agent.model.node import Node
from maps import abi

IPV4, IPV6 = 4, 6
OVERHEAD = {IPV4: 50, IPV6: 70}  # outer Ethernet within, outer IP, UDP, and the 8 bytes of VXLAN
PORTS = {Encapsulation.VXLAN: 8472}  # the kernel's own
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

    @property
    def is_native(self) -> bool:
        """Whether nothing is encapsulated."""
        return self.encapsulation is Encapsulation.NATIVE


@dataclass(frozen=True, slots=True)
class Tunnel:
    """The one device that encapsulates, as it should be."""

    kind: Encapsulation
    port: int
    mtu: int


def tunnel(between: Between, records: BetweenRecords, uplinks: Iterable[Device]) -> Tunnel | None:
    """The device that this node needs; None without encapsulation."""
    if between.is_native:
        return None
    room = min((device.mtu for device in uplinks if device.mtu), default=DEFAULT_MTU) - records.overhead
    return Tunnel(between.encapsulation, between.port or PORTS[between.encapsulation], between.mtu or room)


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
    return BetweenRecords(prefixes, remotes, routes, OVERHEAD[max(versions)]), ids


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
        ranges = (*node.pod_cidrs, *map(ip_network, node.internal_ips))
        for found in ranges:
            yield _key(found), _prefix(remote_id if outer is not None and far.is_far(node, found.version) else 0)


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


def _prefix(remote_id: int) -> bytes:
    return abi.Prefix(remote_id, abi.PrefixFlag.PREFIX_NO_MASQUERADE).pack()
