"""Which external addresses of Services BGP tells nobody of, whoever writes them down: packets for others go there.

Who may write Services would have routers send a peer's or a pod's packets to nodes, and this node's own routes by that
peer end in a blackhole. What else has an address of the site, nobody here knows: --service-external-ip-range says what
is Services'.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import chain

from agent.compile.bgp.annotations import NodeBgp
from agent.compile.bgp.settings import BgpSettings
from agent.model.address import Address, Network, is_in_any, is_within
from agent.model.cluster import Cluster
from agent.model.node import Node

_Ranges = tuple[tuple[int, int, frozenset[int]], ...]  # by IP version and prefix length, their first so many bits


@dataclass(frozen=True, slots=True)
class Reserved:
    """Whose they are."""

    nodes: frozenset[Address] = frozenset()  # all nodes', by which they are reached and peer
    peers: frozenset[Address] = frozenset()  # of any node, and of this one's annotations
    pods: _Ranges = ()
    services: tuple[Network, ...] = ()  # cluster IPs
    external: tuple[Network, ...] = ()  # of which externalIPs alone are; none: they may be any

    def why(self, address: Address, *, of_balancer: bool) -> str:
        """Why a Service's external address is not told of; empty when it is."""
        if address in self.nodes:
            return f"{address} is a Node's own, by which it is reached"
        if address in self.peers:
            return f"{address} is a BGP peer's, by which routes lead"
        number, bits = int(address), address.max_prefixlen
        if any(version == address.version and number >> (bits - length) in of for version, length, of in self.pods):
            return f"{address} is in a range of pods"
        if is_in_any(address, self.services):
            return f"{address} is in a range of --service-cidrs, of which cluster IPs are"
        if self.external and not of_balancer and not is_in_any(address, self.external):
            return f"{address} is in no range of --service-external-ip-range"
        return ""


def reserved(cluster: Cluster, settings: BgpSettings, said: Mapping[str, tuple[Node, NodeBgp]]) -> Reserved:
    """What of it is known now; *said* is what Nodes' annotations say, of peers this node's alone."""
    local = (ip for _, one in said.values() for ip in one.local)
    peers = chain(
        (one.address for one in settings.peers),
        (one.address for one in cluster.bgp_peers.values()),
        (peer.address for _, one in said.values() for peer in one.peers),
    )
    pools = [cidr for pool in cluster.ip_pools.values() if not pool.network for cidr in pool.cidrs]
    # of blocks, which come and go with pods, those alone that no pool has any more
    cidrs = (cidr for node in cluster.nodes.values() for cidr in node.pod_cidrs)
    blocks = (cidr for node in cluster.nodes.values() for cidr, _ in node.blocks)
    strays = (cidr for cidr in blocks if not any(is_within(cidr, pool) for pool in pools))
    return Reserved(
        cluster.node_ips.union(local),
        frozenset(address for address in peers if address is not None),
        _ranges(chain(pools, cidrs, strays)),
        settings.service_cidrs,
        settings.external_ranges,
    )


def _ranges(networks: Iterable[Network]) -> _Ranges:
    found: dict[tuple[int, int], set[int]] = {}
    for one in networks:
        bits = int(one.network_address) >> (one.max_prefixlen - one.prefixlen)
        found.setdefault((one.version, one.prefixlen), set()).add(bits)
    return tuple((*key, frozenset(of)) for key, of in sorted(found.items()))
