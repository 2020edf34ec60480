"""One object's bytes become a model value, or nothing, and the user's mistakes in it.

A bad field costs that field, port or address; the rest of the object is used. JSON of a wrong shape
costs the object.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import msgspec

from agent.model.address import Address, Family
from agent.model.name import ObjectName, Problem
from agent.model.node import Namespace, Node, Pod
from agent.model.service import (
    Endpoint,
    EndpointPort,
    EndpointSlice,
    LoadBalancerAddress,
    Protocol,
    Service,
    ServicePort,
)
from agent.watch.decode import objects
from agent.watch.decode.reader import Decoded, Kind, Reader, object_name

AFFINITY_DEFAULT_S = 10800  # DefaultClientIPServiceAffinitySeconds
AFFINITY_MAX_S = 86400  # the API server's bound
HEADLESS = "service.kubernetes.io/headless"
NOT_SERVED = ("service.kubernetes.io/service-proxy-name", HEADLESS)
SERVICE_NAME = "kubernetes.io/service-name"
ZONE = "topology.kubernetes.io/zone"
IPAM, HOST_LOCAL = "sluiceway.io/ipam", "host-local"  # on a Node: whose reservations to keep


@dataclass(frozen=True, slots=True)
class Decoder:
    """Reads objects for one node."""

    node_name: str

    def decode(self, kind: Kind, content: bytes | msgspec.Raw) -> Decoded:
        """The meaning of one object's JSON."""
        try:
            return self._decoded(kind, content)
        except msgspec.DecodeError as error:
            name = identity(content)
            return Decoded(kind, name, None, (_shape_problem(kind, name, str(error)),))

    def deleted(self, kind: Kind, content: bytes | msgspec.Raw) -> Decoded:
        """The meaning of an object's deletion; *content* is its last state."""
        return Decoded(kind, identity(content), None)

    def _decoded(self, kind: Kind, content: bytes | msgspec.Raw) -> Decoded:
        match kind:
            case Kind.SERVICE:
                return _service(_SERVICE.decode(content))
            case Kind.ENDPOINT_SLICE:
                return _slice(_SLICE.decode(content))
            case Kind.NODE:
                return _node(_NODE.decode(content))
            case Kind.POD:
                return _pod(_POD.decode(content), self.node_name)
            case Kind.NAMESPACE:
                return _namespace(_NAMESPACE.decode(content))


def identity(content: bytes | msgspec.Raw) -> ObjectName:
    """An object's name, "?" where not even that can be read."""
    try:
        named = _NAMED.decode(content)
    except msgspec.DecodeError:
        return ObjectName("", "?")
    return object_name(named.metadata)


_NAMED = msgspec.json.Decoder(objects.Named)
_SERVICE = msgspec.json.Decoder(objects.Service)
_SLICE = msgspec.json.Decoder(objects.EndpointSlice)
_NODE = msgspec.json.Decoder(objects.Node)
_POD = msgspec.json.Decoder(objects.Pod)
_NAMESPACE = msgspec.json.Decoder(objects.Namespace)


def _service(found: objects.Service) -> Decoded:
    read = Reader(Kind.SERVICE, found.metadata)
    spec = found.spec
    if not _is_served(found):
        return read.result(None)
    balancer = tuple(_balancer(read, found.status.load_balancer.ingress or []))
    ranges = tuple(_source_ranges(read, spec.load_balancer_source_ranges or []))
    if spec.load_balancer_source_ranges and not ranges:
        balancer = ()  # no range at all would admit everybody
    return read.result(
        Service(
            name=read.name,
            cluster_ips=tuple(_cluster_ips(read, spec)),
            external_ips=tuple(read.reachables(spec.external_ips, "spec.externalIPs")),
            load_balancer=balancer,
            source_ranges=ranges,
            ports=_service_ports(read, spec),
            internal_local=spec.internal_traffic_policy == "Local",
            external_local=spec.external_traffic_policy == "Local",
            affinity_s=_affinity_s(read, spec),
            publish_not_ready=spec.publish_not_ready_addresses,
        )
    )


