"""A pod's veth pair with its addresses, routes and neighbours, made and unmade by netlink.

Serves ADD, DEL and CHECK; knows nothing of CNI. The pod's end is born in the pod's namespace under its final
name, so nothing is renamed or moved. A thread visits the pod's namespace by setns and comes back: no fork. ADD has the
whole pair made by one netlink batch (``veth_batch``), for which the thread leaves the interpreter once.
"""

import errno
import time
from collections.abc import Callable, Iterable, Iterator

from agent.kernel.device.afxdp import AfXdp
from agent.kernel.device.interface import AfXdpInterface
from agent.kernel.net.veth import AFXDP_MTU
from agent.log import logger
from agent.model.address import Address
from agent.model.attachment import Attachment, Veth, is_veth_name
from agent.netlink import requests
from agent.netlink.batch import Link, Refused, run_batch
from agent.netlink.dump import Dump
from agent.netlink.netns import NetnsHandle, NoSuchNetns, open_netns
from agent.netlink.rtnetlink import IFLA_ADDRESS, IFLA_IFNAME, LINK, RTM_GETLINK, WITHOUT_STATISTICS, attribute, text
from agent.netlink.socket import Socket
from agent.options.values import LEAST_MTU
from agent.pods.errors import InterfaceTaken, MacTaken, NetnsUnusable
from agent.pods.pod_rules import remove_rules
from agent.pods.veth_batch import Batch, BeforeUp, veth_batch
from agent.pods.veth_check import faults
from agent.pods.veth_repair import repair
from agent.pods.veth_spec import HOST_MAC, MadeVeth, VethSpec, table_of

log = logger(__name__)

DEFAULT_MTU = 1500  # of a node without uplink
CARRIER_S = 5
GONE = frozenset({errno.ENODEV, errno.ESRCH, errno.ENOENT, errno.EADDRNOTAVAIL})


class PodVeths:
    """Makes and removes veth pairs between the calling thread's namespace, the node's, and pods'."""

    def __init__(
        self,
        ways_out: Callable[[], Iterable[int]],
        before_up: Callable[[str], BeforeUp],
        fixed_mtu: int = 0,
        afxdp: AfXdp | None = None,
    ) -> None:
        """*ways_out* gives the MTUs of the ways out: uplinks, and the tunnel, whose MTU leaves room for what it adds.

        *before_up* tells by a host end's name what is done to it before it comes up; its ifindex stands there as 0.

        *afxdp* makes interfaces with AF_XDP what they are; without it there are none.

        A *fixed_mtu* other than 0 is the pods' MTU, whatever the devices'.
        """
        self._ways_out = ways_out
        self._before_up = before_up
        self._fixed_mtu = fixed_mtu
        self._afxdp = afxdp

    def create(self, spec: VethSpec) -> MadeVeth:
        """Make the pair, whole or not at all.

        Raises:
            NetnsUnusable: nothing was touched.
            MacTaken: a device of the node has the MAC; nothing was touched.
            InterfaceTaken: nothing is left.
            OSError, MapsError: the kernel refused; nothing is left.
        """
        try:
            with open_netns(spec.netns, may_be_host=spec.may_be_host) as netns:
                return self._create(spec, netns)
        except NoSuchNetns as error:
            raise NetnsUnusable(str(error)) from error

    def _create(self, spec: VethSpec, netns: NetnsHandle) -> MadeVeth:
        name, mtu = spec.host_device, self._mtu_of(spec)
        if spec.mac and spec.mac in {HOST_MAC, *(mac for _, mac in _names_and_macs())}:
            raise MacTaken(f"{spec.mac} is of a device of the node; ask for another, or for none")
        if spec.table:
            remove_rules(netns, spec.table)  # of an ADD that failed
        link, *ends = _make(netns, spec, veth_batch(spec, netns, mtu, self._before_up(name)))
        try:
            for netlink, end in zip((netns.node, netns.pod), ends, strict=True):
                _await_carrier(netlink, end)
            self._steer(spec, netns, ends[1].index)
        except BaseException:
            self._take_away(netns.node, name)
            raise
        return MadeVeth(Veth(name, link.index, afxdp=spec.afxdp), spec.pod_mac, mtu, netns.cookie)

    def remove(self, name: str) -> bool:
        """Remove the pair with this host end; its routes, neighbours and the pod's end go with it."""
        with Socket() as node:
            return self._take_away(node, name)

    def leave(self, attachment: Attachment) -> None:
        """Remove an attachment's pair, and what a pod that goes on would keep of it."""
        self.remove(attachment.link.host_device)
        if attachment.is_first:
            return
        try:
            with open_netns(attachment.netns, may_be_host=True) as netns:
                if netns.cookie == attachment.netns_cookie:
                    remove_rules(netns, table_of(attachment.container_id, attachment.interface))
        except NoSuchNetns:
            return
        except OSError as error:
            log.warning("rules of an interface that is gone stay in its pod", netns=attachment.netns, why=error)

    def ours(self) -> frozenset[str]:
        """The host ends that are on the node."""
        return frozenset(name for name, mac in _names_and_macs() if _is_ours(mac, name))

    def is_alive(self, attachment: Attachment) -> bool:
        """Whether the pod's namespace is the one ADD saw and the node's end is there."""
        try:
            with open_netns(attachment.netns, may_be_host=True) as there:
                if there.cookie != attachment.netns_cookie:
                    return False
        except NoSuchNetns:
            return False
        return self.is_there(attachment)

    def is_there(self, attachment: Attachment) -> bool:
        """Whether the node's end is there; it lives as long as the pod's, and that as long as the pod's namespace."""
        with Socket() as node:
            link = node.find(name=attachment.link.host_device)
            return link is not None and link.index == attachment.link.ifindex

    def faults(self, attachment: Attachment) -> tuple[str, ...]:
        """What is not as ADD left it; empty when all is well."""
        if not self.is_alive(attachment):
            return (f"{attachment.link.host_device} or the namespace {attachment.netns} is gone",)
        return (*faults(attachment), *(self._afxdp.faults(attachment) if self._afxdp is not None else ()))

    def repair(self, attachment: Attachment) -> tuple[Address, ...]:
        """As :func:`agent.pods.veth_repair.repair`."""
        return repair(attachment)

    def _steer(self, spec: VethSpec, netns: NetnsHandle, ifindex: int) -> None:
        """Have the pod's end, by its *ifindex* there, give packets to AF_XDP sockets, where that is asked for."""
        if spec.afxdp is not None and self._afxdp is not None:
            there = f"/proc/self/fd/{netns.fd}"
            one = AfXdpInterface(spec.host_device, spec.interface, there, netns.cookie, spec.afxdp)
            self._afxdp.attach(one, ifindex)

    def _take_away(self, node: Socket, name: str) -> bool:
        was_there = _remove(node, name)
        if self._afxdp is not None:
            self._afxdp.remove(name)
        return was_there

    def _mtu_of(self, spec: VethSpec) -> int:
        return min(self._mtu(), AFXDP_MTU) if spec.afxdp else self._mtu()

    def _mtu(self) -> int:
        """The smallest MTU of the ways out; one that changes meanwhile reaches the pod afterwards."""
        return self._fixed_mtu or max(min(self._ways_out(), default=DEFAULT_MTU), LEAST_MTU)


