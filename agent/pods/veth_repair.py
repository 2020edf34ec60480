"""What a pod's interface of ours loses when somebody sets it down and up, set again: without it the pod reaches nobody.

The kernel then forgets the neighbours of the interface, also those that are known for good, and the routes by it, and
of IPv6 the addresses; so it does of IPv4 with the last address. The sign is that the node is no neighbour any more: of
who has taken away a route alone, as to have another way out, nothing is touched, nor of who has set an MTU with which
the kernel has no IPv6.
"""

from collections.abc import Iterator
from ipaddress import ip_address

from agent.kernel.device.netdev_repair import IPV6, has_ipv6
from agent.model.address import ANY, Address
from agent.model.attachment import Attachment
from agent.netlink import requests
from agent.netlink.batch import run_batch
from agent.netlink.dump import Dump
from agent.netlink.netdev_requests import routes_of
from agent.netlink.netns import NetnsHandle, NoSuchNetns, open_netns
from agent.netlink.nic_requests import netdev_named
from agent.netlink.requests import FAMILIES, Request
from agent.netlink.rtnetlink import NDA_DST, NEIGHBOUR, NUD_PERMANENT, RT_TABLE_MAIN, RTM_GETNEIGH, attribute
from agent.pods.veth_batch import switched_on
from agent.pods.veth_check import addresses_of
from agent.pods.veth_spec import HOST_MAC, gateway, table_of


def repair(attachment: Attachment) -> tuple[Address, ...]:
    """Set again what an interface that is up has lost; the addresses whose way out that was.

    Raises:
        OSError: it cannot be seen, or the kernel refused; the rest was tried.
    """
    if attachment.link.is_chained or attachment.is_in_pod:
        return ()
    try:
        with open_netns(attachment.netns, may_be_host=True) as netns:
            found = netdev_named(Dump(netns.pod), attachment.interface)
            if netns.cookie != attachment.netns_cookie or found is None or not found.is_up:
                return ()
            known = frozenset(_neighbours(Dump(netns.pod), found.index))
            lost = tuple(one for one in attachment.addresses if gateway(one) not in known)
            if not has_ipv6(found.mtu):
                lost = tuple(one for one in lost if one.version != IPV6)
            if any(one.version == IPV6 for one in lost) and netns.without_ipv6:
                run_batch([switched_on(netns, attachment.interface)])
            if lost:
                netns.pod.ask(*_again(netns, attachment, found.index, lost))
            return lost
    except NoSuchNetns:
        return ()


def _again(netns: NetnsHandle, attachment: Attachment, index: int, lost: tuple[Address, ...]) -> Iterator[Request]:
    """As ADD sets it; a way out that the pod has by another interface stays that one's."""
    there = addresses_of(Dump(netns.pod), index)
    table = 0 if attachment.is_first else table_of(attachment.container_id, attachment.interface)
    ways = {key[:2] for kind in FAMILIES.values() for key, _ in routes_of(Dump(netns.pod), kind)}
    for one in lost:
        if one not in there:
            yield requests.add_address(index, one)
        yield requests.set_neighbour(index, gateway(one), HOST_MAC)
        if (ANY[one.version], table or RT_TABLE_MAIN) not in ways:
            yield requests.set_default_route(index, gateway(one), table)


def _neighbours(dump: Dump, index: int) -> Iterator[Address]:
    """Those of a device that are known for good."""
    for body in dump.read(RTM_GETNEIGH, bytes(NEIGHBOUR.size)):
        _, device, state, _, _ = NEIGHBOUR.unpack_from(body)
        if device == index and state & NUD_PERMANENT and (value := attribute(body, NEIGHBOUR.size, NDA_DST)):
            yield ip_address(value)
