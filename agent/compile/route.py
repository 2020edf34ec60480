"""Routes to the pods of the other nodes: by the node's address of their family, or into the tunnel.

Without encapsulation the network between is to know of pods whose node is on none of our subnets; the route is tried
all the same, for the kernel may have that node on a link.
"""

from dataclasses import dataclass

from agent.model.address import Address, Network
from agent.model.node import Node


@dataclass(frozen=True, slots=True)
class Route:
    """Where packets to a range of pod addresses go."""

    destination: Network
    gateway: Address | None  # None: the tunnel's device
    source: Address | None = None  # of the node's own packets; None: the kernel's choice
    is_far: bool = False  # the gateway is on none of our subnets: where the kernel refuses it, other routes lead there


def gateway(node: Node, version: int) -> Address | None:
    """The node's first address of a family."""
    return next((address for address in node.internal_ips if address.version == version), None)