def _names_and_macs() -> Iterator[tuple[str, str]]:
    """Those of the node's devices."""
    with Dump() as dump:
        links = dump.read(RTM_GETLINK, bytes(LINK.size) + WITHOUT_STATISTICS)
    for body in links:
        yield text(attribute(body, LINK.size, IFLA_IFNAME)), attribute(body, LINK.size, IFLA_ADDRESS).hex(":")


def _make(netns: NetnsHandle, spec: VethSpec, batch: Batch) -> tuple[Link, ...]:
    """Run the batch; the pair's name may be taken by what an agent left that died within ADD."""
    node, name = netns.node, spec.host_device
    for is_again in (False, True):
        try:
            return run_batch(batch, alone=True)
        except Refused as refused:
            if refused.part > 0 or refused.errno != errno.EEXIST:
                _remove(node, name)
                raise
            if is_again or not _remove(node, name):
                raise InterfaceTaken(f"{spec.interface} exists already in {spec.netns}") from refused
    raise AssertionError


def _await_carrier(netlink: Socket, end: Link) -> None:
    """Until packets pass: a device without queue drops them before the kernel has heard that the other end is up.

    Since Linux 6.8 to ask is enough; before, it hears within milliseconds, of itself.
    """
    deadline = time.monotonic() + CARRIER_S
    link: Link | None = end
    while link is not None and not link.is_operational:
        if time.monotonic() > deadline:
            raise OSError(errno.ENETDOWN, f"device {end.index} has no carrier {CARRIER_S} s after its peer is up")
        time.sleep(0.001)
        link = netlink.find(index=end.index)


def _remove(node: Socket, name: str) -> bool:
    """Whether the device was there; only ours is removed, whoever took the name."""
    link = node.find(name=name)
    if link is None or not _is_ours(link.mac, name):
        return False
    try:
        node.ask(requests.delete_link(link.index))
    except OSError as error:
        if error.errno in GONE:
            return False
        raise
    return True


def _is_ours(mac: object, name: object) -> bool:
    return is_veth_name(str(name)) and mac == HOST_MAC
