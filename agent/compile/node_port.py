"""At which of this node's addresses node ports are: --nodeport-addresses, as kube-proxy means it.

Source: Kubernetes, pkg/proxy/util, NodePortAddresses.
"""

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address, ip_address

from agent.model.address import Address, Network
from agent.model.node import Node
from agent.options.service import NodePortAddresses
from maps import abi

IPV4, IPV6 = 4, 6
EVERY: tuple[Address, ...] = (IPv4Address(0), IPv6Address(0))  # listened at, in a family without limits
LOOPBACK = {
    ip_address("127.0.0.1"): abi.NodeFlag.NODE_NO_LOOPBACK_PORTS4,
    ip_address("::1"): abi.NodeFlag.NODE_NO_LOOPBACK_PORTS6,
}


def node_port_addresses(own: Iterable[Address], node: Node, given: NodePortAddresses) -> frozenset[Address]:
    """Those of the node's *own* addresses, none of which is a loopback one; the word is ``primary``."""
    if isinstance(given, str):
        first = (next((a for a in node.internal_ips if a.version == version), None) for version in (IPV4, IPV6))
        return frozenset(own) & frozenset(first)
    return frozenset(address for address in own if _is_in(address, given))


def all_node_port_addresses(own: Iterable[Address], node: Node, given: NodePortAddresses) -> frozenset[Address]:
    """As :func:`node_port_addresses`, with the loopback ones at which the node itself finds node ports."""
    loopback = () if isinstance(given, str) else (address for address in LOOPBACK if _is_in(address, given))
    return node_port_addresses(own, node, given).union(loopback)


def listening_addresses(held: Iterable[Address], node: Node, given: NodePortAddresses) -> tuple[Address, ...]:
    """Where the node itself listens as at a node port: a socket for each, in a family without limits one for all.

    *held* are what its devices have: nothing can listen at others. Link-local ones are left out, for they say nothing
    without a device; loopback ones are in where a range has them.
    """
    usable = (address for address in held if not (address.is_loopback or address.is_link_local))
    named = node_port_addresses(usable, node, given)
    loopback = () if isinstance(given, str) else (address for address in LOOPBACK if _is_in(address, given))
    limited = sorted((*named, *loopback), key=int)
    found: list[Address] = []
    for every in EVERY:
        if _has_limits(every, given):
            found += (address for address in limited if address.version == every.version)
        else:
            found.append(every)
    return tuple(found)


def _has_limits(every: Address, given: NodePortAddresses) -> bool:
    """Whether some addresses of this one's family are left out."""
    return isinstance(given, str) or not _is_in(every, given)


def loopback_flags(given: NodePortAddresses) -> abi.NodeFlag:
    """The families in which the node's own processes find no node ports at its loopback addresses."""
    found = abi.NodeFlag(0)
    for address, flag in LOOPBACK.items():
        if isinstance(given, str) or not _is_in(address, given):
            found |= flag
    return found


def _is_in(address: Address, given: Iterable[Network]) -> bool:
    """Whether one of the ranges has it; where none is of its family, that family has no limits."""
    of_family = [network for network in given if network.version == address.version]
    return not of_family or any(address in network for network in of_family)
