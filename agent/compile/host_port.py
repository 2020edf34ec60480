"""Pods' host ports as services: each pod with some is a service of its own, with itself as the one endpoint.

First step of compile; from there on a host port is a frontend like any other.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address
from typing import TypeVar

from agent.compile.endpoint import node_addresses
from agent.model.address import Address, Family, mapped_octets
from agent.model.attachment import Attachment, HostPort
from agent.model.cluster import Cluster
from agent.model.name import ObjectName
from agent.model.service import EndpointPort, EndpointSlice, EndpointState, HostPlace, Service, ServicePort

NAMESPACE = "hostPort"  # no namespace of a cluster has a capital letter
V = TypeVar("V")
LOOPBACK: tuple[Address, ...] = (IPv4Address("127.0.0.1"), IPv6Address("::1"))


def with_host_ports(cluster: Cluster, node_name: str, before: Cluster) -> Cluster:
    """*cluster* with the host ports of this node's pods among its services; the identical one when there are none.

    What an earlier call made for *before*, and would make again, stays the identical value.
    """
    asking = [attachment for attachment in cluster.local.attachments if attachment.host_ports]
    if not asking:
        return cluster
    node = cluster.nodes.get(node_name)
    own = (*sorted(node_addresses(cluster.local.devices, node.internal_ips if node else ()), key=_order), *LOOPBACK)
    services, slices = dict(cluster.services), dict(cluster.slices)
    for attachment in asking:
        name = service_name(attachment)
        services[name] = _kept(before.services, name, _service(name, attachment, own))
        slices[name] = _kept(before.slices, name, tuple(_slices(name, attachment, node_name)))
    return replace(cluster, services=services, slices=slices)


def service_name(attachment: Attachment) -> ObjectName:
    """The name of the service that a pod with host ports is."""
    return ObjectName(NAMESPACE, str(attachment.endpoint_id))


def _service(name: ObjectName, attachment: Attachment, own: Collection[Address]) -> Service:
    ports = tuple(dict.fromkeys(_port(wanted) for wanted in attachment.host_ports))
    versions = frozenset(address.version for address in attachment.addresses)
    places = (
        HostPlace(address, wanted.host_port, ports.index(_port(wanted)))
        for wanted in attachment.host_ports
        for address in _places(wanted, own)
        if address.version in versions
    )
    return Service(name, ports=ports, host_ports=tuple(dict.fromkeys(places)))


def _places(wanted: HostPort, own: Collection[Address]) -> Collection[Address]:
    """The node's addresses that a host port is at; one that it names need not be there yet."""
    one = wanted.address
    if one is not None and not one.is_unspecified:
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


def _kept(before: Mapping[ObjectName, V], name: ObjectName, now: V) -> V:
    old = before.get(name)
    return old if old == now else now
