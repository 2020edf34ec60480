"""What the program at XDP makes of packets, and what it keeps of them."""

from dataclasses import replace

import pytest
from scapy.layers.inet import UDP
from scapy.packet import Packet, Raw

from maps import abi, mapio
from tests.bpf.datapath import XDP_PASS, Datapath, Outcome, data, datagram, syn

SENT = {("PROGRAM_XDP", "DIRECTION_INGRESS", "DROP_NONE"): 1}
DENIED = {("PROGRAM_XDP", "DIRECTION_INGRESS", "DROP_DENIED_PREFIX"): 1}
ETHERNET = 14


def bare(sport: int = 40000, dport: int = 53) -> Packet:
    """A UDP datagram without a checksum, as IPv4 allows it."""
    return UDP(sport=sport, dport=dport, chksum=0) / Raw(b"bare")


TRANSPORTS = [
    pytest.param(6, syn, id="TCP"),
    pytest.param(6, data, id="TCP with data"),
    pytest.param(17, datagram, id="UDP"),
]


def turn(node: Datapath, *, seen_s: int) -> None:
    """Have every neighbour that was sent to last have had a packet by tc at that time; its ways are to be asked for."""
    ways = abi.MAPS["known_ways"]
    keys = b"".join(index.to_bytes(4, "little") for index in range(ways.max_entries))
    mapio.update(
        node.objects["xdp"].map_fd(ways.name), keys, bytes(ways.value.SIZE * ways.max_entries), ways.max_entries
    )
    fd = node.objects["xdp"].map_fd("neighbor_turns")
    for keys, values in mapio.read(fd, 4, 12, 1024):
        own = [values[i : i + 8] + seen_s.to_bytes(4, "little") for i in range(0, len(values), 12)]
        mapio.update(fd, keys, b"".join(own), len(own))


def at_xdp(node: Datapath, packet: Packet, device: int) -> Outcome:
    """What the program at XDP makes of what comes in."""
    return node.run("uplink_xdp", packet, device)


def left_to_tc(node: Datapath, packet: Packet, device: int) -> None:
    """At XDP the packet stays what it is, and nothing is written down of it."""
    before = flows(node)
    passed = at_xdp(node, packet, device)
    assert (passed.verdict, dict(passed.reasons)) == (XDP_PASS, {})
    assert bytes(passed.packet) == bytes(packet)
    assert flows(node) == before


def flows(node: Datapath) -> dict[abi.FlowKey, abi.Flow]:
    """What is known of flows, but when they were last seen."""
    return {key: replace(flow, seen_s=0) for key, flow in node.tables["flows"].items()}
