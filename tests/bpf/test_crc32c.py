"""SCTP's checksum by differences is the one over all that the packet carries, whatever its length."""

import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.sctp import crc32c

from bench import tools
from maps import libbpf
from maps.object import Object

pytestmark = pytest.mark.kernel

POLYNOMIAL = 0x82F63B78  # CRC32c's, its lowest bit x^31
MOST = 0xFFFF  # octets of a packet
Zeros = Callable[[int, int], int]


@pytest.fixture(scope="module")
def zeros(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Zeros]:
    """What a sum becomes by so many octets of zeros, by crc32c.h."""
    with Object.open(tools.bpf_object("crc32c", tmp_path_factory.mktemp("crc32c"), Path(__file__).parent)) as found:
        found.load()
        program = found.program_fd("zeros")
        yield lambda total, octets: libbpf.test_run(program, bytes(14) + struct.pack("=II", total, octets)).retval


def one_more(total: int) -> int:
    """A sum with one octet of zeros more in it, bit by bit."""
    for _ in range(8):
        total = total >> 1 ^ (POLYNOMIAL if total & 1 else 0)
    return total


def checksum(octets: bytes) -> int:
    """The sum of a whole message; scapy's is as it is sent."""
    sent: int = crc32c(octets)  # type: ignore[no-untyped-call]
    return int.from_bytes(sent.to_bytes(4), "little")


def test_any_number_of_zeros_is_what_so_many_single_ones_are(zeros: Zeros) -> None:
    total = begin = 0x9E3779B1
    for octets in range(MOST + 1):
        assert zeros(begin, octets) == total, f"{octets} octets"
        total = one_more(total)


@given(st.binary(min_size=4, max_size=1500), st.binary(min_size=4, max_size=4))
def test_other_ports_are_another_sum(zeros: Zeros, message: bytes, ports: bytes) -> None:
    change = int.from_bytes(message[:4], "little") ^ int.from_bytes(ports, "little")
    by_difference = checksum(message) ^ zeros(change, len(message))
    assert by_difference == checksum(ports + message[4:])
