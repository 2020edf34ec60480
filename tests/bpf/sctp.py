"""SCTP on the node in miniature: packets of one chunk, and the addresses and ports between which they go."""

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from scapy.layers.sctp import SCTP, SCTPChunkData, SCTPChunkInit
from scapy.packet import Packet

from tests.bpf.datapath import (
    CLIENT,
    CLIENT6,
    NODE,
    NODE6,
    OTHER,
    OTHER6,
    OTHER_MAC,
    POD,
    POD6,
    REMOTE,
    REMOTE6,
    VIP,
    VIP6,
    frame,
)
from tests.bpf.packets import addresses
from tests.bpf.uplink import routed

NUMBER, PORT, NODE_PORT, BACKEND_PORT = 132, 2905, 30205, 3905


@dataclass(frozen=True)
class Family:
    """The addresses of one family."""

    pod: str
    vip: str
    backend: str
    own: str  # the node's
    under: str  # node ports' in the map
    client: str  # outside
    remote: str  # a backend of another node


V4 = Family(POD, VIP, OTHER, NODE, "0.0.0.0", CLIENT, REMOTE)
V6 = Family(POD6, VIP6, OTHER6, NODE6, "::", CLIENT6, REMOTE6)
FAMILIES = pytest.mark.parametrize("f", [pytest.param(V4, id="IPv4"), pytest.param(V6, id="IPv6")])
TAG, INIT_TAG = 0x5EEDF00D, 0x0BADCAFE


def init() -> Packet:
    """What begins an association."""
    return SCTPChunkInit(init_tag=INIT_TAG, a_rwnd=106496, n_out_streams=10, n_in_streams=10)


def payload(size: int = 20) -> Packet:
    """A chunk of data, padded to a multiple of four octets."""
    return SCTPChunkData(data=bytes(n % 251 for n in range(size)), beginning=1, ending=1)


def to(dport: int, chunk: Packet, *, sport: int = 40000) -> Packet:
    """A packet of one chunk; one that begins an association has no tag."""
    return SCTP(sport=sport, dport=dport, tag=0 if isinstance(chunk, SCTPChunkInit) else TAG) / chunk


def answer(handed: Packet, chunk: Packet, mac: str = OTHER_MAC) -> Packet:
    """The other end's answer to what it was handed."""
    src, dst = addresses(handed)
    asked = handed[SCTP]
    return frame(dst, src, to(asked.sport, chunk, sport=asked.dport), mac=mac)


def ports(packet: Packet) -> tuple[int, int]:
    """Source and destination port."""
    return packet[SCTP].sport, packet[SCTP].dport


def chunk_of(packet: Packet) -> bytes:
    """What stands behind ports, tag and checksum."""
    return bytes(packet[SCTP])[12:]


@pytest.fixture(scope="module")
def device() -> Iterator[int]:
    """The uplink, in a namespace that has routes."""
    with routed() as ifindex:
        yield ifindex
