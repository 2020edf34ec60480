"""What bench/xdp.py measures on: a node with one device, its programs with a service, and the programs around them."""

import os
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Self

from agent.compile.node import kept_ports
from agent.model.address import mapped
from bench import tools
from bench.plane import Plane
from bench.stream import UDP, tail_call
from bench.testbed import PREFIX, Testbed
from maps import abi, libbpf, maglev, mapio
from maps.object import Object

NODE_MAC, ROUTER_MAC, PEER_MAC = (f"02:00:00:00:88:{n:02x}" for n in (0x11, 0x01, 0x12))
CLIENT, CLIENT6 = IPv4Address("192.0.2.7"), IPv6Address("2001:db8::7")
OWN, OWN6 = IPv4Address("10.88.0.11"), IPv6Address("fd88::11")
BACKENDS = tuple(IPv4Address("10.244.2.8") + n for n in range(4))
BACKENDS6 = tuple(IPv6Address("fd00:2::8") + n for n in range(4))
NODE_PORT, BACKEND_PORT = 30080, 8080
PORTS = (1024, 65535)  # for translation, in which each backend has room for 64,000 flows
XDP_TX = 3
HEADERS, BEGIN = 62, 1024  # of xdp.bpf.c
_FLOW_KEY, _STREAM = struct.Struct("=16s16s2s2sI"), struct.Struct(f"=5I{HEADERS}s2x")
_SERVICE, _MD = struct.Struct("=16s64s2s2xI"), struct.Struct("=6I")
WIRE = f"""
link add n0 address {NODE_MAC} type veth peer name p0 address {ROUTER_MAC} netns {{wire}}
link set n0 up
address add {OWN}/24 dev n0
address add {OWN6}/64 dev n0 nodad
route add default via 10.88.0.1
route add 10.244.2.0/24 via 10.88.0.12
route add default via fd88::1
route add fd00:2::/64 via fd88::12
neighbour add 10.88.0.1 lladdr {ROUTER_MAC} dev n0 nud permanent
neighbour add 10.88.0.12 lladdr {PEER_MAC} dev n0 nud permanent
neighbour add fd88::1 lladdr {ROUTER_MAC} dev n0 nud permanent
neighbour add fd88::12 lladdr {PEER_MAC} dev n0 nud permanent
"""


class Wire(Testbed):
    """A node with one device, ``n0``, whose other end is ``p0`` in the namespace ``wire``."""

    __slots__ = ()


@contextmanager
def one_device(label: str) -> Iterator[Wire]:
    """The namespaces, removed at the end of the block."""
    bed = Wire(f"{os.getpid()}-{label}")
    try:
        for member in ("wire", "node"):
            subprocess.run(["ip", "netns", "add", PREFIX + f"{bed.name}-{member}"], check=True)
            bed.run(member, "ip", "link", "set", "lo", "up")
        bed.sysctls("node", {"ipv4/ip_forward": "1", "ipv6/conf/all/forwarding": "1", "ipv4/conf/all/rp_filter": "0"})
        bed.sysctls("node", {"ipv4/conf/default/rp_filter": "0", "ipv4/conf/all/send_redirects": "0"})
        bed.sysctls("node", {"ipv4/conf/default/send_redirects": "0"})
        bed.run("node", "ip", "-batch", "-", text=WIRE.format(wire=PREFIX + f"{bed.name}-wire"))
        bed.run("wire", "ip", "link", "set", "p0", "up")
        yield bed
    finally:
        for member in ("wire", "node"):
            if Path(bed.path(member)).exists():
                subprocess.run(["ip", "netns", "del", PREFIX + f"{bed.name}-{member}"], check=True)


def ifindex(bed: Wire, member: str, device: str) -> int:
    """A device's number."""
    return int(bed.run(member, "cat", f"/sys/class/net/{device}/ifindex"))


