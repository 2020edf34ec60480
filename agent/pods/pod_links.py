"""The network devices that a pod's namespace has, whoever made them."""

from agent.netlink.dump import Dump
from agent.netlink.netns import NoSuchNetns, open_netns
from agent.netlink.rtnetlink import IFLA_IFNAME, LINK, RTM_GETLINK, WITHOUT_STATISTICS, attribute, text
from agent.pods.network_record import NetworkSet


def devices_in(one: NetworkSet) -> frozenset[str] | None:
    """Their names; None when the namespace is not there, or another's is, or that cannot be seen now."""
    try:
        return _devices_in(one)
    except OSError:
        return None


def has_device(one: NetworkSet, name: str) -> bool:
    """Whether there is one of this name; where that cannot be seen now, there is."""
    try:
        return name in (_devices_in(one) or ()) if one.netns else False
    except OSError:
        return True


def _devices_in(one: NetworkSet) -> frozenset[str] | None:
    try:
        with open_netns(one.netns, may_be_host=True) as there:
            if there.cookie != one.netns_cookie:
                return None
            links = Dump(there.pod).read(RTM_GETLINK, bytes(LINK.size) + WITHOUT_STATISTICS)
    except NoSuchNetns:
        return None
    return frozenset(text(attribute(body, LINK.size, IFLA_IFNAME)) for body in links)
