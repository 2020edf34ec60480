"""A node with two pods and a neighbour, made of network namespaces, and what its maps say of them.

The node is the first namespace, the neighbour is on its only uplink. The first pod, the neighbour and the node's
own process are the clients of one service; the second pod is its backend.
"""

import subprocess
from collections.abc import Iterable
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from socket import IPPROTO_SCTP, IPPROTO_TCP, IPPROTO_UDP, if_nametoindex

from agent.model.address import Address, link_local, mapped
from agent.netlink.cookie import netns_cookie
from maps import abi, maglev
from maps.percpu import PerCpuTable
from maps.table import Table

HOST_MAC = abi.NODE_MAC.hex(":")  # of the node's end of every pod's veth
NODE_PORT = 30080
SERVICE_PORT, BACKEND_PORT = 80, 8080
SET_ID = 1
NAT_PORTS, NODE_PORTS = (20000, 20999), (30000, 32767)


@dataclass(frozen=True, slots=True)
class Family:
    """The addresses of one family."""

    service: Address
    empty: Address  # a service without a backend
    node: Address
    client: Address  # a pod
    backend: Address  # a pod
    outside: Address
    elsewhere: Address  # of the node, where other ways lead
    gateway: Address  # of pods: an address of nobody's
    bits: int
    at_once: str  # how ip is told not to look for another's use of an address first


IPV4 = Family(
    service=IPv4Address("10.96.0.1"),
    empty=IPv4Address("10.96.0.2"),
    node=IPv4Address("192.0.2.1"),
    client=IPv4Address("10.1.0.2"),
    backend=IPv4Address("10.1.0.3"),
    outside=IPv4Address("192.0.2.2"),
    elsewhere=IPv4Address("198.51.100.1"),
    gateway=IPv4Address("169.254.1.1"),
    bits=32,
    at_once="",
)
IPV6 = Family(
    service=IPv6Address("fd96::1"),
    empty=IPv6Address("fd96::2"),
    node=IPv6Address("2001:db8::1"),
    client=IPv6Address("fd01::2"),
    backend=IPv6Address("fd01::3"),
    outside=IPv6Address("2001:db8::2"),
    elsewhere=IPv6Address("2001:db8:1::1"),
    gateway=link_local(abi.NODE_MAC),
    bits=128,
    at_once="nodad",
)
FAMILIES = (IPV4, IPV6)
PODS = {"client": "02:00:00:00:00:02", "backend": "02:00:00:00:00:03"}


def device(pod: str) -> str:
    """The node's end of a pod's veth."""
    return f"swp{pod}"


def build() -> None:
    """Make namespaces, veths, addresses and routes."""
    lines = ["netns add outside", "link add uplink type veth peer name eth0 netns outside", "link set uplink up"]
    lines += [f"address add {f.node}/{f.bits - 8} dev uplink {f.at_once}" for f in FAMILIES]
    for name, mac in PODS.items():
        veth = f"link add {device(name)} address {HOST_MAC} type veth peer name eth0 netns {name} address {mac}"
        lines += [f"netns add {name}", veth, f"link set {device(name)} up"]
        for f in FAMILIES:
            lines.append(f"route add {_address(f, name)}/{f.bits} dev {device(name)}")
            lines.append(f"neighbour add {_address(f, name)} lladdr {mac} dev {device(name)} nud permanent")
    _ip(lines)
    for name in PODS:
        inside = ["link set lo up", "link set eth0 up"]
        for f in FAMILIES:
            inside.append(f"address add {_address(f, name)}/{f.bits} dev eth0 {f.at_once}")
            inside.append(f"neighbour add {f.gateway} lladdr {HOST_MAC} dev eth0 nud permanent")
            inside.append(f"route add default via {f.gateway} dev eth0 onlink")
        _ip(inside, name)
    _ip(
        ["link set eth0 up", *(f"address add {f.outside}/{f.bits - 8} dev eth0 {f.at_once}" for f in FAMILIES)],
        "outside",
    )
    for setting in ("ipv4/ip_forward", "ipv6/conf/all/forwarding"):
        Path("/proc/sys/net", setting).write_text("1")