class Tools:
    """The loaded programs of ``xdp.bpf.c``, with one stream."""

    def __init__(self, folder: Path) -> None:
        self._object = Object.open(tools.bpf_object("xdp", folder))
        self._object.load()
        self._frame = b""

    def program(self, name: str) -> int:
        """A program's fd."""
        return self._object.program_fd(name)

    def set(self, frame: bytes, sport_at: int, ports: int) -> None:
        """Have fresh packets be this one, from so many ports."""
        self._frame = frame
        record = _STREAM.pack(ports, 7919 % ports or 1, 0, sport_at, BACKEND_PORT, frame)
        mapio.update(self._object.map_fd("streams"), bytes(4), record, 1)

    def run(self, program_fd: int, repeat: int, device: int) -> int:
        """The mean ns of a program behind what makes a fresh packet of it; every packet is sent back."""
        tail_call(self._object.map_fd("next"), program_fd)
        context = _MD.pack(0, len(self._frame), 0, device, 0, 0)
        done = libbpf.test_run(self.program("fresh"), self._frame, context=context, repeat=repeat)
        if done.retval != XDP_TX:
            raise SystemExit(f"the packet was not sent back: {done.retval}")
        return done.duration_ns

    def serve(self, own: IPv4Address | IPv6Address, backends: tuple[IPv4Address | IPv6Address, ...]) -> None:
        """Have the bare program know the service at the node's address."""
        key = _FLOW_KEY.pack(bytes(16), mapped(own).packed, bytes(2), NODE_PORT.to_bytes(2, "big"), UDP)
        addresses = b"".join(mapped(a).packed for a in backends)
        value = _SERVICE.pack(mapped(own).packed, addresses, BACKEND_PORT.to_bytes(2, "big"), 0)
        mapio.update(self._object.map_fd("bare_services"), key, value, 1)

    def forget(self) -> None:
        """Have the bare program know no flow."""
        fd = self._object.map_fd("bare_flows")
        info = libbpf.map_info(fd)
        for keys, _ in list(mapio.read(fd, info.key_size, info.value_size, info.max_entries)):
            mapio.delete(fd, keys, len(keys) // info.key_size)

    def arrived(self) -> tuple[int, int]:
        """Datagrams at the end of the wire since the programs were loaded: to backends' port, and others."""
        cpus, fd = libbpf.possible_cpus(), self._object.map_fd("arrivals")
        found = [mapio.lookup(fd, n.to_bytes(4, "little"), 8 * cpus) or b"" for n in (0, 1)]
        right, wrong = (sum(struct.unpack(f"={cpus}Q", each)) for each in found)
        return right, wrong

    def __enter__(self) -> Self:
        """Closed at the end of the block."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self._object.close()


def filled(device: int) -> Plane:
    """The shipped programs for a node's device, which know the service and both families' backends."""
    plane = Plane.load(("tc_uplink", "xdp"))
    node = abi.Node(mapped(OWN), OWN6, 0, 1, *PORTS, 30000, 32767, 0, 0, 0, 0, 0)
    plane.tables["node"].update([(0, node)])
    plane.tables["kept_ports"].update_packed(bytes(4), kept_ports(()), 1)
    own = abi.EndpointFlag.ENDPOINT_NODE | abi.EndpointFlag.ENDPOINT_HELD
    plane.tables["endpoints"].update((mapped(a), abi.Endpoint(0, own)) for a in (OWN, OWN6))
    plane.tables["uplinks"].update([(device, abi.Uplink(mapped(OWN), OWN6))])
    plane.tables["own_macs"].update([(abi.MacKey(bytes.fromhex(NODE_MAC.replace(":", ""))), abi.OwnMac(device))])
    served: tuple[tuple[IPv6Address, tuple[IPv4Address, ...] | tuple[IPv6Address, ...]], ...] = (
        (mapped(IPv4Address(0)), BACKENDS),
        (IPv6Address(0), BACKENDS6),
    )
    for number, (under, backends) in enumerate(served, 1):
        addresses = [mapped(a) for a in backends]
        tables = maglev.tables([(a, BACKEND_PORT) for a in addresses], range(len(addresses)))
        plane.tables["backends"].update(
            (abi.BackendKey(number, slot), abi.Backend(a, BACKEND_PORT, 0, 1)) for slot, a in enumerate(addresses)
        )
        plane.tables["maglevs"].update(
            (abi.MaglevKey(number, part), abi.Maglev(table)) for part, table in enumerate(tables)
        )
        key = abi.ServiceKey(under, NODE_PORT, UDP, abi.Scope.SCOPE_EXTERNAL)
        plane.tables["services"].update([(key, abi.Service(number, 0, len(addresses), len(tables), 0, 0, 0))])
    return plane


def frame(version: int) -> tuple[bytes, int]:
    """A datagram to the service, and where its source port is."""
    client, own = (CLIENT, OWN) if version == 4 else (CLIENT6, OWN6)  # noqa: PLR2004
    octets = HEADERS - 14 - (20 if version == 4 else 40)  # noqa: PLR2004
    udp = struct.pack("!4H", BEGIN, NODE_PORT, octets, 0x1234).ljust(octets, b"\0")
    if version == 4:  # noqa: PLR2004
        ip, kind = struct.pack("!2B3H2BH", 0x45, 0, 20 + octets, 0, 0x4000, 64, UDP, 0), b"\x08\x00"
    else:
        ip, kind = struct.pack("!IHBB", 6 << 28, octets, UDP, 64), b"\x86\xdd"
    macs = bytes.fromhex((NODE_MAC + ROUTER_MAC).replace(":", ""))
    head = macs + kind + ip + client.packed + own.packed
    return head + udp, len(head)
