"""What is not as ADD left it of a pod's veth, looked for in the pod's namespace and on the node: CHECK asks."""

import errno
from ipaddress import IPv4Address, IPv6Address
from typing import Any

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from agent.model.address import Address
from agent.model.attachment import Attachment
from agent.pods.pod_netns import inside, open_netns
from agent.pods.veth_spec import gateway

_V4, _V6 = 2, 10  # AF_INET, AF_INET6
_MAIN = 254  # RT_TABLE_MAIN
GONE = frozenset({errno.ENODEV, errno.ESRCH, errno.ENOENT, errno.EADDRNOTAVAIL})


def faults(attachment: Attachment) -> tuple[str, ...]:
    """What is missing of a veth whose ends are both there.

    Raises:
        NetnsUnusable, NetlinkError, OSError: it cannot be looked at.
    """
    wanted = frozenset(attachment.addresses)
    with open_netns(attachment.netns, may_be_host=True) as there, inside(there.fd), IPRoute() as ip:
        link = next(iter(_links(ip, ifname=attachment.interface)), None)
        present = _addresses(ip, link["index"]) if link else frozenset()
        # get_default_routes() reads but the first piece of a long answer; the rest is in the way of what comes next
        routes = (route for f in (_V4, _V6) for route in ip.get_routes(family=f, table=_MAIN))
        defaults = {str(route.get("gateway")) for route in routes if not route["dst_len"]}
    with IPRoute() as node:
        routed = {
            str(route.get("dst"))
            for f in (_V4, _V6)
            for route in node.route("dump", family=f, oif=attachment.link.ifindex)
        }
    found = [f"{a} is not on {attachment.interface}" for a in sorted(wanted - present, key=str)]
    found += [f"the pod has no default route via {g}" for g in map(gateway, wanted) if str(g) not in defaults]
    found += [f"the node has no route to {a}" for a in sorted(map(str, wanted)) if a not in routed]
    return tuple(found)


def _links(ip: IPRoute, **which: object) -> list[Any]:
    try:
        return list(ip.link("get", **which))
    except NetlinkError as error:
        if error.code in GONE:
            return []
        raise


def _addresses(ip: IPRoute, index: int) -> frozenset[Address]:
    found: list[Address] = [IPv4Address(a.get("address")) for a in ip.addr("dump", family=_V4, index=index)]
    found += [IPv6Address(a.get("address")) for a in ip.addr("dump", family=_V6, index=index)]
    return frozenset(found)
