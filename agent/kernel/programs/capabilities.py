"""The capabilities that the agent's calls need, each with the call; docs/security.md tells the reader.

CAP_SYS_ADMIN has what CAP_BPF and CAP_PERFMON have, and more that nothing else gives: so the two are not asked for.
Source: capabilities(7); in the kernel's tree kernel/bpf/syscall.c, kernel/nsproxy.c, fs/open.c, net/core/rtnetlink.c
and net/packet/af_packet.c.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from agent.errors import NotPermitted
from agent.options.choices import L2Announce
from agent.options.config import Options


@dataclass(frozen=True, slots=True)
class Capability:
    """One by its number in linux/capability.h, with what the agent does by it."""

    number: int
    name: str
    doing: str


NET_ADMIN = Capability(12, "CAP_NET_ADMIN", "attaching programs to devices, and making pods' links and routes")
NET_RAW = Capability(13, "CAP_NET_RAW", "--l2-announce, which sends ARP by a packet socket")
SYS_CHROOT = Capability(18, "CAP_SYS_CHROOT", "--networks, whose plugins run in the node's root")
SYS_ADMIN = Capability(21, "CAP_SYS_ADMIN", "loading programs, finding maps by number, and entering pods' networks")


def needed(options: Options, *, is_in_pod: bool = False) -> Iterable[Capability]:
    """What the agent cannot be without; *is_in_pod*: the node's root is a volume."""
    announces = options.l2_announce is not L2Announce.OFF
    changes_root = options.networks and is_in_pod
    return (SYS_ADMIN, NET_ADMIN, *((NET_RAW,) if announces else ()), *((SYS_CHROOT,) if changes_root else ()))


def check(options: Options, effective: int, *, is_in_pod: bool = False) -> None:
    """Refuse a process whose *effective* set, as /proc/self/status has it, lacks one.

    Raises:
        NotPermitted: it names all that are missing.
    """
    missing = [each for each in needed(options, is_in_pod=is_in_pod) if not effective >> each.number & 1]
    if missing:
        names = " and ".join(each.name for each in missing)
        raise NotPermitted("; ".join(each.doing for each in missing), names)
