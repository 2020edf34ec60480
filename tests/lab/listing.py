"""What a machine holds that a lab could leave behind."""

import os
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from maps import libbpf

Listing = Mapping[str, frozenset[str]]

# they change by themselves, or are of the process that reads
VOLATILE = ("kernel/ns_last_pid", "fs/binfmt_misc", "kernel/random", "net/netfilter/nf_conntrack_count")


def listing() -> Listing:
    """Everything, by kind."""
    return {kind: frozenset(names()) for kind, names in KINDS.items()}


def left_behind(before: Listing, timeout_s: float = 90.0) -> dict[str, list[str]]:
    """What differs from *before*; the kernel frees programs and namespaces a grace period after their last use."""
    deadline = time.monotonic() + timeout_s
    while True:
        now = listing()
        found = {kind: sorted(now[kind] ^ before[kind]) for kind in before if now[kind] != before[kind]}
        if not found or time.monotonic() > deadline:
            return found
        time.sleep(0.2)


def _links() -> list[str]:
    return _lines("ip", "-brief", "link")


def _namespaces() -> Iterator[str]:
    """By their inodes, of all processes and of what is mounted by name."""
    for path in Path("/proc").glob("[0-9]*/ns/*"):
        try:
            yield str(path.readlink())
        except OSError:
            continue
    yield from _lines("ip", "netns", "list")


def _mounts() -> list[str]:
    return Path("/proc/self/mountinfo").read_text().splitlines()


def _cgroups() -> Iterator[str]:
    """Ours all begin alike; others come and go on a machine with containers."""
    for folder, _, _ in os.walk("/sys/fs/cgroup"):
        if any(part.startswith("sw") for part in Path(folder).parts):
            yield folder


def _pins() -> Iterator[str]:
    for mount in (line.split() for line in _mounts()):
        if "bpf" in mount[mount.index("-") + 1]:
            yield from (str(path) for path in Path(mount[4]).rglob("*"))


def _sysctls() -> Iterator[str]:
    for folder, _, files in os.walk("/proc/sys"):
        for name in files:
            path = Path(folder, name)
            if any(name in str(path) for name in VOLATILE) or not path.stat().st_mode & 0o200:
                continue
            try:
                yield f"{path}={path.read_text().strip()}"
            except (OSError, UnicodeDecodeError):
                continue


def _state() -> Iterator[str]:
    yield from map(str, Path("/var/tmp/sluiceway-lab").glob("*"))  # noqa: S108


def _lines(*argv: str) -> list[str]:
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout.splitlines()


KINDS: Mapping[str, Callable[[], Iterator[str] | list[str]]] = {
    "links": _links,
    "namespaces": _namespaces,
    "mounts": _mounts,
    "cgroups": _cgroups,
    "pins": _pins,
    "programs": lambda: map(str, libbpf.ids("programs")),
    "maps": lambda: map(str, libbpf.ids("maps")),
    "BPF links": lambda: map(str, libbpf.ids("links")),
    "nft rules": lambda: _lines("nft", "list", "ruleset"),
    "sysctls": _sysctls,
    "folders": _state,
}
