"""The node's own records: its addresses, the devices that keep time, and what its translated packets are sent from."""

from collections.abc import Collection, Container, Iterable, Iterator
from ipaddress import IPv6Address

from agent.compile.context import NodeContext
from agent.compile.endpoint import node_endpoints
from agent.compile.limit import is_limited, paced_records
from agent.compile.node_port import loopback_flags, node_port_addresses
from agent.compile.records import Owner, OwnerKind, Records
from agent.compile.service_device import room_problems
from agent.compile.settings import Settings
from agent.compile.tunnel import TunnelLinks
from agent.model.address import Address, mapped
from agent.model.local import Device, Local
from agent.model.name import ObjectName, Problem
from agent.model.node import Node
from agent.model.ports import Ports
from maps import abi
from maps.record import Packed

FIRST_PORT, LAST_PORT = 1024, 65535  # below are the privileged ones
NO_PORTS: Ports = (0, 0)
WITHOUT_ETHERNET = (
    "its packets have no Ethernet header, as WireGuard's and TUN's, and pass the programs by: node ports, external"
    " addresses and masquerading do not work there; give the Node an InternalIP of another device, or name the uplinks"
    " by --devices"
)
IPV6 = 6
NODE_KEY = abi.NODE.key.pack(0)


def node_owner(settings: Settings) -> Owner:
    """This node as an owner of records."""
    return Owner(OwnerKind.NODE, settings.node_name)


def node_records(
    context: NodeContext, local: Local, settings: Settings, links: TunnelLinks, uplinks: Collection[Device] = ()
) -> Records:
    """The node's records. Its revision, which only reconcile knows, is 0 in them."""
    has_limits = any(map(is_limited, local.attachments))
    paced = paced_records(local.devices) if has_limits else {}
    return Records.of(
        {
            "paced_devices": paced,
            "uplinks": _uplinks(uplinks),
            "own_macs": _own_macs(local.devices, {device.ifindex for device in uplinks}),
            "endpoints": node_endpoints(
                context.addresses,
                context.attached,
                local.devices,
                node_port_addresses(context.addresses, context.node, settings.node_port_addresses),
            ),
            "kept_ports": {NODE_KEY: kept_ports(_taken(local, settings))},
            "node": {NODE_KEY: _node(context.node, local, settings, links, _limit_flags(paced, has_limits=has_limits))},
        }
    )


def node_problems(
    settings: Settings, local: Local, node: Node, uplinks: Iterable[Device], unserved: Iterable[Device]
) -> tuple[Problem, ...]:
    """What is wrong with the node itself; *unserved* would be uplinks if they had Ethernet headers."""
    if not local.netns_cookie:
        return ()
    name = ObjectName("", settings.node_name)
    wants_ipv6 = any(cidr.version == IPV6 for cidr in node.pod_ranges)
    return (
        *_port_problems(settings, local, name),
        *(_ipv6_problems(local, uplinks, name) if wants_ipv6 else ()),
        *(Problem("Node", name, f"device {device.name}", WITHOUT_ETHERNET) for device in unserved),
        *room_problems(local.devices, settings),
    )


def _ipv6_problems(local: Local, uplinks: Iterable[Device], name: ObjectName) -> Iterator[Problem]:
    """Why pods have less of IPv6 than the Node's pod CIDRs promise."""
    if not local.has_ipv6:
        text = "this node's kernel runs without IPv6 (ipv6.disable=1): its pods get IPv4 addresses alone"
        yield Problem("Node", name, "spec.podCIDRs", text)
        return
    text = "is 1: no IPv6 packet of a pod gets past this node by this device; set it to 0"
    for device in uplinks:
        if not device.has_ipv6:
            yield Problem("Node", name, f"net.ipv6.conf.{device.name}.disable_ipv6", text)


