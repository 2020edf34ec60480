"""Whether a chain, as kube-proxy's, is in a table of iptables-legacy, which the agent reads and leaves as it is.

The kernel takes such a table whole or not at all: who takes rules out writes all others anew, and so loses what
somebody wrote in between. iptables' own programs keep one another from that by a lock on the host.
"""

import ctypes
import os
import socket
import struct
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

# linux/netfilter_ipv4/ip_tables.h, linux/netfilter_ipv6/ip6_tables.h; both have the same numbers
GET_INFO, GET_ENTRIES = 64, 65
_INFO: Final = struct.Struct("=32s13I")  # struct ipt_getinfo: name, hooks, five offsets twice, entries, their size
_ENTRIES: Final = struct.Struct("=32sI4x")  # struct ipt_get_entries: name, size; entries begin at eight octets
_FAMILIES = {
    "ip_tables_names": (socket.AF_INET, socket.IPPROTO_IP),
    "ip6_tables_names": (socket.AF_INET6, socket.IPPROTO_IPV6),
}
_ATTEMPTS: Final = 5  # at a table that kube-proxy writes between the question for its size and that for its rules
_CHAIN: Final = "KUBE-SERVICES"  # what each mode of kube-proxy has that uses iptables
_libc = ctypes.CDLL(None, use_errno=True)


def tables(chain: str = _CHAIN) -> Iterator[str]:
    """The legacy tables of this network namespace that have *chain*; none where they cannot be read."""
    for listed in _FAMILIES:
        with suppress(OSError):
            for table in _present(listed):
                with suppress(OSError):
                    if _has(_entries(table, listed), chain):
                        yield table


def chains(table: str, names: Iterable[str]) -> frozenset[str]:
    """Which chains of these names a legacy table of this network namespace has, of either family.

    Raises:
        OSError: it cannot be read, so any may be there.
    """
    found = [_entries(table, listed) for listed in _FAMILIES if table in _present(listed)]
    return frozenset(name for name in names if any(_has(entries, name) for entries in found))


def _present(listed: str) -> tuple[str, ...]:
    """A family's tables: to ask for one that is not there would make it."""
    try:
        return tuple(Path("/proc/thread-self/net", listed).read_text().split())
    except FileNotFoundError:  # the kernel has none of that family, or not yet
        return ()


def _has(entries: bytes, chain: str) -> bool:
    return chain.encode() + b"\0" in entries  # a chain begins with its name


def _entries(table: str, listed: str) -> bytes:
    """A table's rules and chains, as the kernel has them.

    Raises:
        BlockingIOError: it changed whenever it was asked for.
        OSError: the kernel refused.
    """
    for _ in range(_ATTEMPTS - 1):
        with suppress(BlockingIOError):
            return _read(table, listed)
    return _read(table, listed)


def _read(table: str, listed: str) -> bytes:
    family, level = _FAMILIES[listed]
    name = table.encode()
    with socket.socket(family, socket.SOCK_DGRAM) as asking:
        told = asked(asking, level, GET_INFO, _INFO.pack(name, *[0] * 13))
        size = _INFO.unpack(told)[-1]
        return asked(asking, level, GET_ENTRIES, _ENTRIES.pack(name, size) + bytes(size))


def asked(asking: socket.socket, level: int, option: int, content: bytes) -> bytes:
    """getsockopt(), which reads what it is to fill: Python's own gives it nothing to read."""
    buffer, length = ctypes.create_string_buffer(content, len(content)), ctypes.c_uint(len(content))
    if _libc.getsockopt(asking.fileno(), level, option, buffer, ctypes.byref(length)):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return buffer.raw
