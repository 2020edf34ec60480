"""Which aggregates a node cannot have: those by whose blackhole it would lose other nodes, or its peers.

An aggregate is a route. Where a node is reached by a shorter one, its packets would end in the aggregate's blackhole,
and routers would send theirs for it here.
"""

from collections.abc import Iterator, Mapping

from agent.compile.bgp.annotations import NodeBgp
from agent.compile.bgp.settings import BgpSettings
from agent.model.address import Address, Network, is_in_any
from agent.model.cluster import Cluster
from agent.model.name import ObjectName, Problem
from agent.model.node import Node

Unfit = Mapping[Network, str]  # each with why, of the node


def unfit(cluster: Cluster, node: Node, said: NodeBgp, settings: BgpSettings, subnets: tuple[Network, ...]) -> Unfit:
    """Those that have the address of a node or a peer which no longer subnet of this node's has too.

    A subnet of the node's is none either: BIRD finds next hops there by the route that the subnet itself is.
    """
    found: dict[Network, str] = {}
    for wide in settings.aggregates:
        if wide in subnets:
            found[wide] = f"is on the subnet {wide} itself, which is no aggregate"
            continue
        nearer = tuple(one for one in subnets if one.version == wide.version and one.prefixlen > wide.prefixlen)
        for who, address in _reached(cluster, node, said, settings):
            if is_in_any(address, (wide,)) and not is_in_any(address, nearer):
                found[wide] = (
                    f"reaches {address} of {who} by a shorter route than {wide}, whose blackhole would take them"
                )
                break
    return found


def _reached(cluster: Cluster, node: Node, said: NodeBgp, settings: BgpSettings) -> Iterator[tuple[str, Address]]:
    """Whom this node needs to reach."""
    for name, other in cluster.nodes.items():
        if name != node.name:
            yield from ((f"Node {name}", address) for address in other.internal_ips)
    yield from (("--peer-router-ips", one.address) for one in settings.peers)
    yield from ((one.where, one.address) for one in said.peers)
    labels = dict(node.labels)
    for peer in cluster.bgp_peers.values():
        if peer.address is not None and peer.nodes.selects(labels):
            yield f"BGPPeer {peer.name}", peer.address


def aggregate_problems(found: Unfit, cluster: Cluster, node: str) -> Iterator[Problem]:
    """Each with the BGPConfigurations that ask for it."""
    for wide, why in found.items():
        for one in cluster.bgp_configurations.values():
            if wide in one.aggregates:
                text = f"Node {node} {why}; what is within it is told by itself; give a range without nodes and routers"
                yield Problem("BGPConfiguration", ObjectName("", one.name), "spec.aggregates", text)