def _is_served(found: objects.Service) -> bool:
    labels = found.metadata.labels or {}
    spec = found.spec
    is_headless = "None" in (spec.cluster_ip, *(spec.cluster_ips or ()))
    return not (is_headless or spec.type == "ExternalName" or any(label in labels for label in NOT_SERVED))


def _cluster_ips(read: Reader, spec: objects.ServiceSpec) -> Iterator[Address]:
    if spec.cluster_ips:
        yield from read.reachables(spec.cluster_ips, "spec.clusterIPs")
    elif spec.cluster_ip:
        address = read.reachable(spec.cluster_ip, "spec.clusterIP")
        if address is not None:
            yield address
    else:
        read.refuse("spec.clusterIP", "is missing; nothing allocates one here, so give an address")


def _service_ports(read: Reader, spec: objects.ServiceSpec) -> tuple[ServicePort, ...]:
    ports: dict[tuple[int, Protocol], ServicePort] = {}
    for index, found in enumerate(spec.ports or ()):
        where = f"spec.ports[{index}]"
        protocol = read.protocol(found.protocol, f"{where}.protocol")
        number = read.port(found.port, f"{where}.port")
        if protocol is None or number is None:
            continue
        if (number, protocol) in ports:
            read.refuse(f"{where}.port", f"{number}/{protocol.name} is given twice; the first holds")
            continue
        node_port = _node_port(read, spec, found.node_port or 0, f"{where}.nodePort")
        ports[number, protocol] = ServicePort(found.name or "", protocol, number, node_port)
    if not ports:
        read.refuse("spec.ports", "holds no usable port; the Service has nothing to answer on")
    return tuple(ports.values())


def _node_port(read: Reader, spec: objects.ServiceSpec, number: int, where: str) -> int:
    """The node port, 0 for none; a LoadBalancer may go without (allocateLoadBalancerNodePorts)."""
    if number:
        if spec.type in ("NodePort", "LoadBalancer"):
            return read.port(number, where) or 0
        read.refuse(where, f"has no meaning for type {spec.type}; say type NodePort")
    elif spec.type == "NodePort":
        read.refuse(where, "is missing; nothing allocates one here, so give a number")
    return 0


def _affinity_s(read: Reader, spec: objects.ServiceSpec) -> int:
    if spec.session_affinity != "ClientIP":
        return 0
    config = spec.session_affinity_config
    given = config.client_ip.timeout_seconds if config and config.client_ip else None
    if given is None:
        return AFFINITY_DEFAULT_S
    if not 1 <= given <= AFFINITY_MAX_S:
        where = "spec.sessionAffinityConfig.clientIP.timeoutSeconds"
        read.refuse(where, f"{given} is not within 1 and {AFFINITY_MAX_S}; {AFFINITY_DEFAULT_S} holds")
        return AFFINITY_DEFAULT_S
    return given


def _balancer(read: Reader, ingress: list[objects.Ingress]) -> Iterator[LoadBalancerAddress]:
    for index, found in enumerate(ingress):
        where = f"status.loadBalancer.ingress[{index}].ip"
        address = read.reachable(found.ip, where) if found.ip else None
        if address is not None:
            yield LoadBalancerAddress(address, proxy=found.ip_mode == "Proxy")


def _source_ranges(read: Reader, ranges: list[str]) -> Iterator[str]:
    for index, text in enumerate(ranges):
        # the API server admits blanks around it
        network = read.network(text.strip(), f"spec.loadBalancerSourceRanges[{index}]")
        if network is not None:
            yield str(network)


def _slice(found: objects.EndpointSlice) -> Decoded:
    read = Reader(Kind.ENDPOINT_SLICE, found.metadata)
    labels = found.metadata.labels or {}
    service = labels.get(SERVICE_NAME)
    if not service or HEADLESS in labels or found.address_type == "FQDN":
        return read.result(None)
    if found.address_type not in tuple(Family):
        read.refuse("addressType", f"{found.address_type!r} is none of IPv4, IPv6 and FQDN")
        return read.result(None)
    kind = Family(found.address_type)
    endpoints = (
        _endpoint(read, endpoint, kind, f"endpoints[{index}]") for index, endpoint in enumerate(found.endpoints or ())
    )
    return read.result(
        EndpointSlice(
            name=read.name,
            service=ObjectName(read.name.namespace, service),
            family=kind,
            ports=tuple(_endpoint_ports(read, found.ports or [])),
            endpoints=tuple(endpoint for endpoint in endpoints if endpoint is not None),
        )
    )


