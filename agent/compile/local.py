"""This node's own share of the maps: who has which address here, and what the node's traffic is translated to."""

from dataclasses import replace

from agent.compile.endpoint import endpoints, node_addresses, pods
from agent.compile.limit import flags, limits
from agent.compile.node import Ports, node_record
from agent.compile.records import LocalRecords
from agent.compile.tunnel import Between
from agent.model.local import Local
from agent.model.node import Node

NODE_PORTS: Ports = (30000, 32767)
NOTHING_BETWEEN = Between()


def local_records(
    local: Local, node: Node | None, node_ports: Ports = NODE_PORTS, between: Between = NOTHING_BETWEEN
) -> LocalRecords:
    """The records of a node whose Node object may not be known yet."""
    own = node_addresses(local.devices, node.internal_ips if node else ())
    theirs = frozenset(address for attachment in local.attachments for address in attachment.addresses)
    limited = limits(local.attachments, local.devices)
    record = node_record(node, local, node_ports, between)
    return LocalRecords(
        endpoints(local.attachments, own),
        pods(local.attachments),
        limited,
        replace(record, flags=record.flags | flags(limited)),
        own | theirs,
    )
