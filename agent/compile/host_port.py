"""Pods' host ports as services: each pod with some is a service of its own, with itself as the one endpoint.

From there on a host port is a frontend like any other.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from agent.model.address import Address, Family, mapped_octets
from agent.model.attachment import Attachment, HostPort
from agent.model.name import ObjectName
from agent.model.service import EndpointPort, EndpointSlice, EndpointState, HostAddress, Service, ServicePort

NAMESPACE = "hostPort"  # no namespace of a cluster has a capital letter
LOOPBACK: tuple[Address, ...] = (IPv4Address("127.0.0.1"), IPv6Address("::1"))


@dataclass(frozen=True, slots=True)
class HostPortService:
    """A pod's host ports as a service, and the pod as its endpoint in each of its families."""

    service: Service
    slices: tuple[EndpointSlice, ...]


HostPortServices = Mapping[ObjectName, HostPortService]


def host_port_services(
    attachments: Iterable[Attachment], own: Collection[Address], node_name: str, before: HostPortServices
) -> HostPortServices:
    """The host ports of this node's pods; *own* are the node's addresses. What stays is the identical value."""
    asking = [attachment for attachment in attachments if attachment.host_ports]
    if not asking:
        return before if not before else {}
    addresses = (*sorted(own, key=_order), *LOOPBACK)
    found: dict[ObjectName, HostPortService] = {}
    for attachment in asking:
        name = service_name(attachment)
        made = HostPortService(_service(name, attachment, addresses), tuple(_slices(name, attachment, node_name)))
        found[name] = before[name] if before.get(name) == made else made
    return found


def service_name(attachment: Attachment) -> ObjectName:
    """The name of the service that a pod with host ports is."""
    return ObjectName(NAMESPACE, str(attachment.endpoint_id))


def _service(name: ObjectName, attachment: Attachment, own: Collection[Address]) -> Service:
    ports = tuple(dict.fromkeys(_port(wanted) for wanted in attachment.host_ports))
    versions = frozenset(address.version for address in attachment.addresses)
    hosts = (
        HostAddress(address, wanted.host_port, ports.index(_port(wanted)))
        for wanted in attachment.host_ports
        for address in _addresses(wanted, own)
        if address.version in versions
    )
    return Service(name, ports=ports, host_ports=tuple(dict.fromkeys(hosts)))


def _addresses(wanted: HostPort, own: Collection[Address]) -> Collection[Address]:
    """The node's addresses that a host port is at; one that it names has it while it is the node's, and no other's."""
    one = wanted.address
    if one is not None and one.is_loopback:
        return (one,)
    return tuple(address for address in own if wanted.is_at(address))


def _port(wanted: HostPort) -> ServicePort:
    """The pod's end: a backend set is named by it, whatever leads there."""
    return ServicePort(str(wanted.container_port), wanted.protocol, wanted.container_port)


def _slices(name: ObjectName, attachment: Attachment, node_name: str) -> Iterator[EndpointSlice]:
    """The pod, in each of its families."""
    ports = tuple(EndpointPort(p.name, p.protocol, p.port) for p in dict.fromkeys(map(_port, attachment.host_ports)))
    for address in attachment.addresses:
        family = Family.IPV4 if isinstance(address, IPv4Address) else Family.IPV6
        yield EndpointSlice(name, name, family, ports, mapped_octets(address), (EndpointState(node=node_name),))


def _order(address: Address) -> tuple[int, int]:
    return address.version, int(address)