def _endpoint_ports(read: Reader, ports: list[objects.EndpointPort]) -> Iterator[EndpointPort]:
    for index, found in enumerate(ports):
        protocol = read.protocol(found.protocol, f"ports[{index}].protocol")
        number = read.port(found.port, f"ports[{index}].port")
        if protocol is not None and number is not None:
            yield EndpointPort(found.name or "", protocol, number)


def _endpoint(read: Reader, found: objects.Endpoint, kind: Family, where: str) -> Endpoint | None:
    addresses = tuple(read.reachables(found.addresses, f"{where}.addresses", kind))
    if not addresses:
        return None
    state = found.conditions or _NO_CONDITIONS
    ready = state.ready is not False
    hints = found.hints or _NO_HINTS
    return Endpoint(
        addresses=addresses,
        ready=ready,
        serving=ready if state.serving is None else state.serving,
        terminating=state.terminating is True,
        node=found.node_name or "",
        zone=found.zone or "",
        for_zones=tuple(hint.name for hint in hints.for_zones or ()),
        for_nodes=tuple(hint.name for hint in hints.for_nodes or ()),
    )


_NO_CONDITIONS = objects.Conditions()
_NO_HINTS = objects.Hints()


def _node(found: objects.Node) -> Decoded:
    read = Reader(Kind.NODE, found.metadata)
    internal = [
        read.address(given.address, f"status.addresses[{index}].address")
        for index, given in enumerate(found.status.addresses or ())
        if given.type == "InternalIP"
    ]
    texts = found.spec.pod_cidrs or ([found.spec.pod_cidr] if found.spec.pod_cidr else [])
    cidrs = [read.network(text, f"spec.podCIDRs[{index}]") for index, text in enumerate(texts)]
    return read.result(
        Node(
            name=read.name.name,
            internal_ips=tuple(address for address in internal if address is not None),
            pod_cidrs=tuple(cidr for cidr in cidrs if cidr is not None),
            zone=(found.metadata.labels or {}).get(ZONE, ""),
            imports_host_local=_imports_host_local(read, found.metadata.annotations or {}),
        )
    )


def _imports_host_local(read: Reader, annotations: Mapping[str, str]) -> bool:
    value = annotations.get(IPAM, HOST_LOCAL)
    if value != HOST_LOCAL:
        read.refuse(f"metadata.annotations['{IPAM}']", f"{value!r} is not known; say {HOST_LOCAL}, or leave it out")
    return IPAM in annotations and value == HOST_LOCAL


def _pod(found: objects.Pod, node_name: str) -> Decoded:
    read = Reader(Kind.POD, found.metadata)
    # a pod that has ended keeps its address in the API while another pod may have it already
    if found.spec.node_name != node_name or found.status.phase in ("Succeeded", "Failed"):
        return read.result(None)
    status = found.status
    texts = [given.ip for given in status.pod_ips or ()] or [status.pod_ip]
    ips = [read.address(text, f"status.podIPs[{i}].ip") for i, text in enumerate(texts) if text]
    return read.result(
        Pod(
            name=read.name,
            uid=found.metadata.uid,
            node=found.spec.node_name,
            ips=tuple(ip for ip in ips if ip is not None),
            host_network=found.spec.host_network,
        )
    )


def _namespace(found: objects.Namespace) -> Decoded:
    read = Reader(Kind.NAMESPACE, found.metadata)
    labels = tuple(sorted((found.metadata.labels or {}).items()))
    return read.result(Namespace(read.name.name, labels))


def _shape_problem(kind: Kind, name: ObjectName, error: str) -> Problem:
    """From msgspec's words, such as "Expected `int`, got `str` - at `$.spec.ports[0].port`"."""
    text, _, where = error.partition(" - at `$")
    return Problem(kind, name, where.strip("`.") or "(whole object)", text)
