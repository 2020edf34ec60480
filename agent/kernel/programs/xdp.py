"""The XDP program on the node's devices: a pinned link on each, and whether its driver runs it or the kernel does.

Links are exchanged with all others (:meth:`agent.kernel.programs.attach.Hooks.exchange`), by the kernel at once: every
packet meets the old program or the new one.
"""

import errno
import os
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from threading import RLock

from agent.kernel.programs.hooks import XDP
from agent.log import logger
from agent.netlink.dump import Dump
from agent.netlink.rtnetlink import IFLA_XDP, IFLA_XDP_ATTACHED, LINK, RTM_GETLINK, attribute, number
from maps import libbpf
from maps.libbpf import AttachType
from maps.pins import held

log = logger(__name__)

# linux/if_link.h
XDP_FLAGS_SKB_MODE, XDP_FLAGS_DRV_MODE = 1 << 1, 1 << 2
XDP_ATTACHED_DRV, XDP_ATTACHED_SKB = 1, 2


class XdpMode(StrEnum):
    """Who runs the program."""

    NATIVE = "native"  # the driver, before there is a struct sk_buff
    GENERIC = "generic"  # the kernel, after: correct with every driver, and slower than tc where packets go on


_FLAGS = {XdpMode.NATIVE: XDP_FLAGS_DRV_MODE, XdpMode.GENERIC: XDP_FLAGS_SKB_MODE}
_MODES = {XDP_ATTACHED_DRV: XdpMode.NATIVE, XDP_ATTACHED_SKB: XdpMode.GENERIC}


class XdpLinks:
    """The links of one node; *links* is the folder of pins, *programs* as of all hooks, *lock* too."""

    def __init__(self, links: Path, programs: Mapping[str, int], lock: RLock) -> None:
        self._links, self._programs, self._lock = links, programs, lock

    def attached(self) -> dict[int, XdpMode]:
        """The devices with the program, by ifindex; pins of devices that left go."""
        found: dict[int, XdpMode] = {}
        with self._lock:
            for path in sorted(self._links.glob(f"{XDP}-*")):
                with held(path) as link:
                    ifindex = libbpf.link_info(link).ifindex
                if path.name != f"{XDP}-{ifindex}":  # of a device that left, whose number another may have
                    path.unlink()
                elif mode := mode_of(ifindex):
                    found[ifindex] = mode
        return found

    def attach(self, ifindex: int, mode: XdpMode) -> None:
        """Have the program on a device that has it not.

        Raises:
            KernelRefused: the driver has no XDP, or not as it is set up; somebody else's program is there (EBUSY).
        """
        with self._lock:
            link = libbpf.link_create(self._programs[XDP], ifindex, AttachType.XDP, _FLAGS[mode])
            try:
                libbpf.pin(link, self._pin(ifindex))
            finally:
                os.close(link)

    def detach(self, ifindex: int) -> None:
        """Take the program off a device."""
        with self._lock:
            path = self._pin(ifindex)
            if path.exists():
                with held(path) as link:
                    libbpf.link_detach(link)
                path.unlink()

    def _pin(self, ifindex: int) -> Path:
        return self._links / f"{XDP}-{ifindex}"


def mode_of(ifindex: int) -> XdpMode | None:
    """How a device of the calling thread's network namespace runs an XDP program; None: it has none, or is gone."""
    try:
        with Dump() as dump:
            body = dump.one(RTM_GETLINK, LINK.pack(0, 0, ifindex, 0, 0))
    except OSError as error:
        if error.errno == errno.ENODEV:
            return None
        raise
    return _MODES.get(number(attribute(attribute(body, LINK.size, IFLA_XDP), 0, IFLA_XDP_ATTACHED)))
