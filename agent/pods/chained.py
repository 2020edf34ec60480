"""The node's end of an interface that another CNI plugin made: found, given our programs, and left without them again.

Serves ``pods`` where the agent runs with ``--network chained``. The device stays that plugin's: nothing of it is made,
set or removed here.
"""

import errno
from collections.abc import Iterable
from dataclasses import dataclass

from agent.kernel.programs.attach import Hooks
from agent.kernel.programs.hooks import POD
from agent.model.attachment import Veth
from agent.netlink.dump import Dump
from agent.netlink.netdev_requests import netns_number
from agent.netlink.netns import NetnsHandle, NoSuchNetns, open_netns
from agent.netlink.requests import get_link
from agent.netlink.rtnetlink import (
    IFLA_ADDRESS,
    IFLA_IFNAME,
    IFLA_INFO_KIND,
    IFLA_LINK,
    IFLA_LINK_NETNSID,
    IFLA_LINKINFO,
    IFLA_MTU,
    LINK,
    attribute,
    number,
    text,
)
from agent.netlink.socket import Socket
from agent.pods.errors import InterfaceUnusable, NetnsUnusable
from agent.pods.request import PodRequest
from agent.pods.veth_check import addresses_of
from agent.pods.veth_spec import MadeVeth


@dataclass(frozen=True, slots=True)
class _Link:
    """What the kernel says of a device."""

    index: int
    name: str
    kind: str
    peer: int  # of a veth: the other end's ifindex in its own namespace
    peer_netns: bytes  # which that is, by a number; empty: the device's own
    mac: str
    mtu: int


class ChainedVeths:
    """Ends of others' veth pairs, in the calling thread's namespace, the node's."""

    def __init__(self, hooks: Hooks) -> None:
        self._hooks = hooks

    def find(self, request: PodRequest) -> MadeVeth:
        """The interface that *request* tells of.

        Raises:
            NetnsUnusable: its namespace is gone, or is none.
            InterfaceUnusable: it is not there, or has no end on the node.
            OSError: the kernel refused to tell.
        """
        try:
            with open_netns(request.netns, may_be_host=False) as netns:
                return _find(request, netns)
        except NoSuchNetns as error:
            raise NetnsUnusable(str(error)) from error

    def guard(self, link: Veth) -> None:
        """Have our programs on it.

        Raises:
            MapsError: the kernel refused, or somebody else's program has their place.
        """
        self._hooks.guard(link.ifindex, POD)

    def release(self, link: Veth) -> None:
        """Have none of our programs on it; a device that is gone has none."""
        with Socket() as node:
            found = node.find(name=link.host_device)
        if found is not None and found.index == link.ifindex:
            self._hooks.detach(link.ifindex, POD)

    def release_indexes(self, those: Iterable[int]) -> None:
        """Have none of our programs on these devices."""
        for ifindex in those:
            self._hooks.detach(ifindex, POD)

    def guarded_indexes(self) -> frozenset[int]:
        """The devices that have our programs, by ifindex."""
        return self._hooks.attached(POD)


def _find(request: PodRequest, netns: NetnsHandle) -> MadeVeth:
    name, made = request.interface, request.made
    inner = _link(netns.pod, name=name)
    if made is None or inner is None:
        raise InterfaceUnusable(f"there is no {name} in {request.netns}")
    if inner.kind != "veth":
        kind = f"a {inner.kind}" if inner.kind else "no virtual device"
        text = f"{name} in {request.netns} is {kind} and has no end of its own on the node, where policy is enforced"
        raise InterfaceUnusable(f"{text}; chain behind a plugin that makes veth pairs, as bridge and ptp do")
    outer = _link(netns.node, index=inner.peer)
    if outer is None or not _is_end(outer, inner, netns):
        raise InterfaceUnusable(f"the other end of {name} in {request.netns} is not on the node")
    if made.node_devices and outer.name not in made.node_devices:
        told = ", ".join(sorted(made.node_devices))
        raise InterfaceUnusable(f"the other end of {name} is {outer.name}, of which nothing is told; told are {told}")
    there = addresses_of(Dump(netns.pod), inner.index)
    missing = [str(address) for address in made.addresses if address not in there]
    if missing:
        raise InterfaceUnusable(f"{name} in {request.netns} has no address {', '.join(missing)}")
    return MadeVeth(Veth(outer.name, outer.index, is_chained=True), inner.mac, inner.mtu, netns.cookie)


def _is_end(outer: _Link, inner: _Link, netns: NetnsHandle) -> bool:
    """Whether a device of the node is the other end of one in the pod: numbers of devices repeat across namespaces."""
    return (
        outer.kind == "veth"
        and outer.peer == inner.index
        and outer.peer_netns == netns_number(Dump(netns.node), netns.fd)
    )


def _link(socket: Socket, *, name: str = "", index: int = 0) -> _Link | None:
    """The device of this name, or of this ifindex; None when there is none."""
    request = get_link(name=name, index=index)
    try:
        body = Dump(socket).one(request.kind, request.body)
    except OSError as error:
        if error.errno == errno.ENODEV:
            return None
        raise
    info = attribute(body, LINK.size, IFLA_LINKINFO)
    return _Link(
        index=LINK.unpack_from(body)[2],
        name=text(attribute(body, LINK.size, IFLA_IFNAME)),
        kind=text(attribute(info, 0, IFLA_INFO_KIND)),
        peer=number(attribute(body, LINK.size, IFLA_LINK)),
        peer_netns=attribute(body, LINK.size, IFLA_LINK_NETNSID),
        mac=attribute(body, LINK.size, IFLA_ADDRESS).hex(":"),
        mtu=number(attribute(body, LINK.size, IFLA_MTU)),
    )
