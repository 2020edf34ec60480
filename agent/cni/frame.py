"""How a request of the shim's is laid out, on the socket and in a file: its two parts, each behind its length.

``KEY=VALUE`` ended by NUL each, then standard input. All numbers big-endian; the other end is ``cni/sluiceway-cni.c``.
"""

import struct

LENGTH = struct.Struct("!I")
STDIN_MAX = 1 << 20  # as the shim's
ENVIRONMENT_MAX = 1 << 16


def environment_of(data: bytes) -> dict[str, str]:
    """The variables of the first part."""
    pairs = (item.decode(errors="replace").partition("=") for item in data.split(b"\0") if item)
    return {name: value for name, _, value in pairs}


def request_of(frame: bytes) -> tuple[dict[str, str], bytes] | None:
    """The two parts of a whole frame; None when it is cut."""
    try:
        (size,) = LENGTH.unpack_from(frame)
        (rest,) = LENGTH.unpack_from(frame, LENGTH.size + size)
    except struct.error:
        return None
    if len(frame) != 2 * LENGTH.size + size + rest:
        return None
    return environment_of(frame[LENGTH.size : LENGTH.size + size]), frame[2 * LENGTH.size + size :]
