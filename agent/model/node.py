"""Nodes of the cluster, and pods of this one."""

from dataclasses import dataclass, field

from agent.model.address import Address, Network
from agent.model.name import ObjectName
from agent.model.policy import ContainerPort

ROUTED_RANGES = "sluiceway.io/routed-ranges"  # annotation of a Pod
ALLOWED_RANGES = "sluiceway.io/allowed-routed-ranges"  # of its Namespace, which the pod's owner cannot change
MIRROR = "kubernetes.io/config.mirror"  # of a Pod that stands for a static one of the kubelet's, with that one's uid
UNPROTECTED = "sluiceway.io/unprotected-interfaces"  # annotation of a Pod


@dataclass(frozen=True, slots=True)
class Node:
    """A Node object."""

    name: str
    internal_ips: tuple[Address, ...] = ()
    pod_cidrs: tuple[Network, ...] = ()
    zone: str = ""  # label topology.kubernetes.io/zone
    imports_host_local: bool = False  # annotation sluiceway.io/ipam
    external_ips: tuple[Address, ...] = ()
    labels: tuple[tuple[str, str], ...] = ()
    is_leaving: bool = False  # it is deleted, or about to be: new connections go elsewhere
    is_cordoned: bool = False  # spec.unschedulable
    bgp: tuple[tuple[str, str], ...] = field(default=(), repr=False)  # annotations of BGP, which may hold passwords
    blocks: tuple[tuple[Network, str], ...] = ()  # of IPPools, which it has claimed, each with its IPBlock's name

    @property
    def pod_ranges(self) -> tuple[Network, ...]:
        """All that its pods have addresses of, and that is reached by way of it."""
        return (*self.pod_cidrs, *(cidr for cidr, _ in self.blocks)) if self.blocks else self.pod_cidrs


@dataclass(frozen=True, slots=True)
class Pod:
    """A Pod of this node."""

    name: ObjectName
    uid: str = ""
    node: str = ""
    ips: tuple[Address, ...] = ()
    host_network: bool = False
    routed_ranges: tuple[Network, ...] = ()  # that it asks to route for
    labels: tuple[tuple[str, str], ...] = ()
    ports: tuple[ContainerPort, ...] = ()
    unprotected: frozenset[str] = frozenset()  # interfaces that policy is not meant to guard; "*": all that it cannot
    networks: tuple[tuple[str, str], ...] = ()  # annotations that ask for networks, as they are
    drops_raw: bool = False  # no container of it has NET_RAW
    has_net_admin: bool = False  # a container of it may configure its devices
    ip_pools: str = ""  # annotation that names the pools of its first interface
    static_uid: str = ""  # by which its runtime knows it, where another than the API's
    hugepages: tuple[tuple[int, int], ...] = ()  # (size of a page, how much is asked for) in KiB

    def is_of(self, uid: str) -> bool:
        """As :func:`is_uid_of`."""
        return is_uid_of(uid, self.uid, self.static_uid)


def is_uid_of(told: str, uid: str, static_uid: str) -> bool:
    """Whether a runtime that has *told* this uid means the Pod with these; empty is what nobody knows."""
    return not (told and uid) or told in {uid, static_uid}


@dataclass(frozen=True, slots=True)
class Namespace:
    """A Namespace object."""

    name: str
    labels: tuple[tuple[str, str], ...] = ()
    routed_ranges: tuple[Network, ...] = ()  # that its pods may route for, and all within them
    ip_pools: str = ""  # annotation that names the pools of its pods' first interfaces
    audits: bool = False  # what policy would drop of its pods' packets passes, and is counted
