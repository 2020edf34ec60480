"""The cluster at one revision."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from agent.model.address import Address
from agent.model.bgp import BgpPeer, Neighbours, Passwords
from agent.model.bgp_configuration import BgpConfiguration
from agent.model.bgp_filter import BgpFilter
from agent.model.denied import Denied
from agent.model.ip_pool import IpBlock, IpPool
from agent.model.lb_pool import LbService, LoadBalancerPool
from agent.model.local import Local
from agent.model.name import ObjectName, Problem
from agent.model.network import NetworkDefinition
from agent.model.node import Namespace, Node, Pod
from agent.model.policy import PeerPod, Policy
from agent.model.service import EndpointSlice, Service


@dataclass(frozen=True, slots=True)
class Cluster:
    """Everything known at one revision.

    An object that did not change is the identical value in the next Cluster.
    """

    services: Mapping[ObjectName, Service] = field(default_factory=lambda: MappingProxyType({}))
    # by the Service they belong to; slices of one Service sorted by name
    slices: Mapping[ObjectName, tuple[EndpointSlice, ...]] = field(default_factory=lambda: MappingProxyType({}))
    nodes: Mapping[str, Node] = field(default_factory=lambda: MappingProxyType({}))
    pods: Mapping[ObjectName, Pod] = field(default_factory=lambda: MappingProxyType({}))
    namespaces: Mapping[str, Namespace] = field(default_factory=lambda: MappingProxyType({}))
    policies: Mapping[ObjectName, Policy] = field(default_factory=lambda: MappingProxyType({}))
    multi_policies: Mapping[ObjectName, Policy] = field(default_factory=lambda: MappingProxyType({}))
    cluster_policies: Mapping[str, Policy] = field(default_factory=lambda: MappingProxyType({}))
    peers: Mapping[ObjectName, PeerPod] = field(default_factory=lambda: MappingProxyType({}))
    networks: Mapping[ObjectName, NetworkDefinition] = field(default_factory=lambda: MappingProxyType({}))
    # both where pods have addresses of pools; Nodes have theirs of the blocks too
    ip_pools: Mapping[str, IpPool] = field(default_factory=lambda: MappingProxyType({}))
    ip_blocks: Mapping[str, IpBlock] = field(default_factory=lambda: MappingProxyType({}))
    # both while this node allocates load balancers' addresses
    lb_pools: Mapping[str, LoadBalancerPool] = field(default_factory=lambda: MappingProxyType({}))
    lb_services: Mapping[ObjectName, LbService] = field(default_factory=lambda: MappingProxyType({}))
    bgp_peers: Mapping[str, BgpPeer] = field(default_factory=lambda: MappingProxyType({}))
    bgp_filters: Mapping[str, BgpFilter] = field(default_factory=lambda: MappingProxyType({}))
    bgp_configurations: Mapping[str, BgpConfiguration] = field(default_factory=lambda: MappingProxyType({}))
    bgp_passwords: Passwords = field(default_factory=Passwords)
    bgp_neighbours: Neighbours = field(default_factory=Neighbours)
    # kinds that are watched and of which a whole list has come; of others a table may be empty for want of one
    listed: frozenset[str] = frozenset()
    announcers: frozenset[str] = frozenset()  # nodes that announce addresses on their subnets now
    local: Local = field(default_factory=Local)
    denied: Denied = field(default_factory=Denied)
    problems: tuple[Problem, ...] = ()  # found while decoding
    synced: bool = False  # every source has delivered its first whole list

    @property
    def node_ips(self) -> frozenset[Address]:
        """Every address of every Node, by which it is reached."""
        return frozenset(ip for node in self.nodes.values() for ip in (*node.internal_ips, *node.external_ips))
