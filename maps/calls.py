"""How every call into the compiled extension fails: its errno, and what libbpf logged, as an exception."""

import errno

from maps._libbpf import ffi, lib
from maps.errors import KernelRefused, NotPermitted

lib.shim_log_install()


def last_log() -> str:
    """What libbpf logged in this thread since the last call of this."""
    room = 128 * 1024
    buffer = ffi.new("char[]", room)
    length = lib.shim_log_take(buffer, room)
    return bytes(ffi.buffer(buffer, length)).decode(errors="replace")


def check(result: int, doing: str) -> int:
    """The result of a call that returns -errno on failure.

    Raises:
        NotPermitted: EPERM.
        KernelRefused: any other.
    """
    if result >= 0:
        return result
    detail = "; ".join(line.removeprefix("libbpf: ") for line in last_log().splitlines()[-3:])
    if result == -errno.EPERM:
        raise NotPermitted(f"{doing} ({detail})" if detail else doing)
    raise KernelRefused(doing, -result, detail)
