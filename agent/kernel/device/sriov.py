"""VFs of SR-IOV cards: looked at, set at their PF, moved into a pod's namespace and home, bound to a driver.

Stands between the pods' VFs (``agent.pods.vf.vfs``), who says what is to be and in which order, and the kernel: sysfs
(``pci``) and rtnetlink. Each method does one thing and finds the VF anew by its PCI address, so it can be called after
whatever happened in between; nothing is remembered here.
"""

import os
import re
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from agent.compile.vf import Change
from agent.kernel.device.netdev import (
    APPEAR_S,
    POLL_S,
    RESET_S,
    Movable,
    PodAddresses,
    ask_patiently,
    configure,
    namespace,
)
from agent.kernel.device.netdev_repair import Given, Lost, lost, repair
from agent.kernel.device.pci import DeviceRefused, GroupFile, HugePages, PciBus
from agent.kernel.device.unreached import Unreached
from agent.log import logger
from agent.model.netdev import Netdev
from agent.model.nic import Nic
from agent.model.vf import NodeOwner, Vf, VfSettings
from agent.netlink.counted import CountedVf, counted_vfs
from agent.netlink.dump import Dump
from agent.netlink.netdev_requests import link_index, netdev_of, set_mac
from agent.netlink.netns import NetnsHandle, open_netns
from agent.netlink.nic_requests import nics
from agent.netlink.socket import Socket
from agent.netlink.vf_requests import set_vf, vf_settings
from agent.netlink.ways_out import routes_out_of

log = logger(__name__)

HIDDEN_PREFIX = "swv"  # of the name that a VF has while it moves; its PCI address follows
_Told = TypeVar("_Told")
PF_BUSY_S = 2.0  # for a PF that answers EBUSY or EAGAIN, as while it resets


