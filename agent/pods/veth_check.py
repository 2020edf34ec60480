"""What is not as ADD left it of a pod's veth, looked for in the pod's namespace and on the node: CHECK asks."""

from collections.abc import Iterator
from ipaddress import ip_address

from agent.model.address import Address
from agent.model.attachment import Attachment
from agent.netlink.batch import Link
from agent.netlink.dump import Dump
from agent.netlink.netns import open_netns
from agent.netlink.requests import FAMILIES
from agent.netlink.rtnetlink import (
    ADDRESS,
    IFA_ADDRESS,
    ROUTE,
    RTA_DST,
    RTA_GATEWAY,
    RTA_OIF,
    RTM_GETADDR,
    attribute,
    number,
)
from agent.pods.link_faults import link_faults
from agent.pods.veth_spec import gateway


def faults(attachment: Attachment) -> tuple[str, ...]:
    """What is missing of a veth whose ends are both there.

    Raises:
        NoSuchNetns, OSError: it cannot be looked at.
    """
    wanted = attachment.addresses
    if attachment.link.is_chained:
        return _chained_faults(attachment)
    with open_netns(attachment.netns, may_be_host=True) as netns:
        link = netns.pod.find(name=attachment.interface)
        there = Dump(netns.pod)
        present = addresses_of(there, link.index) if link else frozenset()
        defaults = {attribute(body, ROUTE.size, RTA_GATEWAY) for body in _routes(there) if not _length(body)}
        routed = frozenset(_destinations(Dump(netns.node), attachment.link.ifindex))
        node_end = netns.node.find(index=attachment.link.ifindex)
    found = [*_own_faults(attachment, link, node_end.mtu if node_end else 0)]
    found += [f"{a} is not on {attachment.interface}" for a in wanted if a not in present]
    ways_out = tuple(map(gateway, wanted)) if attachment.is_first else ()
    found += [f"the pod has no default route via {g}" for g in ways_out if g.packed not in defaults]
    found += [f"the node has no route to {a}" for a in wanted if a.packed not in routed]
    return tuple(found)


def _chained_faults(attachment: Attachment) -> tuple[str, ...]:
    """What is not as it was of an interface that another plugin made: what the programs take for the pod's own."""
    with open_netns(attachment.netns, may_be_host=True) as netns:
        link = netns.pod.find(name=attachment.interface)
        present = addresses_of(Dump(netns.pod), link.index) if link else frozenset()
    found = [f"{a} is not on {attachment.interface}" for a in attachment.addresses if a not in present]
    return (*found, *_own_faults(attachment, link, 0))


def _own_faults(attachment: Attachment, link: Link | None, given_mtu: int) -> Iterator[str]:
    """Of the pod's end itself; the node's has the MTU that both were given."""
    if link is not None:
        told = link_faults(link.mac, link.mtu, given_mac=attachment.mac, given_mtu=given_mtu)
        yield from (f"{attachment.interface} {what}" for what in told)


def addresses_of(dump: Dump, index: int) -> frozenset[Address]:
    """The addresses of a device in the namespace of *dump*."""
    return frozenset(_addresses(dump, index))


def _addresses(dump: Dump, index: int) -> Iterator[Address]:
    for body in dump.read(RTM_GETADDR, bytes(ADDRESS.size)):
        value = attribute(body, ADDRESS.size, IFA_ADDRESS)
        if ADDRESS.unpack_from(body)[4] == index and value:
            yield ip_address(value)


def _destinations(dump: Dump, index: int) -> Iterator[bytes]:
    """What the main table has routes to, out of this device."""
    for body in _routes(dump):
        if number(attribute(body, ROUTE.size, RTA_OIF)) == index:
            yield attribute(body, ROUTE.size, RTA_DST)


def _routes(dump: Dump) -> Iterator[bytes]:
    for family in FAMILIES.values():
        yield from dump.routes(family)


def _length(route: bytes) -> int:
    """The prefix length of its destination."""
    return int(ROUTE.unpack_from(route)[1])