def fill(folder: Path) -> None:
    """Write the node, its pods and the service into the maps pinned in *folder*."""
    backends = [mapped(f.backend) for f in FAMILIES]
    for n, address in enumerate(backends):
        _back(folder, SET_ID + n, address, BACKEND_PORT)
    Table.open(abi.SERVICES, folder / "services").update(
        (abi.ServiceKey(address, port, protocol, scope), abi.Service(SET_ID + n, 0, backends, 1, 0, 0, 0))
        for protocol in (IPPROTO_TCP, IPPROTO_UDP, IPPROTO_SCTP)
        for n, f in enumerate(FAMILIES)
        for address, port, scope, backends in (
            (mapped(f.service), SERVICE_PORT, abi.Scope.SCOPE_INTERNAL, 1),
            (mapped(f.empty), SERVICE_PORT, abi.Scope.SCOPE_INTERNAL, 0),
            (mapped(type(f.node)(0)), NODE_PORT, abi.Scope.SCOPE_EXTERNAL, 1),
        )
    )
    Table.open(abi.ATTACHMENTS, folder / "attachments").update(
        (slot, abi.Attachment(if_nametoindex(device(name)), slot, slot, bytes.fromhex(mac.replace(":", "")), 0, 0))
        for slot, (name, mac) in enumerate(PODS.items(), start=1)
    )
    Table.open(abi.UPLINKS, folder / "uplinks").update(
        [(if_nametoindex("uplink"), abi.Uplink(mapped(IPV4.node), mapped(IPV6.node)))]
    )
    pods = (
        (mapped(_address(f, name)), abi.Endpoint(slot, 0)) for slot, name in enumerate(PODS, start=1) for f in FAMILIES
    )
    own = ((mapped(f.node), abi.Endpoint(0, abi.EndpointFlag.ENDPOINT_NODE)) for f in FAMILIES)
    Table.open(abi.ENDPOINTS, folder / "endpoints").update([*pods, *own])
    node = abi.Node(mapped(IPV4.node), mapped(IPV6.node), netns_cookie(), 1, *NAT_PORTS, *NODE_PORTS, 0, 0, 0, 0, 0)
    Table.open(abi.NODE, folder / "node").update([(0, node)])


def offer_node_port(folder: Path, port: int, backends: Iterable[Address], backend_port: int) -> None:
    """Have a node port lead to an address of each family on this node."""
    for n, (f, backend) in enumerate(zip(FAMILIES, backends, strict=True), start=port):
        _back(folder, n, mapped(backend), backend_port)
        Table.open(abi.SERVICES, folder / "services").update(
            (
                abi.ServiceKey(mapped(type(f.node)(0)), port, protocol, abi.Scope.SCOPE_EXTERNAL),
                abi.Service(n, 0, 1, 1, 0, 0, 0),
            )
            for protocol in (IPPROTO_TCP, IPPROTO_UDP)
        )


def _back(folder: Path, set_id: int, address: IPv6Address, port: int) -> None:
    """A set of one backend of this node."""
    (slots,) = maglev.tables([(address, port)], [0])
    entry = abi.Backend(addr=address, port=port, flags=abi.BackendFlag.BACKEND_LOCAL, weight=1)
    Table.open(abi.BACKENDS, folder / "backends").update([(abi.BackendKey(set_id, 0), entry)])
    Table.open(abi.MAGLEVS, folder / "maglevs").update([(abi.MaglevKey(set_id, 0), abi.Maglev(slots))])


def masquerade(folder: Path) -> None:
    """Have pods leave under the uplink's addresses, which are not those that the node has for other ways."""
    nodes = Table.open(abi.NODE, folder / "node")
    node = nodes.get(0)
    assert node
    elsewhere = (mapped(IPV4.elsewhere), mapped(IPV6.elsewhere))
    other = replace(node, addr4=elsewhere[0], addr6=elsewhere[1], flags=node.flags | abi.NodeFlag.NODE_MASQUERADE)
    nodes.update([(0, other)])


def limit(folder: Path, rate: int, keep_time: Iterable[int]) -> None:
    """Keep what the client pod sends to *rate* bits per second; devices that *keep_time* have it wait."""
    none, seconds = abi.Limit(0, 0, 0), 10
    pod = abi.AttachmentLimits(none, abi.Limit(rate, seconds * 10**9, 0))
    Table.open(abi.LIMITS, folder / "limits").update([(1 + list(PODS).index("client"), pod)])
    paced = Table.open(abi.PACED_DEVICES, folder / "paced_devices")
    paced.update((ifindex, abi.PacedDevice(1)) for ifindex in keep_time)
    nodes = Table.open(abi.NODE, folder / "node")
    node = nodes.get(0)
    assert node
    nodes.update([(0, replace(node, flags=node.flags | abi.NodeFlag.NODE_LIMITS | abi.NodeFlag.NODE_PACED))])


def counted(folder: Path) -> dict[str, int]:
    """Packets by program, direction and reason, as "PROGRAM_POD DIRECTION_INGRESS DROP_NONE"; zeros left out."""
    names = {}
    for index, counter in PerCpuTable.open(abi.COUNTERS, folder / "counters").items():
        hook, reason = divmod(index, abi.COUNTER_REASONS)
        program, direction = divmod(hook, abi.Direction.DIRECTIONS)
        if counter.packets:
            name = f"{abi.Program(program).name} {abi.Direction(direction).name} {abi.DropReason(reason).name}"
            names[name] = counter.packets
    return names


def _address(family: Family, pod: str) -> Address:
    return family.client if pod == "client" else family.backend


def _ip(lines: list[str], namespace: str = "") -> None:
    """Run ip once for all lines."""
    inside = ["-n", namespace] if namespace else []
    subprocess.run(["ip", *inside, "-batch", "-"], input="\n".join(lines), text=True, check=True)
