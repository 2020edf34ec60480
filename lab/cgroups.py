"""The lab's part of every cgroup hierarchy: who is in it is ours, and by it everything is found again and ended.

`<hierarchy>/<lab>/<machine>` is what the machine sees as its root. In version 2 its own processes are one level below,
in `system`, and its pods beside them: version 2 hands controllers on only where no process is.
"""

import os
import re
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from lab.errors import LabError

SYSTEM = "system"
PODS = "pods"
_NO_CONTROLLERS = {"rw", "ro", "xattr", "clone_children", "nsdelegate", "memory_recursiveprot"}


@dataclass(frozen=True, slots=True)
class Hierarchy:
    """One mounted hierarchy of the host."""

    point: Path
    kind: str  # cgroup or cgroup2, as mount(8) says it
    options: str  # what mounts the same hierarchy once more


@dataclass(frozen=True, slots=True)
class Cgroups:
    """The cgroups of one lab."""

    lab: str
    hierarchies: tuple[Hierarchy, ...]

    @property
    def unified(self) -> Path:
        """The lab's cgroup of version 2, the only one that BPF knows."""
        return next(h.point for h in self.hierarchies if h.kind == "cgroup2") / self.lab

    def create(self, machine: str) -> None:
        """Make a machine's cgroups."""
        for hierarchy in self.hierarchies:
            path = hierarchy.point / self.lab / machine
            path.mkdir(parents=True, exist_ok=True)
            for made in (path.parent, path):
                _inherit_cpus(made)
        (self.unified / machine / SYSTEM).mkdir(exist_ok=True)

    def delegate(self, machine: str) -> None:
        """Hand on the controllers of version 2 that this host has there, for a kubelet; it tells which it misses."""
        for path in (self.unified, self.unified / machine):
            for controller in (path / "cgroup.controllers").read_text().split():
                with suppress(OSError):  # one that cannot be shared out
                    (path / "cgroup.subtree_control").write_text(f"+{controller}")

    def joins(self, machine: str, group: str = SYSTEM) -> tuple[Path, ...]:
        """The files that take a process into *machine*, version 2 first: by it `down` finds the process."""
        others = (h.point / self.lab / machine for h in self.hierarchies if h.kind == "cgroup")
        return tuple(path / "cgroup.procs" for path in (self.unified / machine / group, *others))

    def processes(self, machine: str = "", group: str = "") -> set[int]:
        """Everything that runs in the lab, in one machine of it or in one group of that."""
        found: set[int] = set()
        for hierarchy in self.hierarchies:
            for path in (hierarchy.point / self.lab / machine / group).rglob("cgroup.procs"):
                found |= _processes(path)
        found.discard(0)  # of another process namespace
        return found

    def end(self, timeout_s: float = 20.0) -> None:
        """Kill everything in the lab and remove its cgroups; what is gone already is well.

        Raises:
            LabError: a process does not die.
        """
        deadline = time.monotonic() + timeout_s
        while left := [path for path in self._folders() if not _removed(path)]:
            if time.monotonic() > deadline:
                raise LabError(f"cannot remove {left[-1]}: processes {sorted(self.processes())} do not end")
            kill(self.processes())
            time.sleep(0.02)

    def _folders(self) -> Iterator[Path]:
        """All of ours, the deepest first."""
        for hierarchy in self.hierarchies:
            for folder, _, _ in os.walk(hierarchy.point / self.lab, topdown=False):
                yield Path(folder)


def find(lab: str, mountinfo: str) -> Cgroups:
    """The cgroups of *lab* on a host with these mounts.

    Raises:
        LabError: there is no version 2.
    """
    found = tuple(hierarchies(mountinfo))
    if not any(hierarchy.kind == "cgroup2" for hierarchy in found):
        raise LabError("no cgroup2 is mounted: mount -t cgroup2 none /sys/fs/cgroup/unified")
    return Cgroups(lab, found)


def hierarchies(mountinfo: str) -> Iterator[Hierarchy]:
    """The hierarchies that are mounted, each once.

    Source: proc_pid_mountinfo(5): after the hyphen come type, source and the super block's options.
    """
    seen = set()
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - ")
        kind, _, options = after.split(" ")
        if kind not in {"cgroup", "cgroup2"}:
            continue
        point = Path(before.split(" ")[4])
        words = [word for word in options.split(",") if word not in _NO_CONTROLLERS and "release_agent" not in word]
        named = any(word.startswith("name=") for word in words)
        same = ",".join(["none"] * named + words) if kind == "cgroup" else ""
        if (kind, same) not in seen:
            seen.add((kind, same))
            yield Hierarchy(point, kind, same)


def kill(processes: set[int], how: signal.Signals = signal.SIGKILL) -> None:
    """Send a signal to those that are still there."""
    for process in processes:
        try:
            os.kill(process, how)
        except ProcessLookupError:
            continue


def empty(group: Path) -> None:
    """Kill what runs in a group of version 2, and remove it."""
    while group.exists() and not _removed(group):
        kill(_processes(group / "cgroup.procs"))
        time.sleep(0.002)


def _inherit_cpus(path: Path) -> None:
    """A new group of version 1's cpuset has no processor and takes no process."""
    for name in ("cpuset.cpus", "cpuset.mems"):
        file = path / name
        if file.exists() and not re.search(r"\d", file.read_text()) and (above := path.parent / name).exists():
            file.write_text(above.read_text())


def _processes(path: Path) -> set[int]:
    try:
        return {int(line) for line in path.read_text().split()}
    except OSError:  # the group was removed, or is of another kind (a threaded one)
        return set()


def _removed(path: Path) -> bool:
    try:
        path.rmdir()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True
