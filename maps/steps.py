"""System calls in a row, in C (maps/shim_steps.c): a thread that comes back after each waits for the interpreter."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

from maps._libbpf import ffi, lib

_ROOM = 16  # devices that are told of, at most


class End(IntEnum):
    """The device whose number goes where a step's messages name none: one end of the pair told of first in the row."""

    NOBODY = lib.SHIM_NOBODY  # the messages are whole
    DEVICE = lib.SHIM_DEVICE
    PEER = lib.SHIM_PEER


@dataclass(frozen=True, slots=True)
class Step:
    """Netlink messages for a socket, the last with the sequence *last*; without a socket, a knob's text and path.

    The knob is in the namespace behind the descriptor *netns*, or in the calling thread's.
    """

    content: bytes
    fd: int = -1
    path: bytes = b""
    last: int = 0
    end: End = End.NOBODY
    netns: int = -1


class StepRefused(Exception):  # noqa: N818  the name says what happened
    """Which step the kernel refused, and which of its requests."""

    def __init__(self, step: int, request: int, errno: int) -> None:
        super().__init__(step, request, errno)
        self.step, self.request, self.errno = step, request, errno


def run(steps: Sequence[Step], *, alone: bool = False) -> bytes:
    """Take the steps in their order; the devices that were asked for, each a ``struct shim_device``.

    Of rows that want to be *alone*, one is in work at a time.

    Raises:
        StepRefused: the first refusal; behind it, only what stood in the same step was done.
    """
    row = ffi.new("struct shim_step[]", len(steps))
    kept = []  # what the row points to
    for at, step in zip(row, steps, strict=True):
        path, content = ffi.new("char[]", step.path), ffi.new("char[]", step.content)
        kept += [path, content]
        at.fd, at.netns, at.path, at.bytes = step.fd, step.netns, path, content
        at.size, at.last, at.end = len(step.content), step.last, step.end
    links, numbers = ffi.new("struct shim_device[]", _ROOM), ffi.new("uint32_t[3]", [_ROOM, 0, 0])
    result = lib.shim_steps(row, len(steps), links, numbers, numbers + 1, numbers + 2, alone)
    if result:
        raise StepRefused(numbers[1], numbers[2], -result)
    return bytes(ffi.buffer(links, numbers[0] * ffi.sizeof("struct shim_device")))