class SriovCard:
    """The VFs of one node; called from several threads, for one VF by one at a time."""

    def __init__(self, pci: PciBus | None = None) -> None:
        self._pci = pci or PciBus(Path("/"))

    def look(self, address: str) -> Vf:
        """The VF as it is now.

        Raises:
            DeviceGone: there is no such function.
            DeviceRefused: it is no VF, or its PF has no device here.
            OSError: the kernel refused to tell.
        """
        place = self._pci.place(address)
        with Dump() as dump:
            pf = link_index(dump, place.pf_device)
            settings = vf_settings(dump, pf[0]).get(place.number) if pf else None
            netdev = netdev_of(dump, address)
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
        )

    def nics(self, address: str) -> tuple[Nic, ...]:
        """The VF's network devices on the node, with all that the node has of them.

        Raises:
            OSError: the kernel refused to tell.
        """
        with Dump() as dump:
            those = tuple(one for one in nics(dump) if one.parent == address)
            return tuple(replace(one, routed=routes_out_of(dump, one.netdev.index)) for one in those)

    def counted(self, addresses: Iterable[str]) -> Mapping[str, CountedVf]:
        """What the PFs have counted of these VFs; without those that are no VFs any more, or whose PF has no device.

        Raises:
            OSError: the kernel refused to tell.
        """
        return self._by_pf(addresses, counted_vfs)

    def settings(self, addresses: Iterable[str]) -> Mapping[str, VfSettings]:
        """What the PFs keep for these VFs; without whom as :meth:`counted`.

        Raises:
            OSError: the kernel refused to tell.
        """
        return self._by_pf(addresses, vf_settings)

    def _by_pf(self, addresses: Iterable[str], told: Callable[[Dump, int], Mapping[int, _Told]]) -> Mapping[str, _Told]:
        """What PFs tell of their VFs, each asked once."""
        found: dict[str, _Told] = {}
        by_pf: dict[str, Mapping[int, _Told]] = {}
        with Dump() as dump:
            for address in addresses:
                try:
                    place = self._pci.place(address)
                except DeviceRefused:
                    continue
                if place.pf_device not in by_pf:
                    pf = link_index(dump, place.pf_device)
                    by_pf[place.pf_device] = told(dump, pf[0]) if pf else {}
                if place.number in by_pf[place.pf_device]:
                    found[address] = by_pf[place.pf_device][place.number]
        return found

    def set(self, address: str, change: Change) -> None:
        """Have the PF change one attribute; one that is busy is asked again for a while.

        Raises:
            DeviceRefused: it will not; the message names the key, the value and the driver.
        """
        place = self._pci.place(address)
        with Dump() as dump, Socket() as node:
            pf = link_index(dump, place.pf_device)
            try:
                ask_patiently(node, set_vf(pf[0] if pf else 0, place.number, change), PF_BUSY_S)
            except OSError as error:
                why = os.strerror(error.errno or 0)
                text = f"{change.field}: {change}: refused by {place.pf_driver}, the driver of the PF"
                raise DeviceRefused(f"{text} {place.pf_device}: {why}") from error

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

        One that takes it may have it only when the PF has answered.

        Raises:
            DeviceRefused: it has another address still.
            OSError: the kernel refused.
        """
        found = self.await_netdev(address)
        if found.mac == mac:
            return
        with Socket() as node:
            refused = any(node.attempt(set_mac(found.index, mac)))
        if refused:
            self._pci.rebind(address)
        deadline = time.monotonic() + RESET_S
        while (found := self.await_netdev(address)).mac != mac:
            if time.monotonic() > deadline:
                text = f"mac: {mac}: {address} has {found.mac} still, by its driver {self._pci.driver(address)}"
                raise DeviceRefused(text)
            time.sleep(POLL_S)

    def hide(self, address: str) -> Unreached:
        """As :meth:`Movable.hide`."""
        return Unreached(_netdev(address).hide())

    def to_pod(self, address: str, netns: str, cookie: int, name: str, mtu: int) -> None:
        """As :meth:`Movable.to_pod`."""
        _netdev(address).to_pod(netns, cookie, name, mtu)

    def configure(self, netns: str, cookie: int, address: str, given: PodAddresses) -> None:
        """As :func:`agent.kernel.device.netdev.configure`.

        Raises:
            DeviceRefused: the device is not in the pod.
            OSError: the kernel refused.
        """
        with namespace(netns, cookie) as there:
            found = netdev_of(Dump(there.pod), address)
            if found is None:
                raise DeviceRefused(f"{address} is not in {netns}")
            configure(there, found.index, given)

    def in_pod(self, address: str, netns: str, cookie: int) -> Netdev | None:
        """As :meth:`Movable.in_pod`."""
        return _netdev(address).in_pod(netns, cookie)

    def lost(self, address: str, netns: str, cookie: int, given: Given) -> tuple[str, ...]:
        """What the device in the pod has no more of what it was given, as ends of sentences about it.

        Raises:
            OSError: the kernel did not answer.
        """
        return _in_namespace(address, netns, cookie, given, lost)

    def repair(self, address: str, netns: str, cookie: int, given: Given) -> tuple[str, ...]:
        """Set that again; what it had lost, as :meth:`lost` has it.

        Raises:
            OSError: the kernel refused; the rest was tried.
        """
        return _in_namespace(address, netns, cookie, given, repair)

    def bring_home(self, address: str, netns: str, cookie: int, patience_s: float = APPEAR_S) -> Netdev:
        """As :meth:`Movable.bring_home`."""
        return _netdev(address).bring_home(netns, cookie, patience_s)

    def restore_netdev(self, address: str, was: Netdev) -> Netdev:
        """As :meth:`Movable.restore`."""
        return _netdev(address).restore(was)

    def restore_names(self, address: str, was: Netdev, index: int) -> bool:
        """As :meth:`Movable.restore_names`."""
        return _netdev(address).restore_names(was, index)

    def await_netdev(self, address: str) -> Netdev:
        """As :meth:`Movable.await_home`."""
        return _netdev(address).await_home()


def _in_namespace(
    address: str, netns: str, cookie: int, given: Given, do: Callable[[NetnsHandle, int, Given], tuple[Lost, ...]]
) -> tuple[str, ...]:
    try:
        with namespace(netns, cookie) as there:
            found = netdev_of(Dump(there.pod), address)
            return tuple(one.what for one in do(there, found.index, given)) if found else ()
    except FileNotFoundError:
        return ()


def _netdev(address: str) -> Movable:
    """A VF's network device, wherever it is."""
    hidden = HIDDEN_PREFIX + re.sub(r"[:.]", "", address)
    return Movable(address, hidden, lambda dump: netdev_of(dump, address), lambda dump: netdev_of(dump, address))
