"""VFs of SR-IOV cards: looked at, set at their PF, moved into a pod's namespace and home, bound to a driver.

Stands between the pods' VFs (``agent.pods.vf.vfs``), who says what is to be and in which order, and the kernel: sysfs
(``pci``) and rtnetlink. Each method does one thing and finds the VF anew by its PCI address, so it can be called after
whatever happened in between; nothing is remembered here.

What the kernel does by itself: when a namespace ends, a VF's device comes back to the node's under the name that it had
there, set down, with the address and MTU that it had there; where that name is taken it is called dev and its number.
"""

import errno
import os
import re
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import IPv4Interface, IPv6Interface
from pathlib import Path

from agent.compile.vf import Change
from agent.kernel.device.pci import DeviceRefused, GroupFile, HugePages, PciBus
from agent.kernel.device.vf_routes import set_routes
from agent.log import logger
from agent.model.vf import NodeOwner, Vf, VfNetdev, VfRoute
from agent.netlink import vf_requests as requests
from agent.netlink.batch import SetSysctl, run_batch
from agent.netlink.counted import CountedVf, counted_vfs
from agent.netlink.dump import Dump
from agent.netlink.netns import NetnsHandle, NoSuchNetns, open_netns
from agent.netlink.requests import Request, set_mtu, set_up
from agent.netlink.socket import Socket

log = logger(__name__)

APPEAR_S = 10.0  # for a device to come: from a driver, or from a namespace that ends
POLL_S = 0.02
HIDDEN_PREFIX = "swv"  # of the name that a VF has while it moves; its PCI address follows
PF_BUSY_S = 2.0  # for a PF that answers EBUSY or EAGAIN, as while it resets


@dataclass(frozen=True, slots=True)
class PodAddresses:
    """What IPAM gave for a VF: addresses with their subnets, and routes."""

    interfaces: tuple[IPv4Interface | IPv6Interface, ...] = ()
    routes: tuple[VfRoute, ...] = ()


