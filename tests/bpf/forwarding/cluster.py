"""Nodes beside which clients outside keep their addresses, and what is sent between them."""

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from ipaddress import ip_address

import pytest
from scapy.layers.inet import IP, TCP, IPOption
from scapy.layers.inet6 import IPv6, IPv6ExtHdrDestOpt
from scapy.layers.l2 import Ether
from scapy.packet import Packet, Raw

from maps import abi, mapio
from maps.abi import FlowFlag, NodeFlag, PrefixFlag, Scope, ServiceFlag
from tests.bpf.datapath import (
    CLIENT,
    CLIENT6,
    GATEWAY_MAC,
    NODE,
    NODE6,
    OTHER,
    OTHER6,
    POD,
    POD6,
    REMOTE,
    REMOTE6,
    VIP,
    VIP6,
    Datapath,
    addr,
    datagram,
    frame,
    prefix_key,
    syn,
)
from tests.bpf.packets import ip_of

FAR, FAR6, THIRD, THIRD6, STRANGER = "10.88.0.12", "fd88::12", "10.88.0.13", "fd88::13", "10.88.0.99"
FAR_ID, THIRD_ID = 1, 2
MTU = 1480
CLIENTS = 7  # a class of peers
NODE_PORT, TARGET = 30080, 8080
ASKED = {4: "192.0.2.80", 6: "2001:db8::80"}  # an external address at the first node
ASKED_PORT = 443
ROUTER = {4: "203.0.113.77", 6: "2001:db8:9::1"}  # on the way to the client
ROUTER_MAC = "02:00:00:00:00:99"
TUNNEL, DSR = ServiceFlag.SERVICE_TUNNEL, ServiceFlag.SERVICE_TUNNEL | ServiceFlag.SERVICE_DSR
OPTION = {4: 8, 6: 24}  # octets
UDP_HEADERS = {4: 28, 6: 48}
Told = tuple[str, int] | None
Kind = Callable[..., Packet]


@dataclass(frozen=True)
class Family:
    """Who there is of one family."""

    version: int
    client: str
    own: str
    pod: str
    other: str
    vip: str
    remote: str
    far: str
    third: str
    anywhere: str


V4 = Family(4, CLIENT, NODE, POD, OTHER, VIP, REMOTE, FAR, THIRD, "0.0.0.0")
V6 = Family(6, CLIENT6, NODE6, POD6, OTHER6, VIP6, REMOTE6, FAR6, THIRD6, "::")
FAMILIES = pytest.mark.parametrize("family", [pytest.param(V4, id="IPv4"), pytest.param(V6, id="IPv6")])
TRANSPORTS = pytest.mark.parametrize("kind", [pytest.param(syn, id="TCP"), pytest.param(datagram, id="UDP")])
WAYS = pytest.mark.parametrize("flags", [pytest.param(TUNNEL, id="tunnel"), pytest.param(DSR, id="dsr")])


def cluster(node: Datapath, carrier: int, *, natively: bool) -> None:
    """Two other nodes, the first with pods, behind the tunnel or where the kernel's routes lead."""
    node.node(tunnel=carrier, flags=NodeFlag.NODE_IPIP)
    node.tables["remotes"].update([(FAR_ID, abi.Remote(addr(FAR))), (THIRD_ID, abi.Remote(addr(THIRD)))])
    pods = {FAR_ID: ("10.244.2.0/24", "fd00:2::/64"), THIRD_ID: ("10.244.3.0/24", "fd00:3::/64")}
    nodes = {FAR_ID: (FAR, FAR6), THIRD_ID: (THIRD, THIRD6)}
    for number, own in nodes.items():
        ranges = [(network, PrefixFlag(0)) for network in pods[number]]
        ranges += [(f"{one}/{128 if ':' in one else 32}", PrefixFlag.PREFIX_NODE) for one in own]
        for network, flag in ranges:
            record = abi.Prefix(0 if natively else number, flag, 100 + number, number)
            node.tables["prefixes"].update([(prefix_key(network), record)])
    node.forget_locations()


