"""What kube-proxy's IPVS mode left beside its chains: virtual servers, ip sets, and the device with the addresses.

The device is what tells of that mode, so it is the last to go. Nothing is asked of IPVS without it: to ask would have
the kernel load the module. kube-proxy itself takes every virtual server for its own; here one is kube-proxy's whose
address is on the device, or whose address is the node's and the port a node port, so that keepalived's stay.
"""

import socket
from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final

from agent.kernel.kube_proxy import names
from agent.model.address import Address

_SERVERS: Final = Path("/proc/thread-self/net/ip_vs")


@dataclass(frozen=True, slots=True, order=True)
class VirtualServer:
    """One of IPVS's, by what it is found by."""

    address: Address
    port: int
    protocol: int  # IPPROTO_*


def is_there() -> bool:
    """Whether the device is."""
    return any(name == names.DEVICE for _, name in socket.if_nameindex())


def own(
    servers: Iterable[VirtualServer],
    on_device: Collection[Address],
    of_node: Collection[Address],
    node_ports: tuple[int, int],
) -> Iterator[VirtualServer]:
    """kube-proxy's among the virtual servers, by the addresses of its device and of the node's others."""
    first, last = node_ports
    for server in servers:
        if server.address in on_device or (server.address in of_node and first <= server.port <= last):
            yield server


def remove(node_ports: tuple[int, int]) -> None:
    """Take all of it away; kube-proxy's chains, which refer to the sets, are gone.

    Raises:
        OSError: the kernel refused.
    """
    from pyroute2 import IPRoute  # noqa: PLC0415  imported late: they cost 0.2 s, and few nodes need them
    from pyroute2.ipset import IPSet  # noqa: PLC0415
    from pyroute2.netlink.exceptions import NetlinkError  # noqa: PLC0415

    try:
        with IPSet() as sets:
            for name in sorted(_sets(sets.list())):
                sets.destroy(name)
        with IPRoute() as netlink:
            (index,) = netlink.link_lookup(ifname=names.DEVICE)
            addresses = [(found["index"], ip_address(_address(found))) for found in netlink.get_addr()]
            _remove_servers(
                {address for at, address in addresses if at == index},
                {address for at, address in addresses if at != index},
                node_ports,
            )
            netlink.link("del", index=index)
    except NetlinkError as error:
        raise OSError(error.code, f"IPVS: {error}") from error


def _remove_servers(on_device: set[Address], of_node: set[Address], node_ports: tuple[int, int]) -> None:
    if not _SERVERS.exists():  # the kernel has no IPVS
        return
    from pyroute2 import IPVS, IPVSService  # noqa: PLC0415  as above

    with IPVS() as kernel:
        found = {}
        for told in kernel.service("dump"):
            service = IPVSService.from_message(told)
            with suppress(KeyError, ValueError):  # one by a mark has no address
                found[_server(service)] = service
        for server in sorted(own(found, on_device, of_node, node_ports), key=str):
            kernel.service("del", service=found[server])


def _server(service: Any) -> VirtualServer:
    return VirtualServer(ip_address(service["addr"]), int(service["port"]), int(service["protocol"]))


def _address(told: Any) -> str:
    return str(told.get_attr("IFA_LOCAL") or told.get_attr("IFA_ADDRESS"))


def _sets(told: Iterable[Any]) -> Iterator[str]:
    for message in told:
        name = message.get_attr("IPSET_ATTR_SETNAME")
        if name in names.IP_SETS:
            yield name
