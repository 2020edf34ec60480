"""At which of this node's addresses node ports are: --nodeport-addresses, as kube-proxy means it.

Source: Kubernetes, pkg/proxy/util, NodePortAddresses.
"""

from collections.abc import Iterable
from ipaddress import ip_address

from agent.model.address import Address, Network
from agent.model.node import Node
from agent.options.config import NodePortAddresses
from maps import abi

IPV4, IPV6 = 4, 6
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