def _port_problems(settings: Settings, local: Local, name: ObjectName) -> tuple[Problem, ...]:
    if nat_ports(_taken(local, settings)) != NO_PORTS:
        return ()
    text = (
        "leaves no port, beside node ports and reserved ones, to translate connections from: they are dropped"
        f" (nat_ports); leave some of {FIRST_PORT}-{LAST_PORT} free, say by 32768 60999"
    )
    return (Problem("Node", name, "net.ipv4.ip_local_port_range", text),)


def source(node: Node, devices: Iterable[Device], version: int) -> Address | None:
    """The address that translated packets come from where their route gives none; None: there is none of the family.

    It is the Node's first that a device has, else one of a default route's device, else the Node's first.
    """
    every = tuple(devices)
    held = {address for device in every for address in device.addresses}
    ways = (a for device in every if device.default_route for a in device.addresses if not a.is_link_local)
    candidates = (*(ip for ip in node.internal_ips if ip in held), *ways, *node.internal_ips)
    return next((address for address in candidates if address.version == version), None)


def _uplinks(devices: Iterable[Device]) -> Packed:
    """The devices that the programs are on, with the address of each family that suits what leaves by them."""
    return {
        abi.UPLINKS.key.pack(d.ifindex): abi.Uplink(*(_address(_source(d, v)) for v in (4, 6))).pack() for d in devices
    }


def _own_macs(devices: Iterable[Device], uplinks: Container[int]) -> Packed:
    """The MACs under which this node is sent frames; at the other end of a veth is somebody else."""
    own = (d for d in devices if d.mac and (d.kind != "veth" or d.ifindex in uplinks))
    return {abi.MacKey(device.mac).pack(): abi.OwnMac(device.ifindex).pack() for device in own}


def _source(device: Device, version: int) -> Address | None:
    return next((address for address in device.sources if address.version == version), None)


def nat_ports(taken: Iterable[Ports]) -> Ports:
    """The widest range of ports that nobody else takes, the lower of two; NO_PORTS when there is none."""
    gaps: list[Ports] = []
    start = FIRST_PORT
    for low, high in (*sorted(taken), (LAST_PORT + 1, LAST_PORT + 1)):
        if low > start:
            gaps.append((start, low - 1))
        start = max(start, high + 1)
    return max(gaps, key=lambda gap: gap[1] - gap[0], default=NO_PORTS)


def kept_ports(taken: Iterable[Ports]) -> bytes:
    """The ports that nobody takes, as the map has them: what is asked outside under such a port may keep it."""
    free = (1 << LAST_PORT + 1) - 2
    for low, high in taken:
        free &= ~((1 << high + 1) - (1 << low))
    return free.to_bytes(abi.KeptPorts.SIZE, "little")


def _taken(local: Local, settings: Settings) -> tuple[Ports, ...]:
    """Ports on which answers would not be a translated flow's: own sockets', services', pods', the tunnel's."""
    host_ports = ((port.host_port,) * 2 for pod in local.attachments for port in pod.host_ports)
    tunnel = (settings.network.udp_port,) * 2  # 0 without one, below all that is given
    return (local.port_range, settings.node_ports, tunnel, *local.reserved_ports, *host_ports)


def _limit_flags(paced: Packed, *, has_limits: bool) -> abi.NodeFlag:
    found = abi.NodeFlag.NODE_LIMITS if has_limits else abi.NodeFlag(0)
    return found | abi.NodeFlag.NODE_PACED if paced else found


def _node(node: Node, local: Local, settings: Settings, links: TunnelLinks, flags: abi.NodeFlag) -> bytes:
    network = settings.network
    return abi.Node(
        _address(source(node, local.devices, 4)),
        _address(source(node, local.devices, 6)),
        local.netns_cookie,
        0,
        *nat_ports(_taken(local, settings)),
        *settings.node_ports,
        links.tunnel,
        network.vni if network.has_tunnel else 0,
        network.udp_port,
        network.flags | flags | settings.flags | loopback_flags(settings.node_port_addresses),
        links.segmenter,
    ).pack()


def _address(address: Address | None) -> IPv6Address:
    return IPv6Address(0) if address is None else mapped(address)
