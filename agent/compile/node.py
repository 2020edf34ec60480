"""The node's own record: the source addresses and ports of what it translates."""

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv6Address

from agent.compile.records import NodeRecord
from agent.compile.tunnel import Between
from agent.model.address import Address, mapped
from agent.model.local import Device, Local
from agent.model.name import ObjectName, Problem
from agent.model.node import Node
from maps import abi

FIRST_PORT, LAST_PORT = 1024, 65535  # below are the privileged ones
NODE_KEY = abi.NODE.key.pack(0)
Ports = tuple[int, int]  # inclusive
NO_PORTS: Ports = (0, 0)


@dataclass(frozen=True, slots=True)
class Links:
    """The devices of the encapsulation, by ifindex; 0: none."""

    tunnel: int = 0
    cutter: int = 0


def node_record(node: Node | None, local: Local, node_ports: Ports, between: Between) -> NodeRecord:
    """What the node map says of a node whose object may not be known yet."""
    host_ports = ((port.host_port,) * 2 for pod in local.attachments for port in pod.host_ports)
    taken = (local.port_range, node_ports, *local.reserved_ports, *host_ports)
    return NodeRecord(
        source(node, local.devices, 4),
        source(node, local.devices, 6),
        local.netns_cookie,
        nat_ports(taken),
        node_ports,
        0 if between.is_native else between.vni,
        between.udp_port,
        between.flags,
    )


def source(node: Node | None, devices: Iterable[Device], version: int) -> Address | None:
    """The address that translated packets come from: the Node's first of the family, else an uplink's first."""
    internal = node.internal_ips if node else ()
    uplinks = (address for device in devices if device.default_route for address in device.addresses)
    candidates = (*internal, *(address for address in uplinks if not address.is_link_local))
    return next((address for address in candidates if address.version == version), None)


def nat_ports(taken: Iterable[Ports]) -> Ports:
    """The widest range of ports that nobody else takes, the lower of two; NO_PORTS when there is none."""
    gaps: list[Ports] = []
    start = FIRST_PORT
    for low, high in (*sorted(taken), (LAST_PORT + 1, LAST_PORT + 1)):
        if low > start:
            gaps.append((start, low - 1))
        start = max(start, high + 1)
    return max(gaps, key=lambda gap: gap[1] - gap[0], default=NO_PORTS)


def node_problems(name: str, record: NodeRecord) -> tuple[Problem, ...]:
    """What is wrong with the node itself."""
    if record.nat_ports != NO_PORTS or not record.netns_cookie:
        return ()
    text = (
        "leaves no port, beside node ports and reserved ones, to translate connections from: they are dropped"
        f" (nat_ports); leave some of {FIRST_PORT}-{LAST_PORT} free, say by 32768 60999"
    )
    return (Problem("Node", ObjectName("", name), "net.ipv4.ip_local_port_range", text),)


def node_value(record: NodeRecord, generation: int, links: Links) -> bytes:
    """The node map's value."""
    return abi.Node(
        _address(record.addr4),
        _address(record.addr6),
        record.netns_cookie,
        generation,
        *record.nat_ports,
        *record.node_ports,
        links.tunnel,
        record.tunnel_vni,
        record.tunnel_port,
        record.flags,
        links.cutter,
    ).pack()


def _address(address: Address | None) -> IPv6Address:
    return IPv6Address(0) if address is None else mapped(address)
