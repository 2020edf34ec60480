"""The one device that encapsulates: VXLAN by collected metadata, so each packet names its own outer header.

The programs on it (and the pods') say to which node a packet goes; the kernel's tunnel code does the rest, with its
socket's GRO and the NIC's offloads.
"""

import errno
from typing import Any

from pyroute2.netlink.exceptions import NetlinkError

from agent.compile.between import Tunnel
from agent.errors import AgentError
from agent.kernel.sysctl import Sysctls
from agent.log import logger

log = logger(__name__)

NAME = "swtunnel"
ALIAS = "sluiceway"
# every node's, so that a packet's inner header need not name the node it goes to
MAC = "ee:ee:ee:ee:ee:ee"
IFF_UP, IFF_NOARP = 0x1, 0x80


class TunnelDevice:
    """The device, in the namespace of a netlink socket that stays open."""

    def __init__(self, netlink: Any, sysctls: Sysctls) -> None:
        self._netlink = netlink
        self._sysctls = sysctls

    def sync(self, wanted: Tunnel) -> int:
        """Have it, as *wanted*, and up; its ifindex.

        Raises:
            AgentError: the name or the UDP port is somebody else's, or the kernel refused.
        """
        found = self._ours()
        try:
            if found is not None and not _is_like(found, wanted):
                self._netlink.link("del", index=found["index"])
                found = None
            index = int(found["index"]) if found is not None else self._make(wanted)
            if found is None or found.get_attr("IFLA_MTU") != wanted.mtu or not found["flags"] & IFF_UP:
                self._netlink.link("set", index=index, mtu=wanted.mtu, state="up")
        except NetlinkError as error:
            why = f"UDP port {wanted.port} is taken" if error.code == errno.EADDRINUSE else str(error)
            raise AgentError(f"{NAME} for {wanted.kind} cannot be made: {why}; see --tunnel-port") from error
        return index

    def remove(self) -> bool:
        """Have it no more; whether it was there. Somebody else's is left alone."""
        found = self._find()
        if found is None or not _is_ours(found):
            return False
        self._netlink.link("del", index=found["index"])
        log.info("tunnel removed", device=NAME)
        return True

    def _make(self, wanted: Tunnel) -> int:
        kind = str(wanted.kind)
        options: dict[str, object] = {
            f"{kind}_collect_metadata": True,
            f"{kind}_port": wanted.port,
            # the inner packet has a checksum of its own (RFC 6935)
            f"{kind}_udp_zero_csum6_rx": True,
            f"{kind}_udp_zero_csum6_tx": True,
            f"{kind}_learning": False,
        }
        self._netlink.link("add", ifname=NAME, kind=kind, address=MAC, **options)
        found = self._find()
        if found is None:
            raise AgentError(f"{NAME} was removed while it was being made")
        self._sysctls.tunnel(NAME)
        self._netlink.link("set", index=found["index"], ifalias=ALIAS, flags=IFF_NOARP, change=IFF_NOARP)
        log.info("tunnel made", device=NAME, kind=kind, port=wanted.port, mtu=wanted.mtu)
        return int(found["index"])

    def _ours(self) -> Any:
        found = self._find()
        if found is not None and not _is_ours(found):
            raise AgentError(f"a device {NAME} is there that is not ours; remove or rename it: ip link del {NAME}")
        return found

    def _find(self) -> Any:
        try:
            return next(iter(self._netlink.link("get", ifname=NAME)), None)
        except NetlinkError as error:
            if error.code == errno.ENODEV:
                return None
            raise


def _is_ours(link: Any) -> bool:
    """By alias, or by the MAC where a death came before the alias."""
    return bool(link.get_attr("IFLA_IFALIAS") == ALIAS or link.get_attr("IFLA_ADDRESS") == MAC)


def _is_like(link: Any, wanted: Tunnel) -> bool:
    info = link.get_attr("IFLA_LINKINFO")
    kind = info.get_attr("IFLA_INFO_KIND")
    if kind != str(wanted.kind) or not link["flags"] & IFF_NOARP:
        return False
    word, data = kind.upper(), dict(info.get_attr("IFLA_INFO_DATA")["attrs"])
    metadata = data.get(f"IFLA_{word}_COLLECT_METADATA")
    return metadata not in {None, 0} and bool(data.get(f"IFLA_{word}_PORT") == wanted.port)
