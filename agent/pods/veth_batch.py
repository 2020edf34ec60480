"""A pod's wire as a row of steps for the kernel: the pair, the pod's side, the node's side, in the order they need.

Serves ``pod_link``, which has the row taken. Everything is known beforehand but the numbers of the two devices, which
the kernel gives in the first step; until then both are 0 (``maps.steps.End``).

The node's end comes up last, when its programs are on it: before that, no packet of the pod's gets anywhere.

Every pod sees one neighbour, the node, under the same link-local addresses and MAC, both written down for good:
no ARP, no duplicate address detection, nothing to wait for.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from ipaddress import IPv4Address, IPv6Address

from agent.kernel.net.sysctl import PROC
from agent.kernel.net.veth import side
from agent.model.address import Address
from agent.netlink import requests
from agent.netlink.socket import Ask, Knob, Request, get_link
from agent.pods.attachments import digest, host_device
from agent.pods.pod_netns import Place
from maps.steps import End

HOST_MAC = "ee:ee:ee:ee:ee:ee"
GATEWAY4 = IPv4Address("169.254.1.1")
GATEWAY6 = IPv6Address("fe80::ecee:eeff:feee:eeee")  # what HOST_MAC gives by EUI-64
LOOPBACK = 1  # lo's ifindex in every namespace
_NEW = 0  # a device that the row makes
_SWITCH = f"{PROC}/ipv6/conf/{{}}/disable_ipv6"
_ALIAS = "sluiceway"
BeforeUp = tuple[tuple[Knob, ...], tuple[Request, ...]]  # sysctls, and requests by which programs are attached
Row = tuple[Ask | Knob, ...]


@dataclass(frozen=True, slots=True)
class Wish:
    """The wire to make."""

    container_id: str
    interface: str
    netns: str  # path
    may_be_host: bool
    ipv4: IPv4Address | None
    ipv6: IPv6Address | None
    mac: str = ""  # empty: follows from the attachment

    @property
    def addresses(self) -> tuple[Address, ...]:
        """What the pod is to have."""
        return tuple(address for address in (self.ipv4, self.ipv6) if address is not None)

    @property
    def host_device(self) -> str:
        """The name of the node's end."""
        return host_device(self.container_id, self.interface)

    @property
    def pod_mac(self) -> str:
        """The pod's MAC, by its attachment unless told: 02 marks a locally administered address (IEEE 802, 8.4)."""
        if self.mac:
            return self.mac
        return bytes.fromhex("02" + digest(self.container_id, self.interface)[-10:]).hex(":")


def row(wish: Wish, where: Place, mtu: int, before_up: BeforeUp) -> Row:
    """The steps. Three devices are told of: the new pair's node end, and at last both ends, as they are then."""
    node, pod = where.node, where.pod
    name, mac, addresses = wish.host_device, wish.pod_mac, wish.addresses
    pair = requests.add_veth(name, HOST_MAC, mtu, peer=wish.interface, peer_mac=mac, netns=where.netns)
    switch = (Knob(_SWITCH.format(wish.interface), "0", where.netns),) if where.without_ipv6 and wish.ipv6 else ()
    knobs, guards = before_up
    up = requests.set_up(_NEW, f"{_ALIAS} {wish.container_id}"[:255])
    return (
        node.asking(pair, get_link(name=name)),
        *switch,  # it takes the lock of all network devices
        pod.asking(*_pod_side(addresses), end=End.PEER),
        *knobs,
        *((node.asking(*guards, end=End.DEVICE),) if guards else ()),
        node.asking(up, *side(_NEW, mac, addresses), _look(), end=End.DEVICE),
        pod.asking(_look(), end=End.PEER),
    )


def gateway(address: Address) -> Address:
    """Where the pod sends what leaves it."""
    return GATEWAY4 if isinstance(address, IPv4Address) else GATEWAY6


def _pod_side(addresses: tuple[Address, ...]) -> Iterator[Request]:
    """The pod's end with its addresses and its way out."""
    yield from _ups()
    for address in addresses:
        yield requests.add_address(_NEW, address)
        yield from _way_out(gateway(address))


@cache
def _ups() -> tuple[Request, ...]:
    return requests.set_up(LOOPBACK), requests.set_up(_NEW)


@cache
def _way_out(by: Address) -> tuple[Request, ...]:
    return requests.set_neighbour(_NEW, by, HOST_MAC), requests.set_default_route(_NEW, by)


@cache
def _look() -> Request:
    return get_link(index=_NEW)
