"""The one device by which what is encapsulated leaves, and the node's own routes to other nodes' pods lead.

VXLAN or Geneve by collected metadata, so each packet names its own outer header: the programs on it (and the pods')
say to which node a packet goes, and the kernel's tunnel code does the rest, with its socket's GRO and the offloads.
For IPIP a veth pair, that every kernel has: the program on it encapsulates and sends by the uplink, and it has the MTU
that the stack tells senders of. The other way nothing passes the pair but GSO packets that have to be segmented.
"""

import errno
from typing import Any

from pyroute2.netlink.exceptions import NetlinkError

from agent.compile.tunnel import NAME, SEGMENTER, DeviceKind, Tunnel, TunnelLinks
from agent.errors import AgentError
from agent.kernel.net.sysctl import Sysctls
from agent.log import logger
from agent.netlink.rtnetlink import IFF_NOARP, IFF_UP
from maps import abi

log = logger(__name__)

PROBE = "swprobe"
ALIAS = "sluiceway"
MAC = abi.NODE_MAC.hex(":")  # every node's, so that a packet's inner header need not name the node it goes to
SEGMENT = 512  # octets: no GSO packet is smaller, and the kernel takes no less than its longest headers


class TunnelDevice:
    """The device, in the namespace of a netlink socket that stays open."""

    def __init__(self, netlink: Any, sysctls: Sysctls) -> None:
        self._netlink = netlink
        self._sysctls = sysctls

    def sync(self, wanted: Tunnel) -> TunnelLinks:
        """Have it, as *wanted*, and up; its ifindex, and that of a pair's other end.

        Raises:
            AgentError: the name or the UDP port is somebody else's, or the kernel refused.
        """
        found = self._ours()
        try:
            if found is not None and not _is_like(found, wanted):
                self._netlink.link("del", index=found["index"])
                found = None
            index = int(found["index"]) if found is not None else self._make(wanted)
            self._sysctls.tunnel_again(NAME)
            peer = self._set_up_peer(wanted.mtu) if wanted.kind is DeviceKind.VETH else 0
            if found is None or found.get_attr("IFLA_MTU") != wanted.mtu or not found["flags"] & IFF_UP:
                self._netlink.link("set", index=index, mtu=wanted.mtu, state="up")
        except NetlinkError as error:
            raise AgentError(f"{NAME} of kind {wanted.kind} cannot be made: {_why(error, wanted)}") from error
        return TunnelLinks(index, peer)

    def remove(self) -> bool:
        """Have it no more; whether it was there. Somebody else's is left alone."""
        found = self._find()
        if found is None or not _is_ours(found):
            return False
        self._netlink.link("del", index=found["index"])
        log.info("tunnel removed", device=NAME)
        return True

    def _make(self, wanted: Tunnel) -> int:
        self._netlink.link("add", ifname=NAME, kind=str(wanted.kind), address=MAC, **_options(wanted))
        found = self._find()
        if found is None:
            raise AgentError(f"{NAME} was removed while it was being made")
        self._sysctls.tunnel(NAME)
        self._netlink.link("set", index=found["index"], ifalias=ALIAS, flags=IFF_NOARP, change=IFF_NOARP)
        log.info("tunnel made", device=NAME, kind=wanted.kind, port=wanted.port, mtu=wanted.mtu)
        return int(found["index"])

    def _set_up_peer(self, mtu: int) -> int:
        """Set the other end up, where the kernel segments the GSO packets that it is given; its ifindex."""
        found = self._find(SEGMENTER)
        if found is None:
            raise AgentError(f"{SEGMENTER} left while it was being made")
        index = int(found["index"])
        self._sysctls.tunnel_again(SEGMENTER)
        now = (found.get_attr("IFLA_GSO_MAX_SIZE"), found.get_attr("IFLA_MTU"))
        if now != (SEGMENT, mtu) or not found["flags"] & IFF_UP:
            self._sysctls.tunnel(SEGMENTER)
            # the size for IPv4 is one of its own since Linux 6.3, and follows this one where it is not more than 65536
            self._netlink.link("set", index=index, gso_max_size=SEGMENT, mtu=mtu, state="up")
        return index

    def _ours(self) -> Any:
        found = self._find()
        if found is not None and not _is_ours(found):
            raise AgentError(f"a device {NAME} is there that is not ours; remove or rename it: ip link del {NAME}")
        return found

    def _find(self, name: str = NAME) -> Any:
        try:
            return next(iter(self._netlink.link("get", ifname=name)), None)
        except NetlinkError as error:
            if error.code == errno.ENODEV:
                return None
            raise


def has_kind(netlink: Any, kind: DeviceKind) -> bool:
    """Whether the kernel has devices of a kind; it is asked for one without saying what it is to be like.

    Its module is loaded by that, where it is one.
    """
    try:
        netlink.link("add", ifname=PROBE, kind=str(kind))
    except NetlinkError as error:
        return bool(error.code != errno.EOPNOTSUPP)
    netlink.link("del", ifname=PROBE)
    return True


def _options(wanted: Tunnel) -> dict[str, object]:
    kind = str(wanted.kind)
    if wanted.kind is DeviceKind.VETH:
        return {"peer": SEGMENTER}
    learning = {"vxlan_learning": False} if wanted.kind is DeviceKind.VXLAN else {}
    return {
        f"{kind}_collect_metadata": True,
        f"{kind}_port": wanted.port,
        # the inner packet has a checksum of its own (RFC 6935)
        f"{kind}_udp_zero_csum6_rx": True,
        f"{kind}_udp_zero_csum6_tx": True,
        **learning,
    }


def _why(error: NetlinkError, wanted: Tunnel) -> str:
    if error.code == errno.EADDRINUSE:
        return f"UDP port {wanted.port} is taken; see --tunnel-port"
    if error.code == errno.EOPNOTSUPP:
        return f"the kernel has no such devices; load the module {wanted.kind}, or choose another --encapsulation"
    return str(error)


def _is_ours(link: Any) -> bool:
    """By alias, or by the MAC where a death came before the alias."""
    return bool(link.get_attr("IFLA_IFALIAS") == ALIAS or link.get_attr("IFLA_ADDRESS") == MAC)


def _is_like(link: Any, wanted: Tunnel) -> bool:
    info = link.get_attr("IFLA_LINKINFO")
    kind = info.get_attr("IFLA_INFO_KIND")
    if kind != str(wanted.kind) or not link["flags"] & IFF_NOARP:
        return False
    if wanted.kind is DeviceKind.VETH:
        return True
    word, data = kind.upper(), dict(info.get_attr("IFLA_INFO_DATA")["attrs"])
    metadata = data.get(f"IFLA_{word}_COLLECT_METADATA")
    return metadata not in {None, 0} and bool(data.get(f"IFLA_{word}_PORT") == wanted.port)
