"""System calls of a few microseconds, made without letting go of the interpreter.

By ``os`` and ``socket`` each call lets other threads run, and then waits until it may go on: with many pods at once
those waits are most of what a pod takes. What may sleep has no place here.
"""

import ctypes
import os
from pathlib import Path

_CLONE_NEWNET = 0x40000000
_libc = ctypes.PyDLL(None, use_errno=True)
_libc.open.argtypes = (ctypes.c_char_p, ctypes.c_int)
_libc.read.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_size_t)
_libc.write.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_size_t)
_libc.recv.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_int)
_libc.read.restype = _libc.write.restype = _libc.recv.restype = ctypes.c_ssize_t
_libc.close.argtypes = (ctypes.c_int,)
_libc.setns.argtypes = (ctypes.c_int, ctypes.c_int)

_MSG_DONTWAIT = 0x40
KNOB_MAX = 64  # bytes of a knob's value and the line's end


def write_knob(path: Path, value: str) -> None:
    """Set a knob under /proc/sys that asks for no lock.

    Raises:
        OSError: it is not there, or not to be set.
    """
    fd = _checked(_libc.open(os.fsencode(path), os.O_WRONLY | os.O_CLOEXEC), path)
    try:
        _checked(_libc.write(fd, value.encode(), len(value)), path)
    finally:
        _libc.close(fd)


def read_knob(path: Path) -> str:
    """The value of a knob under /proc/sys.

    Raises:
        OSError: it is not there.
    """
    fd = _checked(_libc.open(os.fsencode(path), os.O_RDONLY | os.O_CLOEXEC), path)
    try:
        room = ctypes.create_string_buffer(KNOB_MAX)
        length = _checked(_libc.read(fd, room, KNOB_MAX), path)
        return room.raw[:length].decode().strip()
    finally:
        _libc.close(fd)


def receive(fd: int, size: int) -> bytes:
    """What has come to a socket already, at most *size* bytes.

    Raises:
        BlockingIOError: nothing has.
        OSError: the socket is broken.
    """
    room = ctypes.create_string_buffer(size)
    return ctypes.string_at(room, _checked(_libc.recv(fd, room, size, _MSG_DONTWAIT), "receive"))


def enter_netns(fd: int, name: str) -> None:
    """Have the calling thread in a network namespace; Python 3.11 has no os.setns.

    Raises:
        OSError: it is no namespace, or not to be entered.
    """
    _checked(_libc.setns(fd, _CLONE_NEWNET), f"{name}: cannot enter")


def _checked(result: int, what: object) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result
