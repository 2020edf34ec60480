"""Routes to the pods of the other nodes, each by its node's address of the same family.

A gateway on none of our subnets is for the kernel to refuse; that node needs encapsulation.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from agent.model.address import Address, Network
from agent.model.node import Node


@dataclass(frozen=True, slots=True)
class Route:
    """Where packets to a range of pod addresses go."""

    destination: Network
    gateway: Address


def routes(nodes: Mapping[str, Node], node_name: str) -> tuple[Route, ...]:
    """The routes that *node_name* needs, ordered by node."""
    return tuple(
        Route(cidr, gateway)
        for name, node in sorted(nodes.items())
        if name != node_name
        for cidr in node.pod_cidrs
        if (gateway := _gateway(node, cidr)) is not None
    )


def _gateway(node: Node, cidr: Network) -> Address | None:
    """The node's first address of the range's family."""
    return next((address for address in node.internal_ips if address.version == cidr.version), None)
