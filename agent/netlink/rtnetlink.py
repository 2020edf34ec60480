"""rtnetlink's numbers and headers, each written once, and its framing: messages and attributes, read and written."""

import struct
import sys
from collections.abc import Iterator

# linux/netlink.h
NLMSG_ERROR, NLMSG_DONE, NLMSG_OVERRUN = 2, 3, 4
NLM_F_REQUEST, NLM_F_ACK, NLM_F_DUMP_INTR = 0x1, 0x4, 0x10
NLM_F_REPLACE, NLM_F_EXCL, NLM_F_CREATE, NLM_F_DUMP = 0x100, 0x200, 0x400, 0x300
# linux/rtnetlink.h
RTM_NEWLINK, RTM_DELLINK, RTM_GETLINK = 16, 17, 18
RTM_NEWADDR, RTM_DELADDR, RTM_GETADDR = 20, 21, 22
RTM_NEWROUTE, RTM_DELROUTE, RTM_GETROUTE = 24, 25, 26
RTM_NEWNEIGH, RTM_DELNEIGH, RTM_GETNEIGH = 28, 29, 30
RTM_NEWRULE, RTM_DELRULE, RTM_GETRULE = 32, 33, 34
RTM_NEWQDISC, RTM_DELQDISC, RTM_GETQDISC = 36, 37, 38
RTM_NEWTFILTER = 44
RTM_NEWNETCONF = 80
RTM_GETNSID = 90
RTMGRP_LINK = 0x1
RTMGRP_NEIGH = 0x4
RTMGRP_TC = 0x8
RTMGRP_IPV4_IFADDR = 0x10
RTMGRP_IPV4_ROUTE = 0x40
RTMGRP_IPV6_IFADDR = 0x100
RTMGRP_IPV6_ROUTE = 0x400
RTMGRP_IPV4_NETCONF, RTMGRP_IPV6_NETCONF = 0x800000, 0x1000000  # of RTNLGRP_*, which have no mask of their own
RTA_DST, RTA_OIF, RTA_GATEWAY, RTA_PRIORITY, RTA_PREFSRC, RTA_METRICS = 1, 4, 5, 6, 7, 8
RTA_MULTIPATH, RTA_TABLE, RTAX_MTU, RTAX_ADVMSS = 9, 15, 2, 8
RT_TABLE_UNSPEC, RT_TABLE_MAIN = 0, 254
RT_SCOPE_UNIVERSE, RT_SCOPE_LINK, RT_SCOPE_NOWHERE = 0, 253, 255
RTN_UNSPEC, RTN_UNICAST, RTPROT_STATIC, RTPROT_BIRD, RTNH_F_ONLINK = 0, 1, 4, 12, 4
TCA_KIND, TCA_OPTIONS = 1, 2
# linux/if_link.h, linux/veth.h, linux/if.h
IFLA_ADDRESS, IFLA_IFNAME, IFLA_MTU, IFLA_LINK, IFLA_MASTER, IFLA_LINK_NETNSID = 1, 3, 4, 5, 10, 37
IFLA_LINKINFO, IFLA_IFALIAS, IFLA_STATS64, IFLA_NET_NS_FD, IFLA_EXT_MASK = 18, 20, 23, 28, 29
IFLA_NUM_TX_QUEUES, IFLA_NUM_RX_QUEUES = 31, 32
IFLA_INFO_KIND, IFLA_INFO_DATA, IFLA_INFO_SLAVE_KIND, VETH_INFO_PEER = 1, 2, 4, 1
IFLA_XDP, IFLA_XDP_ATTACHED = 43, 2
RTEXT_FILTER_SKIP_STATS, RTEXT_FILTER_MRP = 0x8, 0x10
ARPHRD_ETHER, ARPHRD_LOOPBACK = 1, 772  # linux/if_arp.h
IFF_UP, IFF_LOOPBACK, IFF_NOARP, ALL_FLAGS = 0x1, 0x8, 0x80, 0xFFFFFFFF
IF_OPER_UP = 6
# linux/if_addr.h
IFA_ADDRESS, IFA_LOCAL, IFA_FLAGS = 1, 2, 8
IFA_F_NODAD, IFA_F_DADFAILED = 0x2, 0x8
IFA_F_SECONDARY, IFA_F_DEPRECATED, IFA_F_TENTATIVE = 0x1, 0x20, 0x40
# linux/net_namespace.h
NETNSA_NSID, NETNSA_FD = 1, 3
# linux/netconf.h
NETCONFA_IFINDEX, NETCONFA_FORWARDING, NETCONFA_RP_FILTER = 1, 2, 3
NETCONFA_IFINDEX_ALL, NETCONFA_IFINDEX_DEFAULT = 0xFFFFFFFF, 0xFFFFFFFE
# linux/neighbour.h
NDA_DST, NDA_LLADDR = 1, 2
NUD_PERMANENT = 0x80
# linux/fib_rules.h
FRA_SRC, FRA_PRIORITY, FRA_TABLE, FR_ACT_TO_TBL = 2, 6, 15, 1
# linux/pkt_sched.h, linux/pkt_cls.h, linux/if_ether.h
CLSACT, CLSACT_HANDLE, CLSACT_INGRESS, CLSACT_EGRESS = 0xFFFFFFF1, 0xFFFF0000, 0xFFFFFFF2, 0xFFFFFFF3
TCA_BPF_FD, TCA_BPF_NAME, TCA_BPF_FLAGS, TCA_BPF_FLAG_ACT_DIRECT = 6, 7, 8, 1
ETH_P_ALL = 0x0003

