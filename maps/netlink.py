"""A netlink batch, done in C (maps/shim_netlink.c): a thread that came back in between would wait there for others."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from maps._libbpf import ffi, lib

_ROOM = 16  # devices in the answers to one batch, at most


class End(IntEnum):
    """The device whose number goes where messages name none: one end of the pair that is first in the answers."""

    NOBODY = lib.SHIM_NOBODY  # the messages are whole
    DEVICE = lib.SHIM_DEVICE
    PEER = lib.SHIM_PEER


@dataclass(frozen=True, slots=True)
class Part:
    """Netlink messages for a socket, the last with the sequence *last*; without a socket, a sysctl's text and path.

    The sysctl is in the namespace behind the descriptor *netns*, or in the calling thread's.
    """

    content: bytes
    fd: int = -1
    path: bytes = b""
    last: int = 0
    end: End = End.NOBODY
    netns: int = -1


@dataclass(frozen=True, slots=True)
class DeviceAnswer:
    """What the kernel answers about a device."""

    index: int
    mtu: int
    peer: int  # of a veth: the other end's ifindex in its own namespace
    mac: bytes
    state: int  # IF_OPER_*


class PartRefused(Exception):  # noqa: N818  the name says what happened
    """Which part the kernel refused, and which of its requests."""

    def __init__(self, part: int, request: int, errno: int) -> None:
        super().__init__(part, request, errno)
        self.part, self.request, self.errno = part, request, errno


def run(parts: Sequence[Part], *, alone: bool = False) -> tuple[DeviceAnswer, ...]:
    """Do the parts in their order; the devices that were asked for.

    Of batches that want to be *alone*, one is in work at a time.

    Raises:
        PartRefused: the first refusal; behind it, only what stood in the same part was done.
    """
    batch = ffi.new("struct shim_part[]", len(parts))
    kept = []  # what the batch points to
    for at, part in zip(batch, parts, strict=True):
        path, content = ffi.new("char[]", part.path), ffi.new("char[]", part.content)
        kept += [path, content]
        at.fd, at.netns, at.path, at.bytes = part.fd, part.netns, path, content
        at.size, at.last, at.end = len(part.content), part.last, part.end
    found, numbers = ffi.new("struct shim_device[]", _ROOM), ffi.new("uint32_t[3]", [_ROOM, 0, 0])
    result = lib.shim_batch(batch, len(parts), found, numbers, numbers + 1, numbers + 2, alone)
    if result:
        raise PartRefused(numbers[1], numbers[2], -result)
    return tuple(_answer(found[i]) for i in range(numbers[0]))


def attempt(part: Part) -> tuple[int, ...]:
    """Do a part whose messages stand each for itself; for each 0, or the errno with which it was refused.

    Raises:
        OSError: the socket failed.
    """
    batch, content = ffi.new("struct shim_part *"), ffi.new("char[]", part.content)
    errors, numbers = ffi.new("int32_t[]", part.last + 1), ffi.new("uint32_t[3]", [0, 0, 0])
    batch.fd, batch.netns, batch.bytes, batch.errors = part.fd, -1, content, errors
    batch.size, batch.last, batch.end = len(part.content), part.last, End.NOBODY
    result = lib.shim_batch(batch, 1, ffi.NULL, numbers, numbers + 1, numbers + 2, 0)
    if result:
        raise OSError(-result, f"netlink: {os.strerror(-result)}")
    return tuple(-error for error in errors)


def _answer(device: Any) -> DeviceAnswer:
    return DeviceAnswer(device.index, device.mtu, device.peer, bytes(device.mac), device.state)
