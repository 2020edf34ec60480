# ruff: noqa: PT028 - test_run is no test
"""libbpf and bpf(2), typed: the only module that talks to the compiled extension.

What attaches or looks up a device (tcx links, tc, ``test_run`` with an ifindex) does so in the calling thread's network
namespace. File descriptors are plain ints that the caller closes with :func:`os.close`.
"""

import errno
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Any, Literal

from maps._libbpf import ffi, lib
from maps.calls import check, last_log
from maps.object import Object

TC_HANDLE, TC_PRIORITY = int(lib.SHIM_TC_HANDLE), int(lib.SHIM_TC_PRIORITY)  # of a program under clsact
_QUERY_ROOM = 64  # programs on one hook; the kernel allows 64 on a cgroup's and on tcx
_MEMLOCK = re.compile(rb"^memlock:\s*(\d+)", re.MULTILINE)

__all__ = [
    "TC_HANDLE",
    "TC_PRIORITY",
    "AttachType",
    "LinkInfo",
    "MapInfo",
    "Object",
    "ProgramInfo",
    "TestRun",
    "attached",
    "btf_blob",
    "check",
    "get_pinned",
    "ids",
    "last_log",
    "link_by_id",
    "link_create",
    "link_detach",
    "link_info",
    "link_update",
    "map_by_id",
    "map_info",
    "pin",
    "possible_cpus",
    "program_by_id",
    "program_info",
    "program_query",
    "tc_attach",
    "tc_detach",
    "tc_query",
    "test_run",
]


class AttachType(IntEnum):
    """Where a link attaches (``enum bpf_attach_type``)."""

    CGROUP_SOCK_CREATE = 2
    CGROUP_CONNECT4 = 10
    CGROUP_CONNECT6 = 11
    CGROUP_SENDMSG4 = 14
    CGROUP_SENDMSG6 = 15
    CGROUP_RECVMSG4 = 19
    CGROUP_RECVMSG6 = 20
    CGROUP_GETPEERNAME4 = 29
    CGROUP_GETPEERNAME6 = 30
    CGROUP_SOCK_RELEASE = 34
    XDP = 37
    TCX_INGRESS = 46
    TCX_EGRESS = 47


@dataclass(frozen=True, slots=True)
class ProgramInfo:
    """A loaded program, as the kernel describes it."""

    id: int
    name: str
    kind: int  # enum bpf_prog_type
    tag: str  # a hash of its instructions


@dataclass(frozen=True, slots=True)
class MapInfo:
    """A map, as the kernel describes it."""

    id: int
    name: str
    kind: int  # enum bpf_map_type
    key_size: int
    value_size: int
    max_entries: int
    flags: int
    memory_bytes: int
    btf_id: int  # 0: made without BTF
    btf_key: int
    btf_value: int


@dataclass(frozen=True, slots=True)
class LinkInfo:
    """A link, as the kernel describes it."""

    id: int
    kind: int  # enum bpf_link_type
    program_id: int
    attach_type: int
    ifindex: int  # tcx and XDP; 0 once the device is gone
    cgroup_id: int


@dataclass(frozen=True, slots=True)
class TestRun:
    """What BPF_PROG_TEST_RUN brought back."""

    __test__ = False  # no test for pytest

    retval: int
    packet: bytes
    context: bytes
    duration_ns: int  # mean of the repetitions


# ---- pins ------------------------------------------------------------------------------------------------------------


def pin(fd: int, path: Path) -> None:
    """Give a map, program or link a name in bpffs, so that it outlives this process."""
    check(lib.bpf_obj_pin(fd, os.fsencode(path)), f"pin {path}")


def get_pinned(path: Path) -> int:
    """A new file descriptor of what is pinned; :class:`KernelRefused` with ENOENT when nothing is."""
    return check(lib.bpf_obj_get(os.fsencode(path)), f"open the pin {path}")


# ---- links -----------------------------------------------------------------------------------------------------------


