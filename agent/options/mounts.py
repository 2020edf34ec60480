"""Where bpffs and cgroup2 are mounted, by /proc/self/mountinfo; config takes defaults from here."""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

MOUNTINFO = Path("/proc/self/mountinfo")
HOST_ROOT = Path("/host/root")  # the node's, as a volume of the agent's pod: other plugins run there

_OCTAL = re.compile(r"\\([0-7]{3})")


@dataclass(frozen=True, slots=True)
class Mount:
    """One line of mountinfo, as far as it matters here."""

    root: str  # the part of the file system that is seen, "/" for all of it
    point: Path
    kind: str  # file system type


def mounts(mountinfo: str) -> Iterator[Mount]:
    """The mounts of a mountinfo file, in the order they were made.

    Source: proc_pid_mountinfo(5); fields 7 and on are optional and end with a single hyphen.
    """
    for line in filter(None, mountinfo.split("\n")):  # names may have what else ends lines for Python
        before, _, after = line.partition(" - ")
        fields = before.split(" ")
        yield Mount(root=_plain(fields[3]), point=Path(_plain(fields[4])), kind=after.split(" ")[0])


def bpffs(mountinfo: str) -> Path | None:
    """Where bpffs is mounted; None where it is not."""
    return _found(mountinfo, "bpf", Path("/sys/fs/bpf"))


def cgroup2(mountinfo: str) -> Path | None:
    """The root of the version 2 hierarchy, also on a host with both; None where there is none."""
    return _found(mountinfo, "cgroup2", Path("/sys/fs/cgroup"))


def is_on_bpffs(path: Path, mountinfo: str) -> bool:
    """Whether *path* lies, or would lie once made, on a bpffs; pins live nowhere else."""
    holders = [m for m in mounts(mountinfo) if path.is_relative_to(m.point)]
    # the longest mount point wins, and of two on one point the later
    holder = max(enumerate(holders), key=lambda m: (len(m[1].point.parts), m[0]), default=None)
    return holder is not None and holder[1].kind == "bpf"


def is_whole(path: Path, mountinfo: str) -> bool:
    """Whether a file system is mounted there with all that is in it, and not a folder of it."""
    return any(mount.point == path and mount.root == "/" for mount in mounts(mountinfo))


def read_mountinfo() -> str:
    """The mountinfo of this process; names' octets, which need be no text, are as Python has them in paths."""
    return os.fsdecode(MOUNTINFO.read_bytes())


def _found(mountinfo: str, kind: str, usual: Path) -> Path | None:
    """The whole file system before a part, the usual place before another, then the shortest."""
    found = [m for m in mounts(mountinfo) if m.kind == kind]
    best = min(found, key=lambda m: (m.root != "/", m.point != usual, len(m.point.parts)), default=None)
    return best.point if best else None


def _plain(text: str) -> str:
    return _OCTAL.sub(lambda code: chr(int(code[1], 8)), text)
