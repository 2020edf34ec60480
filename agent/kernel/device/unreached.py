"""Devices where the pod that they are for cannot reach them yet: what guards them is put on there.

A process in the pod that may configure devices has one set up as soon as it sees it. So a device is guarded before: the
links of tcx stay on it when it changes its namespace, and from its first packet on programs judge. What the node has is
hidden there; what is made above a device of the node is made in a namespace without a name, where neither the node's
network managers see it nor anybody can enter.
"""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from agent.kernel.device.netdev import announce, namespace
from agent.kernel.device.pci import DeviceRefused
from agent.model.netdev import Netdev
from agent.model.nic import Nic, NicKind, NicSpec
from agent.netlink.dump import Dump
from agent.netlink.netdev_requests import move
from agent.netlink.netns import anonymous, open_netns
from agent.netlink.nic_requests import add_above, netdev_named
from agent.netlink.requests import delete_link


@dataclass(frozen=True, slots=True)
class Unreached:
    """Such a device, which is down."""

    netdev: Netdev
    netns: str = ""  # the path of the namespace that it is in, for this process alone; empty: the node's


@contextmanager
def made(spec: NicSpec, below: Nic, name: str) -> Iterator[Unreached]:
    """Make a device above one of the node's; what :func:`enter` has not taken to its pod is gone behind the block.

    Where the agent dies the kernel removes it a moment later.

    Raises:
        DeviceRefused: the kernel does not make one; the message says what stands in the way.
        OSError: it has no namespace for it.
    """
    with anonymous() as path, open_netns(path, may_be_host=False) as there:
        request = add_above(spec, below, netns=there.fd, name=name, mtu=spec.mtu or below.netdev.mtu)
        try:
            there.node.ask(request)
        except OSError as error:
            raise _meant(error, spec, below) from error
        found = netdev_named(Dump(there.pod), name)
        if found is None:
            raise DeviceRefused(f"the kernel has made no {spec.kind} above {below.netdev.name}")
        try:
            yield Unreached(found, path)
        finally:
            there.pod.attempt(delete_link(found.index))


def enter(out: Unreached, netns: str, cookie: int, index: int) -> None:
    """Have a device that was :func:`made` in its pod, still down, where it is the number *index*.

    Raises:
        FileExistsError: the pod has a device of that name.
        DeviceRefused: it has one of that number.
        FileNotFoundError, OSError: the namespace is gone, or the kernel refused.
    """
    name = out.netdev.name
    with namespace(netns, cookie) as there, open_netns(out.netns, may_be_host=False) as here:
        try:
            here.pod.ask(move(out.netdev.index, there.fd, name, index))
        except OSError as error:
            if error.errno == errno.EEXIST:
                raise FileExistsError(error.errno, str(error), name) from error
            if error.errno == errno.EBUSY:
                raise DeviceRefused(
                    f"the pod has another device of the number {index}, which {name} is to have"
                ) from error
            raise
        announce(there, name)


def _meant(error: OSError, spec: NicSpec, below: Nic) -> Exception:
    """What the kernel's number says of a device that cannot be made."""
    why = os.strerror(error.errno or 0)
    match error.errno, spec.kind:
        case errno.EEXIST, NicKind.VLAN:
            why = f"{below.netdev.name} has a device for VLAN {spec.vlan} already, the node's or another pod's"
            return DeviceRefused(f"vlanId: {why}; macvlan or ipvlan above that one share it")
        case errno.EBUSY, NicKind.MACVLAN | NicKind.IPVLAN:
            why = "has what excludes it, as a bridge's port, or the other kind of macvlan and ipvlan"
            return DeviceRefused(f"master: {below.netdev.name} {why}, or another of mode passthru")
        case errno.EADDRINUSE, NicKind.MACVLAN:
            return DeviceRefused(f"mac: {spec.mac} is another's above {below.netdev.name}")
        case errno.EOPNOTSUPP, _:
            return DeviceRefused(f"kind: the node's kernel has no {spec.kind}; load its module")
        case _:
            return DeviceRefused(f"master: no {spec.kind} above {below.netdev.name}: {why}")
