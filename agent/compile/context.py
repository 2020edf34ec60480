"""This node as compile knows it: what the records of other owners depend on."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from agent.compile.endpoint import node_addresses
from agent.compile.node_port import all_node_port_addresses
from agent.model.address import Address
from agent.model.attachment import Attachment, AttachmentKey
from agent.model.local import Local
from agent.model.node import Node
from agent.options.choices import Forwarding
from agent.options.service import NodePortAddresses


@dataclass(frozen=True, slots=True)
class NodeContext:
    """One moment's."""

    node: Node = field(default_factory=lambda: Node(""))
    addresses: frozenset[Address] = frozenset()  # its own
    attached: frozenset[Address] = frozenset()  # its pods'
    forwarding: Forwarding = Forwarding.SNAT  # of Services that do not say
    with_ports: frozenset[Address] = frozenset()  # at which node ports are, loopback ones too

    @property
    def name(self) -> str:
        """The node's name."""
        return self.node.name

    @property
    def zone(self) -> str:
        """The zone that the Node object names."""
        return self.node.zone

    def has(self, address: Address) -> bool:
        """Whether the node or one of its pods has an address."""
        return address in self.addresses or address in self.attached

    def moved(self, before: "NodeContext") -> frozenset[Address]:
        """The addresses that only one of two moments has."""
        return (self.addresses ^ before.addresses) | (self.attached ^ before.attached)


def node_context(
    node: Node,
    local: Local,
    attachments: Mapping[AttachmentKey, Attachment],
    forwarding: Forwarding = Forwarding.SNAT,
    given: NodePortAddresses = (),
) -> NodeContext:
    """The context of a node with these attachments; *given* says at which addresses node ports are."""
    attached = frozenset(address for one in attachments.values() if not one.is_in_pod for address in one.addresses)
    own = node_addresses(local.devices, node.internal_ips)
    return NodeContext(node, own, attached, forwarding, all_node_port_addresses(own, node, given))
