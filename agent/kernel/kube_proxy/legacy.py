"""Whether a chain, as kube-proxy's, is in a table of iptables-legacy, which the agent reads and leaves as it is.

The kernel takes such a table whole or not at all: who takes rules out writes all others anew, and so loses what
somebody wrote in between. iptables' own programs keep one another from that by a lock on the host.
"""

import ctypes
import os
import socket
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Final

# linux/netfilter_ipv4/ip_tables.h, linux/netfilter_ipv6/ip6_tables.h; both have the same numbers
_GET_INFO, _GET_ENTRIES = 64, 65
_INFO: Final = struct.Struct("=32s13I")  # struct ipt_getinfo: name, hooks, five offsets twice, entries, their size
_ENTRIES: Final = struct.Struct("=32sI4x")  # struct ipt_get_entries: name, size; entries begin at eight octets
_FAMILIES = {
    "ip_tables_names": (socket.AF_INET, socket.IPPROTO_IP),
    "ip6_tables_names": (socket.AF_INET6, socket.IPPROTO_IPV6),
}
_CHAIN: Final = "KUBE-SERVICES"  # what each mode of kube-proxy has that uses iptables
_libc = ctypes.CDLL(None, use_errno=True)


def tables(chain: str = _CHAIN) -> Iterator[str]:
    """The legacy tables of this network namespace that have *chain*; none where they cannot be read."""
    for listed, (family, level) in _FAMILIES.items():
        try:
            # to ask for a table that is not there would make it
            present = Path("/proc/thread-self/net", listed).read_text().split()
        except OSError:
            continue
        for table in present:
            if chain.encode() + b"\0" in _entries(table, family, level):  # a chain begins with its name
                yield table


def _entries(table: str, family: int, level: int) -> bytes:
    """A table's rules and chains, as the kernel has them; nothing where it says nothing."""
    name = table.encode()
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as asking:
            told = _asked(asking, level, _GET_INFO, _INFO.pack(name, *[0] * 13))
            size = _INFO.unpack(told)[-1]
            return _asked(asking, level, _GET_ENTRIES, _ENTRIES.pack(name, size) + bytes(size))
    except OSError:  # it changed between the two, or there is no such family
        return b""


def _asked(asking: socket.socket, level: int, option: int, content: bytes) -> bytes:
    """getsockopt(), which reads what it is to fill: Python's own gives it nothing to read."""
    buffer, length = ctypes.create_string_buffer(content, len(content)), ctypes.c_uint(len(content))
    if _libc.getsockopt(asking.fileno(), level, option, buffer, ctypes.byref(length)):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return buffer.raw
