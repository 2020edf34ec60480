"""What ADD gave a device in a pod and it has no more: found, and set again.

A device that goes down, as one of a VLAN does with the device below it, loses its routes and its link-local address;
all ipvlan devices above one device have the mode that somebody gave the last of them. With an MTU that is too small for
IPv6 the kernel has none on the device, and forgets what it was told of it. Of what a pod with rights to its devices has
put there beside, nothing is touched.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv6Address
from pathlib import Path

from agent.kernel.device.netdev import PodAddresses, announce
from agent.kernel.device.netdev_routes import limit_routers, missing_routes
from agent.model.nic import IpvlanMode
from agent.netlink.batch import SetSysctl, run_batch
from agent.netlink.dump import Dump
from agent.netlink.netdev_requests import add_interface_address, add_route
from agent.netlink.netns import NetnsHandle
from agent.netlink.nic_requests import add_link_local, addresses_at, ipvlan_mode_of, netdev_at, set_ipvlan_mode
from agent.netlink.requests import Request

IPV6, IPV6_LEAST_MTU = 6, 1280  # RFC 8200, section 5: with less the kernel has no IPv6 on a device
IPV6_SYSCTLS = Path("/proc/sys/net/ipv6/conf")
GENERATED_BY_NOBODY = "1"  # IN6_ADDR_GEN_MODE_NONE, linux/if_link.h


@dataclass(frozen=True, slots=True)
class Given:
    """What ADD gave a device in a pod."""

    addresses: PodAddresses
    link_local: IPv6Address | None = None  # where it is not the MAC's
    mode: IpvlanMode | None = None  # of an ipvlan


@dataclass(frozen=True, slots=True)
class Lost:
    """One thing that it has no more: *what* as the end of a sentence about the device."""

    what: str
    again: Request
    is_ipv6: bool = False


def has_ipv6(mtu: int) -> bool:
    """Whether this kernel has IPv6 on a device of this MTU."""
    return mtu >= IPV6_LEAST_MTU and IPV6_SYSCTLS.is_dir()


def lost(there: NetnsHandle, index: int, given: Given) -> tuple[Lost, ...]:
    """What the device of this number has lost; nothing of one that is not there, and of one that is down its mode."""
    dump = Dump(there.pod)
    found = netdev_at(dump, index)
    if found is None:
        return ()
    mode = tuple(_mode(dump, index, given.mode))
    if not found.is_up:
        return mode
    return (*mode, *_addresses(dump, index, given, can_ipv6=has_ipv6(found.mtu)), *_routes(there, index, given))


def repair(there: NetnsHandle, index: int, given: Given) -> tuple[Lost, ...]:
    """Set that again; what was. Nothing of IPv6 where the device's MTU is too small for it.

    Raises:
        OSError: the kernel refused; the rest was tried.
    """
    found = netdev_at(Dump(there.pod), index)
    if found is None:
        return ()
    gone = tuple(one for one in lost(there, index, given) if not one.is_ipv6 or has_ipv6(found.mtu))
    if any(one.is_ipv6 for one in gone):
        announce(there, found.name)
        limit_routers(there, index, has_addresses=bool(given.addresses.interfaces))
        if given.link_local is not None:
            generate_none(there, found.name)
    if gone:
        there.pod.ask(*(one.again for one in gone))
    return gone


def generate_none(there: NetnsHandle, name: str) -> None:
    """Have the kernel make no address for the link of its own, as where all would have the same MAC's.

    Raises:
        OSError: the kernel refused.
    """
    run_batch([SetSysctl(f"{IPV6_SYSCTLS}/{name}/addr_gen_mode", GENERATED_BY_NOBODY, there.fd)])


def _mode(dump: Dump, index: int, wanted: IpvlanMode | None) -> Iterator[Lost]:
    if wanted is not None and (mode := ipvlan_mode_of(dump, index)) != wanted:
        yield Lost(f"is of mode {mode or 'unknown'}, not {wanted}", set_ipvlan_mode(index, wanted))


def _addresses(dump: Dump, index: int, given: Given, *, can_ipv6: bool) -> Iterator[Lost]:
    has = addresses_at(dump, index)
    for one in given.addresses.interfaces:
        if one.ip not in has:
            yield Lost(f"has not the address {one}", add_interface_address(index, one), one.version == IPV6)
    if given.link_local is not None and can_ipv6 and given.link_local not in has:
        yield Lost(f"has not the address {given.link_local}", add_link_local(index, given.link_local), is_ipv6=True)


def _routes(there: NetnsHandle, index: int, given: Given) -> Iterator[Lost]:
    for one in missing_routes(there.pod, given.addresses.routes):
        is_ipv6 = one.destination.version == IPV6
        yield Lost(f"has not the route to {one.destination}", add_route(index, one), is_ipv6)
