"""A network device of the node on its way into a pod's namespace and home.

Each step finds the device anew, so it can be taken after whatever happened in between; nothing is remembered here.

What the kernel does by itself: when a namespace ends, a device of hardware comes back to the node's under the name that
it had there, set down, with the address and MTU that it had there; where that name is taken it is called dev and its
number. A device that is software alone, as a VLAN's, ends with the namespace.
"""

import errno
import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import IPv4Interface, IPv6Interface

from agent.kernel.device.netdev_routes import limit_routers, set_routes
from agent.kernel.device.pci import DeviceRefused
from agent.log import logger
from agent.model.netdev import Netdev, NetdevRoute, printable
from agent.netlink import netdev_requests as requests
from agent.netlink.batch import SetSysctl, run_batch
from agent.netlink.dump import Dump
from agent.netlink.link_settings import set_settings
from agent.netlink.netdev_requests import netdevs
from agent.netlink.netns import NetnsHandle, NoSuchNetns, open_netns
from agent.netlink.nic_requests import links_above, netdev_at
from agent.netlink.requests import Request, delete_link, set_mtu, set_up
from agent.netlink.socket import Socket

log = logger(__name__)

APPEAR_S = 10.0  # for a device to come: from a driver, or from a namespace that ends
POLL_S = 0.02
RESET_S = 5.0  # for a device that its driver resets, as a VF's does behind what its PF was told
TOGETHER = 32  # requests in one message, whose refusals have room in a socket
Find = Callable[[Dump], Netdev | None]


class NamesTaken(DeviceRefused):
    """A device is home and as it was, but for names that others have; *index* is its number there."""

    def __init__(self, text: str, index: int) -> None:
        super().__init__(text)
        self.index = index


@dataclass(frozen=True, slots=True)
class PodAddresses:
    """What IPAM gave for a device: addresses with their subnets, and routes."""

    interfaces: tuple[IPv4Interface | IPv6Interface, ...] = ()
    routes: tuple[NetdevRoute, ...] = ()