# the fixed headers
LINK = struct.Struct("=BxHiII")  # struct ifinfomsg: family, type, index, flags, change
ADDRESS = struct.Struct("=BBBBi")  # struct ifaddrmsg: family, prefix length, flags, scope, index
NEIGHBOUR = struct.Struct("=BxxxiHBB")  # struct ndmsg: family, ifindex, state, flags, type
ROUTE = struct.Struct("=8BI")  # struct rtmsg: family, two lengths, tos, table, protocol, scope, type, flags
RULE = struct.Struct("=8BI")  # struct fib_rule_hdr: family, two lengths, tos, table, two reserved, action, flags
TRAFFIC = struct.Struct("=BxxxiIII")  # struct tcmsg: family, ifindex, handle, parent, info
RTGEN = struct.Struct("=Bxxx")  # struct rtgenmsg: family
NETCONF = struct.Struct("=Bxxx")  # struct netconfmsg: family
NUMBER = struct.Struct("=I")

_HEADER = struct.Struct("=IHHII")  # struct nlmsghdr: length, type, flags, sequence, port
_ATTRIBUTE = struct.Struct("=HH")  # struct rtattr: length, type


def messages(content: bytes) -> Iterator[tuple[int, int, bytes]]:
    """The type, flags and body of each netlink message."""
    at = 0
    while at + _HEADER.size <= len(content):
        length, kind, flags, *_ = _HEADER.unpack_from(content, at)
        if length < _HEADER.size:
            return
        yield kind, flags, content[at + _HEADER.size : at + length]
        at += _aligned(length)


def attribute(body: bytes, at: int, wanted: int) -> bytes:
    """The value of the first attribute *wanted* behind a fixed header that ends at *at*; empty when there is none."""
    while at + _ATTRIBUTE.size <= len(body):
        length, kind = _ATTRIBUTE.unpack_from(body, at)
        if length < _ATTRIBUTE.size:
            break
        if kind == wanted:
            return body[at + _ATTRIBUTE.size : at + length]
        at += _aligned(length)
    return b""


def attributes(body: bytes, at: int) -> Iterator[tuple[int, bytes]]:
    """The kind and value of each attribute behind a fixed header that ends at *at*."""
    while at + _ATTRIBUTE.size <= len(body):
        length, kind = _ATTRIBUTE.unpack_from(body, at)
        if length < _ATTRIBUTE.size:
            return
        yield kind, body[at + _ATTRIBUTE.size : at + length]
        at += _aligned(length)


def message(kind: int, flags: int, sequence: int, body: bytes) -> bytes:
    """One netlink message; *body* is a multiple of four octets, as fixed headers and :func:`packed` are."""
    return _HEADER.pack(_HEADER.size + len(body), kind, flags, sequence, 0) + body


def packed(kind: int, value: bytes) -> bytes:
    """One attribute; several, one behind the other, are a nested one's value."""
    return _ATTRIBUTE.pack(_ATTRIBUTE.size + len(value), kind) + value + bytes(-len(value) % 4)


# a list of links asks for one of these: without a mask the kernel leaves out whom it has no room for, as the owner of
# many other names, and who is behind it
WITHOUT_STATISTICS = packed(IFLA_EXT_MASK, NUMBER.pack(RTEXT_FILTER_SKIP_STATS))  # cheaper links
WITH_STATISTICS = packed(IFLA_EXT_MASK, NUMBER.pack(RTEXT_FILTER_MRP))  # which means something for bridges alone


def number(value: bytes) -> int:
    """A number in the machine's byte order; 0 where the attribute is not there."""
    return int.from_bytes(value, sys.byteorder)


def text(value: bytes) -> str:
    """A name, which ends with a NUL, to be shown or compared."""
    return value.rstrip(b"\0").decode(errors="replace")


def exact(value: bytes) -> str:
    """A name that :func:`octets` gives back to the kernel; what is no UTF-8 stands in surrogates (PEP 383)."""
    return value.rstrip(b"\0").decode(errors="surrogateescape")


def octets(name: str) -> bytes:
    """The same name as the kernel has it."""
    return name.encode(errors="surrogateescape") + b"\0"


def _aligned(length: int) -> int:
    return (length + 3) & ~3
