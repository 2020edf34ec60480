"""The serial of an entry of the table of flows, without which it is none."""

import struct

from maps import abi


def serial(key: abi.FlowKey, counted: int) -> int:
    """Of an entry under a key, as flow_serial_fresh() makes it (``bpf/dp/conntrack/flow_entry.h``)."""
    words: tuple[int, ...] = struct.unpack("=5Q", abi.FlowKey.pack(key))
    mixed = sum(n * word for n, word in zip((1, 3, 5, 7, 11), words, strict=True)) * 0x9E3779B97F4A7C15
    return mixed % 2**64 >> 32 & 0xFFFF0000 | counted
