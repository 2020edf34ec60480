"""The Python half of ``stream.bpf.c``: which packets come, and how many arrived as they should."""

import ctypes
import os
import struct
from dataclasses import dataclass
from functools import cached_property
from ipaddress import IPv4Address
from pathlib import Path
from types import TracebackType
from typing import Self

from bench import tools
from maps import libbpf, mapio
from maps.object import Object

TCP, UDP = 6, 17
SYN, ACK = 2, 16
GATEWAY_MAC = bytes.fromhex("ee" * 6)
FRAME = 60  # octets: Ethernet's smallest, without its check sequence
_HEADERS = 54
_STREAM = struct.Struct(f"=9I4sI2s{_HEADERS}s")
_SKB = struct.Struct("=40xI148x")  # struct __sk_buff with an ifindex
_XDP_MD = struct.Struct("=6I")
_STEP = 7919  # a prime: neighbours in the stream are none in a table that was filled in order
_LIVE_FRAMES = 2
_BPF_MAP_UPDATE_ELEM = 2
_SYSCALL = {"x86_64": 321, "aarch64": 280}
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class Packets:
    """What a stream's packets are: from one pod, over *ports* source ports to *hosts* addresses in a row."""

    source: IPv4Address
    mac: bytes
    destination: IPv4Address
    dport: int
    protocol: int = UDP
    tcp_flags: int = ACK
    ports: int = 1
    port_first: int = 1024
    hosts: int = 1
    to: bytes = GATEWAY_MAC
    in_order: bool = False  # else neighbours in the stream are far apart

    def step(self, end: int) -> int:
        """How far to go from one of *end* ports or hosts to the next, so that all come before the first again."""
        return 1 if self.in_order else _STEP % end or 1

    def frame(self) -> bytes:
        """The first packet, complete but for the transport's checksum."""
        if self.protocol == UDP:
            transport = struct.pack("!4H", self.port_first, self.dport, FRAME - 34, 0)
        else:
            transport = struct.pack(
                "!2H2I2B3H", self.port_first, self.dport, 1, 1, 0x50, self.tcp_flags, 512, 0x1234, 0
            )
        pair = self.source.packed + self.destination.packed
        ip = struct.pack("!2B3H2BH", 0x45, 0, FRAME - 14, 0, 0x4000, 64, self.protocol, 0) + pair
        ip = ip[:10] + (~_sum(ip) & 0xFFFF).to_bytes(2, "big") + ip[12:]
        return (self.to + self.mac + b"\x08\x00" + ip + transport).ljust(FRAME, b"\0")

    def check(self) -> int:
        """The sum that UDP's checksum is made of, without the source port, not complemented."""
        udp = self.frame()[34:]
        pseudo = self.source.packed + self.destination.packed + struct.pack("!2H", UDP, len(udp))
        return _sum(pseudo + b"\0\0" + udp[2:])


class Stream:
    """The loaded programs of ``stream.bpf.c``, with one stream."""

    def __init__(self, folder: Path) -> None:
        self._object = Object.open(tools.bpf_object("stream", folder))
        self._object.load()
        self._frame = b""

    def set(self, packets: Packets, *, device: int = 0, expect: tuple[IPv4Address, int] | None = None) -> None:
        """Begin a stream, for :meth:`generate` out of *device*; *expect* is where its packets go in the end."""
        self._frame = packets.frame()
        address, port = expect or (packets.destination, packets.dport)
        ports = (packets.ports, packets.port_first, packets.ports - 1, packets.step(packets.ports))
        hosts = (packets.hosts, int(packets.destination), packets.hosts - 1, packets.step(packets.hosts))
        ends = (device, address.packed, packets.check(), port.to_bytes(2, "big"))
        record = _STREAM.pack(*ports, *hosts, *ends, self._frame[:_HEADERS])
        _, failed = mapio.update(self._object.map_fd("streams"), bytes(4), record, 1)
        libbpf.check(-failed, "set the stream")

    def run(self, program_fd: int, repeat: int, ifindex: int) -> libbpf.TestRun:
        """The mean time of *program_fd* behind :attr:`fresh`, in which that is contained; see :meth:`nothing`."""
        tail_call(self._object.map_fd("next"), program_fd)
        return libbpf.test_run(self._object.program_fd("fresh"), self._frame, context=_SKB.pack(ifindex), repeat=repeat)

    @cached_property
    def nothing(self) -> int:
        """A program that does nothing, to be run for comparison."""
        return self._object.program_fd("nothing")

    @property
    def sink(self) -> int:
        """The program that counts, and drops, what arrives."""
        return self._object.program_fd("sink")

    @property
    def take(self) -> int:
        """The XDP program for the device that receives generated frames; it lets everything pass."""
        return self._object.program_fd("take")

    def generate(self, count: int) -> int:
        """Send *count* frames as fast as it goes; returns the ns of each. In the network namespace of the device.

        The time is the kernel's own. That of the call has another 24 ms in it, whatever the count, in which the kernel
        makes and removes what the frames are held in.
        """
        program, context = self._object.program_fd("generate"), _XDP_MD.pack(0, FRAME, 0, 1, 0, 0)
        return libbpf.test_run(program, self._frame, context=context, repeat=count, flags=_LIVE_FRAMES).duration_ns

    def arrived(self) -> tuple[int, int]:
        """How many packets came as expected since the programs were loaded, and how many otherwise."""
        cpus = libbpf.possible_cpus()
        found = mapio.lookup(self._object.map_fd("arrivals"), bytes(4), 16 * cpus) or b""
        each = struct.unpack(f"={2 * cpus}Q", found)
        return sum(each[::2]), sum(each[1::2])

    def close(self) -> None:
        """Let the kernel have the programs back."""
        self._object.close()

    def __enter__(self) -> Self:
        """The stream, closed at the end of the block."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""
        self.close()


def _sum(octets: bytes) -> int:
    """The Internet checksum's sum (RFC 1071), folded."""
    total: int = sum(struct.unpack(f"!{len(octets) // 2}H", octets))
    total = (total & 0xFFFF) + (total >> 16)
    return (total & 0xFFFF) + (total >> 16)


def tail_call(map_fd: int, program_fd: int) -> None:
    """Put a program into an array of programs, which takes no batches."""
    key, value = ctypes.c_uint32(0), ctypes.c_uint32(program_fd)
    attributes = ctypes.create_string_buffer(
        struct.pack("=I4x3Q", map_fd, ctypes.addressof(key), ctypes.addressof(value), 0)
    )
    call = _libc.syscall(_SYSCALL[os.uname().machine], _BPF_MAP_UPDATE_ELEM, attributes, len(attributes.raw) - 1)
    if call:
        raise OSError(ctypes.get_errno(), "put a program into an array of programs")
