"""A pod's veth pair as one netlink batch: the pair, the pod's side, the node's side, in the order they need.

Serves ``veth``, which has the batch done. Everything is known beforehand but the numbers of the two devices, which
the kernel gives in the first part; until then both are 0 (``maps.netlink.End``).

The node's end comes up last, when its programs are on it: before that, no packet of the pod's gets anywhere.
"""

from collections.abc import Iterator
from functools import cache, lru_cache

from agent.kernel.net.sysctl import PROC
from agent.kernel.net.veth import side
from agent.model.address import Address
from agent.netlink import requests
from agent.netlink.batch import Messages, SetSysctl
from agent.netlink.netns import NetnsHandle
from agent.netlink.requests import Request, get_link
from agent.pods.veth_spec import HOST_MAC, VethSpec, gateway
from maps.netlink import End

LOOPBACK = 1  # lo's ifindex in every namespace
_NEW = 0  # a device that the batch makes
_SWITCH = f"{PROC}/ipv6/conf/{{}}/disable_ipv6"
_ALIAS = "sluiceway"
BeforeUp = tuple[tuple[SetSysctl, ...], tuple[Request, ...]]  # sysctls, and requests by which programs are attached
Batch = tuple[Messages | SetSysctl, ...]


def veth_batch(spec: VethSpec, netns: NetnsHandle, mtu: int, before_up: BeforeUp) -> Batch:
    """The batch; it answers with three devices: the new pair's node end, and at last both ends, as they are then."""
    node, pod = netns.node, netns.pod
    name, mac, addresses = spec.host_device, spec.pod_mac, spec.addresses
    queues = spec.afxdp.queues if spec.afxdp else 1
    pair = requests.add_veth(name, HOST_MAC, mtu, peer=spec.interface, peer_mac=mac, netns=netns.fd, queues=queues)
    switch = (switched_on(netns, spec.interface),) if netns.without_ipv6 and spec.ipv6 else ()
    sysctls, guards = before_up
    up = requests.set_up(_NEW, f"{_ALIAS} {spec.container_id}"[:255])
    return (
        node.messages(pair, get_link(name=name)),
        *switch,  # it takes the lock of all network devices
        pod.messages(*_pod_side(addresses, spec.table), end=End.PEER),
        *sysctls,
        *((node.messages(*guards, end=End.DEVICE),) if guards else ()),
        node.messages(up, *side(_NEW, mac, addresses), _look(), end=End.DEVICE),
        pod.messages(_look(), end=End.PEER),
    )


def switched_on(netns: NetnsHandle, interface: str) -> SetSysctl:
    """IPv6 on a device of a pod that has it on none."""
    return SetSysctl(_SWITCH.format(interface), "0", netns.fd)


def _pod_side(addresses: tuple[Address, ...], table: int) -> Iterator[Request]:
    """The pod's end with its addresses and its way out.

    With a *table* of its own, that is for what the pod sends from these addresses: what answers a caller goes back
    where it came from, and all else by the container's first interface.
    """
    yield from _ups()
    for address in addresses:
        yield requests.add_address(_NEW, address)
        yield from _way_out(gateway(address), table)
        if table:
            yield requests.add_rule(address, table)


@cache
def _ups() -> tuple[Request, ...]:
    return requests.set_up(LOOPBACK), requests.set_up(_NEW)


@lru_cache(16)
def _way_out(by: Address, table: int) -> tuple[Request, ...]:
    return requests.set_neighbour(_NEW, by, HOST_MAC), requests.set_default_route(_NEW, by, table)


@cache
def _look() -> Request:
    return get_link(index=_NEW)