def link_create(program_fd: int, target: int, attach_type: AttachType, flags: int = 0) -> int:
    """Attach a program: *target* is an ifindex, or a cgroup directory's fd. The link ends with its last fd or pin.

    *flags* are XDP's (``XDP_FLAGS_*``).
    """
    options = ffi.new("struct bpf_link_create_opts *")
    options.sz, options.flags = ffi.sizeof(options[0]), flags
    doing = f"attach a program to {attach_type.name} of {target}"
    return check(lib.bpf_link_create(program_fd, target, attach_type, options), doing)


def link_update(link_fd: int, program_fd: int) -> None:
    """Exchange a link's program; every packet meets either the old or the new one."""
    check(lib.bpf_link_update(link_fd, program_fd, ffi.NULL), "exchange a link's program")


def link_detach(link_fd: int) -> None:
    """Take a link off its hook now, whoever else holds it."""
    check(lib.bpf_link_detach(link_fd), "detach a link")


def link_info(link_fd: int) -> LinkInfo:
    """What a link is."""
    info = ffi.new("struct shim_link *")
    check(lib.shim_link_info(link_fd, info), "ask about a link")
    return LinkInfo(info.id, info.type, info.prog_id, info.attach_type, info.ifindex, info.cgroup_id)


def program_query(target: int, attach_type: AttachType) -> tuple[int, ...]:
    """The ids of the programs on a hook, in the order in which they run."""
    return tuple(program for program, _ in attached(target, attach_type))


def attached(target: int, attach_type: AttachType) -> tuple[tuple[int, int], ...]:
    """The (program id, link id) pairs on a hook; 0 for the link on a cgroup, and of a program attached without one."""
    programs, links = ffi.new("uint32_t[]", _QUERY_ROOM), ffi.new("uint32_t[]", _QUERY_ROOM)
    doing = f"ask what is attached to {attach_type.name} of {target}"
    count = check(lib.shim_query(target, attach_type, programs, links, _QUERY_ROOM), doing)
    return tuple((programs[i], links[i]) for i in range(count))


# ---- tc without tcx --------------------------------------------------------------------------------------------------


def tc_attach(ifindex: int, ingress: bool, program_fd: int) -> None:  # noqa: FBT001
    """Put a program on clsact under handle 1, priority 1, in place of what is there."""
    check(lib.shim_tc_attach(ifindex, ingress, program_fd), f"attach a program by tc to device {ifindex}")


def tc_detach(ifindex: int, ingress: bool) -> None:  # noqa: FBT001
    """Take the program under handle 1, priority 1 off clsact; fine when there is none, or no device."""
    result = lib.shim_tc_detach(ifindex, ingress)
    if result not in (-errno.ENOENT, -errno.ENODEV, -errno.EINVAL):
        check(result, f"detach a program by tc from device {ifindex}")
    last_log()


def tc_query(ifindex: int, ingress: bool) -> int | None:  # noqa: FBT001
    """The id of the program under handle 1, priority 1 of clsact."""
    found = ffi.new("uint32_t *")
    result = lib.shim_tc_query(ifindex, ingress, found)
    if result in (-errno.ENOENT, -errno.ENODEV, -errno.EINVAL):
        last_log()
        return None
    check(result, f"ask tc about device {ifindex}")
    return int(found[0])


# ---- what the kernel has ---------------------------------------------------------------------------------------------


def ids(what: Literal["programs", "maps", "links"]) -> Iterator[int]:
    """The ids of everything of a kind in the kernel, ascending."""
    found, last = ffi.new("uint32_t *"), 0
    while (result := lib.shim_next_id(what[0].encode(), last, found)) == 0:
        last = found[0]
        yield last
    if result != -errno.ENOENT:
        check(result, f"list the kernel's {what}")


def program_by_id(program_id: int) -> int:
    """A new file descriptor of a program."""
    return check(lib.bpf_prog_get_fd_by_id(program_id), f"open program {program_id}")


def map_by_id(map_id: int) -> int:
    """A new file descriptor of a map."""
    return check(lib.bpf_map_get_fd_by_id(map_id), f"open map {map_id}")


