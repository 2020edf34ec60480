"""Nodes of the cluster, and pods of this one."""

from dataclasses import dataclass

from agent.model.address import Address, Network
from agent.model.name import ObjectName


@dataclass(frozen=True, slots=True)
class Node:
    """A Node object."""

    name: str
    internal_ips: tuple[Address, ...] = ()
    pod_cidrs: tuple[Network, ...] = ()
    zone: str = ""  # label topology.kubernetes.io/zone
    imports_host_local: bool = False  # annotation sluiceway.io/ipam


@dataclass(frozen=True, slots=True)
class Pod:
    """A Pod of this node."""

    name: ObjectName
    uid: str = ""
    node: str = ""
    ips: tuple[Address, ...] = ()
    host_network: bool = False


@dataclass(frozen=True, slots=True)
class Namespace:
    """A Namespace object."""

    name: str
    labels: tuple[tuple[str, str], ...] = ()
