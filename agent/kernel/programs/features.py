"""What the kernel and this process must be able to do, tried before anything is touched.

Each check names the feature, the kernel that has it, and the way out.
"""

import os
import re
from dataclasses import dataclass
from pathlib import Path

from agent.errors import KernelTooOld, MountMissing
from agent.kernel.net.sysctl import OF_HOST, PROC
from agent.kernel.programs import capabilities
from agent.options.config import Options
from agent.options.mounts import HOST_ROOT, is_on_bpffs

OLDEST = (6, 1)
TCX = (6, 6)


@dataclass(frozen=True, slots=True)
class System:
    """What the checks look at; given, so that every refusal can be tested."""

    release: str  # uname -r
    capabilities: int  # effective set of this process
    mountinfo: str
    cgroup_is_v2: bool
    has_btf: bool
    sysctls_are_writable: bool
    has_host_root: bool = False  # the node's root is a volume of the agent's pod

    @staticmethod
    def running(options: Options, mountinfo: str) -> "System":
        """This process, on this kernel."""
        return System(
            release=os.uname().release,
            capabilities=_effective(Path("/proc/self/status").read_text()),
            mountinfo=mountinfo,
            cgroup_is_v2=_is_cgroup2(options.cgroup),
            has_btf=Path("/sys/kernel/btf/vmlinux").exists(),
            sysctls_are_writable=os.access(PROC / "ipv4/ip_forward", os.W_OK),
            has_host_root=HOST_ROOT.is_dir(),
        )


@dataclass(frozen=True, slots=True)
class Features:
    """What a newer kernel gives and an older one does without."""

    tcx: bool  # else programs go on by clsact


def features(options: Options, system: System) -> Features:
    """What may be used on this node.

    Raises:
        NotPermitted: a capability is missing.
        KernelTooOld: the kernel lacks what there is no way around.
        MountMissing: bpffs or cgroup2 is not where the options say, or sysctls cannot be set.
    """
    capabilities.check(options, system.capabilities, is_in_pod=system.has_host_root)
    version = kernel_version(system.release)
    if version < OLDEST:
        raise KernelTooOld("BPF as the datapath needs it", "6.1", f"this is {system.release}; run Linux 6.1 or later")
    if not system.has_btf:
        raise KernelTooOld(
            "type information", "5.2", "build it with CONFIG_DEBUG_INFO_BTF, or run a distribution's own"
        )
    if not is_on_bpffs(options.pin_root, system.mountinfo):
        raise MountMissing(
            f"{options.pin_root} is not on a bpffs: mount -t bpf bpf /sys/fs/bpf, or give --pin-root on one"
        )
    if options.has_socket_hooks and not system.cgroup_is_v2:
        raise MountMissing(
            f"{options.cgroup} is no cgroup2: mount -t cgroup2 none /sys/fs/cgroup/unified, "
            "give --cgroup, or --socket-lb off"
        )
    if not system.sysctls_are_writable:
        raise MountMissing(f"{PROC} cannot be written: in a container mount the host's /proc/sys/net at {OF_HOST}")
    return Features(tcx=version >= TCX)


def kernel_version(release: str) -> tuple[int, int]:
    """The first two numbers of a kernel's release, ``6.1.0-56-amd64``."""
    found = re.match(r"(\d+)\.(\d+)", release)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def _effective(status: str) -> int:
    found = re.search(r"^CapEff:\s*([0-9a-f]+)$", status, re.MULTILINE)
    return int(found[1], 16) if found else 0


def _is_cgroup2(path: Path) -> bool:
    # cgroup.controllers stands in every cgroup of version 2 and in none of version 1
    return (path / "cgroup.controllers").exists()