def link_by_id(link_id: int) -> int:
    """A new file descriptor of a link."""
    return check(lib.bpf_link_get_fd_by_id(link_id), f"open link {link_id}")


def program_info(fd: int) -> ProgramInfo:
    """What a program is."""
    info, size = _info("struct bpf_prog_info")
    check(lib.bpf_prog_get_info_by_fd(fd, info, size), "ask about a program")
    return ProgramInfo(
        info.id,
        ffi.string(info.name).decode(),
        info.type,
        bytes(info.tag).hex(),
    )


def map_info(fd: int) -> MapInfo:
    """What a map is, with the memory it takes now."""
    info, size = _info("struct bpf_map_info")
    check(lib.bpf_map_get_info_by_fd(fd, info, size), "ask about a map")
    memlock = _MEMLOCK.search(Path(f"/proc/self/fdinfo/{fd}").read_bytes())
    return MapInfo(
        info.id,
        ffi.string(info.name).decode(),
        info.type,
        info.key_size,
        info.value_size,
        info.max_entries,
        info.map_flags,
        int(memlock[1]) if memlock else 0,
        info.btf_id,
        info.btf_key_type_id,
        info.btf_value_type_id,
    )


def btf_blob(btf_id: int) -> bytes:
    """The BTF under an id, for :func:`maps.btf.parse`."""
    doing = f"read BTF {btf_id}"
    size = check(lib.shim_btf(btf_id, ffi.NULL, 0), doing)
    blob = ffi.new("char[]", size)
    check(lib.shim_btf(btf_id, blob, size), doing)
    return bytes(ffi.buffer(blob))


def possible_cpus() -> int:
    """How many values an entry of a per-CPU map has."""
    return check(lib.libbpf_num_possible_cpus(), "count the CPUs")


def _info(name: str) -> tuple[Any, Any]:
    """An empty info record and its size, in and out."""
    info = ffi.new(f"{name} *")
    return info, ffi.new("uint32_t *", ffi.sizeof(info[0]))


def wait_for_programs() -> None:
    """Return when every program has ended that ran at the call: one on a hook whose link has been exchanged since, too.

    Raises:
        KernelRefused: there is no memory for the two maps that this takes.
    """
    check(lib.shim_wait(), "wait for programs that run")


# ---- running a program -----------------------------------------------------------------------------------------------


def test_run(  # noqa: PLR0913 - the call has these options
    program_fd: int, packet: bytes, *, context: bytes = b"", repeat: int = 1, flags: int = 0, batch: int = 0
) -> TestRun:
    """Run a program on a packet, or, for a syscall program, on a context alone (*packet* empty).

    The packet that comes back may have grown by an encapsulation of up to 256 bytes. Repetitions share one packet.
    """
    options = ffi.new("struct bpf_test_run_opts *")
    options.sz = ffi.sizeof(options[0])
    room, live = len(packet) + 256, flags & 2  # BPF_F_TEST_XDP_LIVE_FRAMES returns no packet
    packet_out, context_out = ffi.new("char[]", room), ffi.new("char[]", max(len(context), 1))
    packet_in, context_in = ffi.from_buffer(packet), ffi.from_buffer(context)
    if packet:
        options.data_in, options.data_size_in = packet_in, len(packet)
        options.repeat = repeat
        if not live:
            options.data_out, options.data_size_out = packet_out, room
    if context:
        options.ctx_in, options.ctx_size_in = context_in, len(context)
        if packet and not live:
            options.ctx_out, options.ctx_size_out = context_out, len(context)
    options.flags, options.batch_size = flags, batch
    check(lib.bpf_prog_test_run_opts(program_fd, options), "run a program")
    return TestRun(
        options.retval,
        bytes(ffi.buffer(packet_out, options.data_size_out)) if packet and not live else b"",
        bytes(ffi.buffer(context_out, options.ctx_size_out)) if packet and not live else b"",
        options.duration,
    )