def offer(
    node: Datapath,
    family: Family,
    flags: ServiceFlag,
    kind: Kind = syn,
    port: int = NODE_PORT,
    backend: tuple[str, int, bool] | None = None,
) -> None:
    """A node port whose backend is a pod of the other node, if not given."""
    protocol = 6 if kind is syn else 17
    found = backend or (family.remote, TARGET, False)
    node.service(family.anywhere, port, [found], protocol=protocol, scope=Scope.SCOPE_EXTERNAL, flags=flags)


def asked(family: Family, l4: Packet) -> Packet:
    """What the client sends to the first node."""
    return frame(family.client, family.own, l4, mac=ROUTER_MAC)


def inside(packet: Packet) -> Packet:
    """What a packet has behind its outer header."""
    return Ether(bytes(Ether(src=ROUTER_MAC, dst=GATEWAY_MAC) / packet.payload.payload))


def outer(packet: Packet) -> tuple[str, str]:
    """The outer header's addresses."""
    return packet.payload.src, packet.payload.dst


def wrapped(inner: Packet, src: str = FAR, dst: str = NODE) -> Packet:
    """A packet as another node encapsulates it; scapy knows the protocol's number."""
    return Ether(bytes(Ether(src=ROUTER_MAC, dst=GATEWAY_MAC) / IP(src=src, dst=dst, flags="DF") / inner.payload))


def told(packet: Packet) -> Told:
    """The service that the option of a packet names; None: there is none."""
    octets = bytes(ip_of(packet))
    if IPv6 in packet:
        if octets[6] != 60:  # destination options
            return None
        assert octets[41:44] == bytes((2, 0x1E, 18))
        return str(ip_address(octets[44:60])), int.from_bytes(octets[60:62], "big")
    if octets[0] == 0x45:
        return None
    assert (octets[0], octets[20:22]) == (0x47, b"\x9e\x08")
    return str(ip_address(octets[24:28])), int.from_bytes(octets[22:24], "big")


def telling(family: Family, l4: Packet, service: str = "", port: int = ASKED_PORT, src: str = "") -> Packet:
    """What the client's node sends inside to the pod, with the option."""
    named, number = ip_address(service or ASKED[family.version]), port.to_bytes(2, "big")
    src = src or family.client
    if family.version == 4:
        options = [IPOption(b"\x9e\x08" + number + named.packed)]
        whole: Packet = IP(src=src, dst=family.pod, options=options) / l4
    else:
        option = Raw(b"\x1e\x12" + named.packed + number + b"\x01\x00")
        header = bytes((6 if TCP in l4 else 17, 2)) + bytes(option)
        bare = IPv6(bytes(IPv6(src=src, dst=family.pod) / l4))
        bare.nh, bare.plen = 60, bare.plen + len(header)
        whole = IPv6(bytes(bare)[:40] + header + bytes(bare)[40:])
        assert IPv6ExtHdrDestOpt in whole
    return Ether(bytes(Ether(src=ROUTER_MAC, dst=GATEWAY_MAC) / whole))


def flags_of(node: Datapath) -> set[FlowFlag]:
    """The flags of all entries, but for how far they are."""
    fixed = FlowFlag.FLOW_FORWARD | FlowFlag.FLOW_REVERSE | FlowFlag.FLOW_TUNNEL | FlowFlag.FLOW_DSR
    return {FlowFlag(flow.flags) & fixed for _, flow in node.tables["flows"].items()}


def age(node: Datapath, seconds: float) -> None:
    """Have all flows be idle so long."""
    units = int(seconds * 1e9) >> abi.SEEN_BITS
    table = node.tables["flows"]
    table.update([(k, replace(f, seen_s=(f.seen_s - units) % 2**32)) for k, f in list(table.items())])
    mapio.update(node.copies, bytes(4), os.urandom(8), 1)