class SriovCard:
    """The VFs of one node; called from several threads, for one VF by one at a time."""

    def __init__(self, pci: PciBus | None = None) -> None:
        self._pci = pci or PciBus(Path("/"))

    def look(self, address: str) -> Vf:
        """The VF as it is now.

        Raises:
            DeviceRefused: it is none.
            OSError: the kernel refused to tell.
        """
        place = self._pci.place(address)
        with Dump() as dump:
            pf = requests.link_index(dump, place.pf_device)
            settings = requests.vf_settings(dump, pf[0], place.number) if pf else None
            netdev = requests.netdev_of(dump, address)
            used = requests.addresses_of(dump, netdev.index) if netdev else ()
        if pf is None or settings is None:
            raise DeviceRefused(f"the PF {place.pf_device} of {address} tells nothing of its VF {place.number}")
        return Vf(
            address=address,
            pf=place.pf,
            pf_device=place.pf_device,
            pf_driver=place.pf_driver,
            pf_mtu=pf[1],
            number=place.number,
            driver=self._pci.driver(address),
            driver_override=self._pci.driver_override(address),
            settings=settings,
            netdev=netdev,
            group=self._pci.group(address),
            node_addresses=used,
        )

    def counted(self, addresses: Iterable[str]) -> Mapping[str, CountedVf]:
        """What the PFs have counted of these VFs; without those that are no VFs any more, or whose PF has no device.

        Raises:
            OSError: the kernel refused to tell.
        """
        found: dict[str, CountedVf] = {}
        by_pf: dict[str, Mapping[int, CountedVf]] = {}
        with Dump() as dump:
            for address in addresses:
                try:
                    place = self._pci.place(address)
                except DeviceRefused:
                    continue
                if place.pf_device not in by_pf:
                    pf = requests.link_index(dump, place.pf_device)
                    by_pf[place.pf_device] = counted_vfs(dump, pf[0]) if pf else {}
                if place.number in by_pf[place.pf_device]:
                    found[address] = by_pf[place.pf_device][place.number]
        return found

    def set(self, address: str, change: Change) -> None:
        """Have the PF change one attribute; one that is busy is asked again for a while.

        Raises:
            DeviceRefused: it will not; the message names the key, the value and the driver.
        """
        place = self._pci.place(address)
        deadline = time.monotonic() + PF_BUSY_S
        with Dump() as dump, Socket() as node:
            pf = requests.link_index(dump, place.pf_device)
            while True:
                try:
                    node.ask(requests.set_vf(pf[0] if pf else 0, place.number, change))
                except OSError as error:
                    if error.errno in {errno.EBUSY, errno.EAGAIN} and time.monotonic() < deadline:
                        time.sleep(POLL_S)
                        continue
                    why = os.strerror(error.errno or 0)
                    text = f"{change.field}: {change}: refused by {place.pf_driver}, the driver of the PF"
                    raise DeviceRefused(f"{text} {place.pf_device}: {why}") from error
                return

    def netns_cookie(self, netns: str) -> int:
        """What tells the namespace at a path from all others of this boot.

        Raises:
            NoSuchNetns: it leads to none.
        """
        with open_netns(netns, may_be_host=False) as there:
            return there.cookie

    def bind(self, address: str, driver: str, override: str) -> None:
        """As :meth:`PciBus.bind`."""
        self._pci.bind(address, driver, override)

    def open_group(self, group: str, owner: NodeOwner | None) -> None:
        """As :meth:`PciBus.open_group`."""
        self._pci.open_group(group, owner)

    def group_file(self, group: str) -> GroupFile | None:
        """As :meth:`PciBus.group_file`."""
        return self._pci.group_file(group)

    def restore_group_file(self, group: str, was: GroupFile) -> None:
        """As :meth:`PciBus.restore_group_file`."""
        self._pci.restore_group_file(group, was)

    def hugepages(self) -> dict[int, HugePages]:
        """As :meth:`PciBus.hugepages`."""
        return self._pci.hugepages()

    def set_mac(self, address: str, mac: str) -> None:
        """Have the device on the node have this address; a driver that refuses takes the VF anew, and the PF's with it.

        Raises:
            DeviceRefused: it has another address still.
            OSError: the kernel refused.
        """
        found = self.await_netdev(address)
        if found.mac == mac:
            return
        with Socket() as node:
            refused = any(node.attempt(requests.set_mac(found.index, mac)))
        if refused:
            self._pci.rebind(address)
            found = self.await_netdev(address)
        else:
            found = self._on_node(address) or found
        if found.mac != mac:
            raise DeviceRefused(
                f"mac: {mac}: {address} has {found.mac} still, by its driver {self._pci.driver(address)}"
            )

    def to_pod(self, address: str, netns: str, cookie: int, name: str, mtu: int) -> VfNetdev:
        """Move the device into a pod's namespace, where it stays down until :meth:`configure`.

        Raises:
            FileExistsError: the pod has a device of that name; the VF is there under a hidden one.
            NoSuchNetns: the namespace is gone.
            OSError: the kernel refused.
        """
        found = self.await_netdev(address)
        with _namespace(netns, cookie) as there:
            self._leave(there.node, found, address, there.fd)
            self._settle(there.pod, address, name, mtu)
            _in_netns(there, name)
            moved = requests.netdev_of(Dump(there.pod), address)
            if moved is None:
                raise DeviceRefused(f"{address} has left {netns} while it was set up")
            return moved

    def configure(self, netns: str, cookie: int, address: str, given: PodAddresses) -> None:
        """Set the device in the pod up, with its addresses and the routes that the pod has by no other.

        What guards it is on it by now.

        Raises:
            OSError: the kernel refused.
        """
        with _namespace(netns, cookie) as there:
            found = requests.netdev_of(Dump(there.pod), address)
            if found is None:
                raise DeviceRefused(f"{address} is not in {netns}")
            there.pod.ask(set_up(found.index))
            for interface in given.interfaces:
                there.pod.ask(requests.add_interface_address(found.index, interface))
            set_routes(there.pod, found.index, given.routes)

    def in_pod(self, address: str, netns: str, cookie: int) -> VfNetdev | None:
        """The device as it is in a pod; None when it is not there, or the namespace is gone."""
        try:
            with _namespace(netns, cookie) as there:
                return requests.netdev_of(Dump(there.pod), address)
        except FileNotFoundError:
            return None

    def bring_home(self, address: str, netns: str, cookie: int, patience_s: float = APPEAR_S) -> VfNetdev:
        """Have the device on the node, set down and under its hidden name, wherever it was before.

        The kernel brings it where the namespace ends, which is waited for.

        Raises:
            DeviceRefused: it is nowhere to be found: in a namespace that ends, or that nobody names.
            OSError: the kernel refused.
        """
        home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            with _namespace(netns, cookie) as there:
                found = requests.netdev_of(Dump(there.pod), address)
                if found is not None:
                    self._leave(there.pod, found, address, home)
        except FileNotFoundError:
            pass  # the kernel brings it
        finally:
            os.close(home)
        found = self.await_netdev(address, patience_s)
        with Socket() as node:
            self._hide(node, found, address)
            self._strip(node, found.index, address)
        return self.await_netdev(address)

    def restore_netdev(self, address: str, was: VfNetdev) -> VfNetdev:
        """Have the device on the node be as it was, but for its number; what is taken meanwhile is told and left out.

        Raises:
            OSError: the kernel refused.
        """
        found = self.await_netdev(address)
        with Socket() as node:
            if found.mtu != was.mtu:
                node.ask(set_mtu(was.mtu, index=found.index))
            if found.name != was.name:
                if found.is_up:
                    node.ask(requests.set_down(found.index))
                self._try(node, requests.rename(found.index, was.name), address)
            for name in was.altnames:
                if name not in found.altnames:
                    self._try(node, requests.add_altname(found.index, name), address)
            found = requests.netdev_of(Dump(node), address) or found
            if was.is_up != found.is_up:
                node.ask(set_up(found.index) if was.is_up else requests.set_down(found.index))
            return requests.netdev_of(Dump(node), address) or found

    def await_netdev(self, address: str, patience_s: float = APPEAR_S) -> VfNetdev:
        """The VF's device on the node, once it is there.

        Raises:
            DeviceRefused: it does not come.
        """
        deadline = time.monotonic() + patience_s
        while (found := self._on_node(address)) is None:
            if time.monotonic() > deadline:
                raise DeviceRefused(
                    f"the network device of {address} is in a namespace that nobody names, or it has none"
                )
            time.sleep(POLL_S)
        return found

    def _on_node(self, address: str) -> VfNetdev | None:
        with Dump() as dump:
            return requests.netdev_of(dump, address)

    def _leave(self, here: Socket, found: VfNetdev, address: str, netns: int) -> None:
        """Into another namespace, under a name that nobody there can have, and without others that somebody may.

        A pod with NET_ADMIN may have given that name to another device of its own, so as to keep the VF.
        """
        try:
            self._hide(here, found, address)
        except OSError as error:
            if error.errno != errno.EEXIST:
                raise
        here.ask(requests.move(found.index, netns, _hidden(address)))

    def _strip(self, node: Socket, index: int, address: str) -> None:
        """Take off what a pod with rights to it may have put on the device for the next one."""
        self._try(node, requests.set_attentive(index), address)
        for mode in (requests.XDP_GENERIC, requests.XDP_NATIVE):
            self._try(node, requests.detach_xdp(index, mode), address)

    def _hide(self, here: Socket, found: VfNetdev, address: str) -> None:
        hidden = _hidden(address)
        for name in found.altnames:
            here.ask(requests.delete_altname(found.index, name))
        here.ask(requests.set_down(found.index))
        if found.name != hidden:
            here.ask(requests.rename(found.index, hidden))

    def _settle(self, pod: Socket, address: str, name: str, mtu: int) -> None:
        found = requests.netdev_of(Dump(pod), address)
        if found is None:
            raise DeviceRefused(f"{address} did not come into the pod's namespace")
        if found.mtu != mtu:
            pod.ask(set_mtu(mtu, index=found.index))
        try:
            pod.ask(requests.rename(found.index, name))
        except OSError as error:
            if error.errno == errno.EEXIST:
                raise FileExistsError(error.errno, str(error), name) from error
            raise

    @staticmethod
    def _try(node: Socket, request: Request, address: str) -> None:
        """What another device may have taken meanwhile: no reason not to restore the rest."""
        (refused,) = node.attempt(request)
        if refused:
            log.warning("a VF at home is not as it was", vf=address, what=str(request), why=os.strerror(refused))


def _hidden(address: str) -> str:
    """The name of a VF's device on its way."""
    return HIDDEN_PREFIX + re.sub(r"[:.]", "", address)


def _in_netns(there: NetnsHandle, name: str) -> None:
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
def _namespace(netns: str, cookie: int) -> Iterator[NetnsHandle]:
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