@dataclass(frozen=True, slots=True)
class Movable:
    """One device: how it is called, and found."""

    label: str  # in messages, as 0000:03:02.0
    hidden: str  # the name that it has while it moves, and that no other can have
    find: Find  # on the node
    find_in_pod: Find
    number: int = 0  # that it is to have on the node, unless another has it; 0: as it comes

    def hide(self) -> Netdev:
        """Have the device on the node be down and under its hidden name, as it is on its way.

        Raises:
            DeviceRefused: it is not on the node.
            OSError: the kernel refused.
        """
        found = self.await_home()
        with Socket() as node:
            self._hide(node, found)
        return self.await_home()

    def to_pod(self, netns: str, cookie: int, name: str, mtu: int, index: int = 0) -> None:
        """Move the device into a pod's namespace, where it is down; *index* is what it is numbered there, if any.

        Raises:
            FileExistsError: the pod has a device of that name; this one is there under its hidden one.
            NoSuchNetns: the namespace is gone.
            OSError: the kernel refused.
        """
        found = self.await_home()
        with namespace(netns, cookie) as there:
            self._leave(there.node, found, there.fd, index)
            self._settle(there.pod, name, mtu)
            announce(there, name)

    def in_pod(self, netns: str, cookie: int) -> Netdev | None:
        """The device as it is in a pod; None when it is not there, or the namespace is gone."""
        try:
            with namespace(netns, cookie) as there:
                return self.find_in_pod(Dump(there.pod))
        except FileNotFoundError:
            return None

    def leave_pod(self, netns: str, cookie: int) -> None:
        """Have the device leave the pod for the node, set down and under its hidden name, if it is there.

        What the pod has made above it, as macvlan, would go on having its packets: it is removed, also what the pod was
        still making, or an agent that died has left. The kernel tells of none in other namespaces.

        Raises:
            OSError: the kernel refused.
        """
        home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            with namespace(netns, cookie) as there:
                found = self.find_in_pod(Dump(there.pod))
                if found is not None:
                    self._remove(there.pod, links_above(Dump(there.pod), found.index))
                    self._leave(there.pod, found, home, self.number)
                if (at_home := self.find(Dump(there.node))) is not None:
                    self._remove(there.pod, links_above(Dump(there.pod), at_home.index, home))
        except FileNotFoundError:
            pass  # the kernel brings it
        finally:
            os.close(home)

    def bring_home(self, netns: str, cookie: int, patience_s: float = APPEAR_S) -> Netdev:
        """Have the device on the node, set down and under its hidden name, wherever it was before.

        The kernel brings it where the namespace ends, which is waited for.

        Raises:
            DeviceRefused: it is nowhere to be found: in a namespace that ends, or that nobody names.
            OSError: the kernel refused.
        """
        self.leave_pod(netns, cookie)
        found = self.await_home(patience_s)
        with Socket() as node:
            self._hide(node, found)
            self._strip(node, found.index)
        return self.await_home()

    def restore(self, was: Netdev) -> Netdev:
        """Have the device on the node be as it was, but for its number; what its driver refuses is told and left out.

        Raises:
            NamesTaken: all else is done.
            OSError: the kernel refused.
        """
        found = self.await_home()
        with Socket() as node:
            if found.mtu != was.mtu:
                node.ask(set_mtu(was.mtu, index=found.index))
            if found.mac != was.mac:
                self._try(node, requests.set_mac(found.index, was.mac))
            if was.settings is not None and found.settings is not None:
                self._try(node, *set_settings(found.index, found.settings, was.settings))
            lacking = tuple(self._give_names(node, found, was))
            if was.is_up != found.is_up:
                ask_patiently(node, set_up(found.index) if was.is_up else requests.set_down(found.index), RESET_S)
            if lacking:
                raise self._taken(found.index, lacking)
            return netdev_at(Dump(node), found.index) or found

    def restore_names(self, was: Netdev, index: int) -> bool:
        """Try again what :class:`NamesTaken` said, and nothing else; whether the device is there still, as *index*.

        Raises:
            NamesTaken: they are still.
            OSError: the kernel refused.
        """
        with Socket() as node:
            found = self.find(Dump(node)) or netdev_at(Dump(node), index)
            if found is None or found.index != index:
                return False
            if lacking := tuple(self._give_names(node, found, was)):
                raise self._taken(index, lacking)
            return True

    def await_home(self, patience_s: float = APPEAR_S) -> Netdev:
        """The device on the node, once it is there.

        Raises:
            DeviceRefused: it does not come.
        """
        deadline = time.monotonic() + patience_s
        while (found := self._on_node()) is None:
            if time.monotonic() > deadline:
                text = f"the network device of {self.label} is in a namespace that nobody names, or it has none"
                raise DeviceRefused(text)
            time.sleep(POLL_S)
        return found

    def _on_node(self) -> Netdev | None:
        with Dump() as dump:
            return self.find(dump)

    def _leave(self, here: Socket, found: Netdev, netns: int, index: int) -> None:
        """Into another namespace, under a name that nobody there can have, and without others that somebody may.

        A pod with NET_ADMIN may have given that name to another device of its own, so as to keep this one.
        """
        try:
            self._hide(here, found)
        except OSError as error:
            if error.errno != errno.EEXIST:
                raise
        try:
            here.ask(requests.move(found.index, netns, self.hidden, index))
        except OSError as error:
            if error.errno != errno.EBUSY or index != self.number:
                raise
            here.ask(requests.move(found.index, netns, self.hidden))

    def _strip(self, node: Socket, index: int) -> None:
        """Take off what a pod with rights to it may have put on the device for the next one."""
        self._try(node, requests.set_attentive(index))
        for mode in (requests.XDP_GENERIC, requests.XDP_NATIVE):
            self._try(node, requests.detach_xdp(index, mode))

    def _remove(self, pod: Socket, indexes: Iterable[int]) -> None:
        for index in indexes:
            self._try(pod, delete_link(index))

    def _hide(self, here: Socket, found: Netdev) -> None:
        for at in range(0, len(found.altnames), TOGETHER):
            self._try(
                here, *(requests.delete_altname(found.index, name) for name in found.altnames[at : at + TOGETHER])
            )
        here.ask(requests.set_down(found.index))
        if found.name != self.hidden:
            here.ask(requests.rename(found.index, self.hidden))

    def _give_names(self, node: Socket, found: Netdev, was: Netdev) -> Iterator[str]:
        """Have the device called as it was; what stands in the way, name by name."""
        others = {
            name: one for one in netdevs(Dump(node)) if one.index != found.index for name in (one.name, *one.altnames)
        }
        wanted = {was.name: requests.rename(found.index, was.name)} if found.name != was.name else {}
        wanted |= {name: requests.add_altname(found.index, name) for name in was.altnames if name not in found.altnames}
        for name, request in wanted.items():
            if (other := others.get(name)) is not None:
                who = f"number {other.index}, MAC {other.mac or 'none'}"
                yield f"the name {printable(name)} is another device's ({who}); rename that, or take it away"
                continue
            (refused,) = node.attempt(request)
            if refused == errno.EBUSY and found.is_up:  # before Linux 6.2 what is up has its name for good
                node.ask(requests.set_down(found.index))
                (refused,) = node.attempt(request)
                node.ask(set_up(found.index))
            if refused:
                yield f"{request}: {os.strerror(refused)}"

    def _taken(self, index: int, lacking: Iterable[str]) -> NamesTaken:
        return NamesTaken(f"{self.label} is home, but not under all its names: {'; '.join(lacking)}", index)

    def _settle(self, pod: Socket, name: str, mtu: int) -> None:
        found = self.find_in_pod(Dump(pod))
        if found is None:
            raise DeviceRefused(f"{self.label} did not come into the pod's namespace")
        if found.mtu != mtu:
            pod.ask(set_mtu(mtu, index=found.index))
        try:
            pod.ask(requests.rename(found.index, name))
        except OSError as error:
            if error.errno == errno.EEXIST:
                raise FileExistsError(error.errno, str(error), name) from error
            raise

    def _try(self, here: Socket, *wanted: Request) -> None:
        """What may be refused, as a name that another device has meanwhile: no reason not to do the rest."""
        answers = here.attempt(*wanted) if wanted else ()
        for request, refused in zip(wanted, answers, strict=True):
            if refused:
                why = os.strerror(refused)
                log.warning("a device is not as it was", device=self.label, what=str(request), why=why)


