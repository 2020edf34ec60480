"""The hooks that hold our programs: pinned links, and tc filters on new pods and where the kernel has no tcx."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from agent.kernel.programs.clsact import clsact
from agent.kernel.programs.hooks import DEVICE_HOOKS, SOCKET_HOOKS, XDP
from agent.kernel.programs.xdp import mode_of
from agent.options.mounts import cgroup2, read_mountinfo
from dpctl.netns import DeviceName
from dpctl.output import Column
from maps import libbpf
from maps.pins import PinRoot, held


@dataclass(frozen=True, slots=True)
class LinkRow:
    """One program on one hook."""

    about: str
    name: str  # of the pin; of a tc filter what it would be
    hook: str
    where: str  # the device or cgroup
    ifindex: int  # 0: a cgroup, or the device left
    program_id: int
    program: str


COLUMNS: tuple[Column[LinkRow], ...] = (
    Column("LINK", lambda r: r.name),
    Column("HOOK", lambda r: r.hook),
    Column("ON", lambda r: r.where),
    Column("PROGRAM", lambda r: r.program),
    Column("ID", lambda r: str(r.program_id), right=True),
)


def link_rows(root: PinRoot, device: DeviceName) -> list[LinkRow]:
    """The links pinned under a root, by name."""
    pins = sorted(root.links.iterdir()) if root.links.is_dir() else []
    return [_row(pin, device) for pin in pins]


def filter_rows(device: DeviceName) -> Iterator[LinkRow]:
    """The tc filters of this network namespace that hold programs of our names."""
    for ifindex, name in clsact(frozenset(DEVICE_HOOKS)):
        side = "ingress" if DEVICE_HOOKS[name][1] else "egress"
        program_id = libbpf.tc_query(ifindex, ingress=DEVICE_HOOKS[name][1]) or 0
        yield LinkRow("link", f"{name}-{ifindex}", f"tc {side}", _device(ifindex, device), ifindex, program_id, name)


def socket_hook(rows: list[LinkRow]) -> str:
    """Whether services are chosen at the socket: all its programs are on their hooks, none, or some."""
    there = {row.name for row in rows} & SOCKET_HOOKS.keys()
    if not there:
        return "off"
    return "on" if len(there) == len(SOCKET_HOOKS) else f"partly: {', '.join(sorted(there))}"


def xdp_hook(rows: list[LinkRow]) -> tuple[str, str]:
    """How the uplinks have the XDP program, and where: of rows from the node's own network namespace."""
    found = [(row, mode_of(row.ifindex) or "unknown") for row in rows if row.name.startswith(f"{XDP}-") and row.ifindex]
    modes = sorted({mode for _, mode in found})
    return ", ".join(modes) or "off", ", ".join(f"{row.where} {mode}" for row, mode in found)


def _row(pin: Path, device: DeviceName) -> LinkRow:
    with held(pin) as fd:
        link = libbpf.link_info(fd)
    if pin.name in SOCKET_HOOKS:
        where = _cgroup(link.cgroup_id)
    else:
        where = _device(link.ifindex, device) if link.ifindex else "a device that left"
    return LinkRow("link", pin.name, _hook(link.attach_type), where, link.ifindex, link.program_id, _program(link))


def _hook(attach_type: int) -> str:
    """The name of an attach type: ``tcx ingress``, ``cgroup connect4``."""
    known = [kind.name for kind in libbpf.AttachType if kind == attach_type]
    return known[0].lower().replace("_", " ") if known else f"type {attach_type}"


def _program(link: libbpf.LinkInfo) -> str:
    fd = libbpf.program_by_id(link.program_id)
    try:
        return libbpf.program_info(fd).name
    finally:
        os.close(fd)


def _device(ifindex: int, device: DeviceName) -> str:
    return device(ifindex) or f"device {ifindex}"


def _cgroup(cgroup_id: int) -> str:
    """A cgroup's path by its id, which is its directory's inode number; the id where it is not seen from here."""
    root = cgroup2(read_mountinfo())
    if root is not None:
        for folder, _, _ in os.walk(root):
            if Path(folder).stat().st_ino == cgroup_id:
                return folder
    return f"cgroup {cgroup_id}"