def ask_patiently(here: Socket, request: Request, patience_s: float) -> None:
    """Have a driver do something; one that is busy is asked again for a while.

    Raises:
        OSError: it will not, or is busy still.
    """
    deadline = time.monotonic() + patience_s
    while True:
        try:
            here.ask(request)
        except OSError as error:
            if error.errno not in {errno.EBUSY, errno.EAGAIN} or time.monotonic() > deadline:
                raise
            time.sleep(POLL_S)
        else:
            return


def configure(there: NetnsHandle, index: int, given: PodAddresses) -> None:
    """Set a device in a pod up, with its addresses and the routes that the pod has by no other.

    What guards it is on it by now.

    Raises:
        OSError: the kernel refused.
    """
    limit_routers(there, index, has_addresses=bool(given.interfaces))
    ask_patiently(there.pod, set_up(index), RESET_S)
    for interface in given.interfaces:
        there.pod.ask(requests.add_interface_address(index, interface))
    set_routes(there.pod, index, given.routes)


def announce(there: NetnsHandle, name: str) -> None:
    """Have the device tell its neighbours of itself when it comes up, as its address may have been another's."""
    wanted = {"ipv4": {"arp_notify": "1"}, "ipv6": {"disable_ipv6": "0", "ndisc_notify": "1", "keep_addr_on_down": "1"}}
    run_batch(
        [
            SetSysctl(f"/proc/sys/net/{family}/conf/{name}/{key}", value, there.fd)
            for family, sysctls in wanted.items()
            for key, value in sysctls.items()
        ]
    )


@contextmanager
def namespace(netns: str, cookie: int) -> Iterator[NetnsHandle]:
    """The namespace that ADD saw.

    Raises:
        FileNotFoundError: it is gone, or another is at its path.
    """
    try:
        with open_netns(netns, may_be_host=False) as there:
            if there.cookie != cookie:
                raise FileNotFoundError(errno.ENOENT, "the namespace is another's now", netns)
            yield there
    except NoSuchNetns as error:
        raise FileNotFoundError(errno.ENOENT, str(error), netns) from error
