"""Services: which are served, and what the dataplane needs of them."""

from collections.abc import Iterator, Mapping

import msgspec
from msgspec import Struct, field

from agent.model.address import Address, Network
from agent.model.bgp import PREFIX
from agent.model.service import Protocol, Service, ServicePort
from agent.watch.decode.bgp_marks import marks
from agent.watch.decode.forwarding import forwarding
from agent.watch.decode.kind import Content, Context, Decoded, Kind
from agent.watch.decode.kube_router import is_local, skips_balancer
from agent.watch.decode.objects import Metadata
from agent.watch.decode.reader import Reader
from agent.watch.decode.scheduler import scheduling, weights

AFFINITY_DEFAULT_S = 10800  # DefaultClientIPServiceAffinitySeconds
AFFINITY_MAX_S = 86400  # the API server's bound
PROXY = "Proxy"  # an ipMode
LOCAL = "Local"  # a traffic policy
HEADLESS = "service.kubernetes.io/headless"
MOST_ADDRESSES = 256  # of one Service, external ones: each is announced and told to routers, at each of its ports
ADVERTISED = ("clusterip", "externalip", "loadbalancerip")  # what a Service may say to be announced by BGP, or not
NOT_SERVED = ("service.kubernetes.io/service-proxy-name", HEADLESS)


class _Port(Struct, rename="camel", frozen=True):
    """``spec.ports[]`` of a Service."""

    name: str | None = None
    protocol: str | None = None
    port: int | None = None
    node_port: int | None = None


class _ClientIP(Struct, rename="camel", frozen=True):
    """``spec.sessionAffinityConfig.clientIP``."""

    timeout_seconds: int | None = None


class _AffinityConfig(Struct, frozen=True):
    """``spec.sessionAffinityConfig``."""

    client_ip: _ClientIP | None = field(name="clientIP", default=None)


class _Spec(Struct, rename="camel", frozen=True):
    """``spec`` of a Service."""

    type: str = "ClusterIP"
    cluster_ip: str = field(name="clusterIP", default="")
    cluster_ips: list[str] | None = field(name="clusterIPs", default=None)
    external_ips: list[str] | None = field(name="externalIPs", default=None)
    load_balancer_source_ranges: list[str] | None = None
    ports: list[_Port] | None = None
    session_affinity: str = "None"
    session_affinity_config: _AffinityConfig | None = None
    internal_traffic_policy: str | None = None
    external_traffic_policy: str | None = None
    health_check_node_port: int | None = None
    publish_not_ready_addresses: bool = False


class _Ingress(Struct, rename="camel", frozen=True):
    """``status.loadBalancer.ingress[]`` of a Service."""

    ip: str = ""  # empty where the balancer has a host name
    ip_mode: str | None = None


class _LoadBalancer(Struct, frozen=True):
    """``status.loadBalancer`` of a Service."""

    ingress: list[_Ingress] | None = None


class _Status(Struct, rename="camel", frozen=True):
    """``status`` of a Service."""

    load_balancer: _LoadBalancer = _LoadBalancer()


class _Metadata(Metadata, rename="camel", frozen=True):
    """``metadata``, with what says which of two came first."""

    creation_timestamp: str = ""


class _Service(Struct, frozen=True):
    """A Service, v1."""

    metadata: _Metadata = _Metadata()
    spec: _Spec = _Spec()
    status: _Status = _Status()


_SERVICE = msgspec.json.Decoder(_Service)


def _decode(content: Content, context: Context) -> Decoded:
    found = _SERVICE.decode(content)
    read = Reader(SERVICE, found.metadata, context.shared)
    spec = found.spec
    if not _is_served(found):
        return read.result(None)
    annotations = found.metadata.annotations or {}
    ingress = [] if skips_balancer(annotations) else found.status.load_balancer.ingress or []
    scheduler, by_port = scheduling(read, annotations)
    return read.result(
        Service(
            name=read.name,
            cluster_ips=tuple(_cluster_ips(read, spec)),
            external_ips=_first(read, read.reachables(spec.external_ips, "spec.externalIPs"), "spec.externalIPs"),
            load_balancer=_first(read, tuple(_balancer(read, ingress)), "status.loadBalancer.ingress"),
            source_ranges=_source_ranges(read, spec.load_balancer_source_ranges),
            ports=_service_ports(read, spec),
            internal_local=spec.internal_traffic_policy == LOCAL,
            external_local=is_local(read, annotations) or spec.external_traffic_policy == LOCAL,
            health_check_port=_health_check_port(read, spec),
            affinity_s=_affinity_s(read, spec),
            publish_not_ready=spec.publish_not_ready_addresses,
            scheduler=scheduler,
            by_port=by_port,
            weights=weights(read, annotations),
            marks=marks(read, annotations),
            advertised=_advertised(read, annotations),
            created=found.metadata.creation_timestamp,
            forwarding=forwarding(read, annotations),
        )
    )


def _advertised(read: Reader, annotations: Mapping[str, str]) -> tuple[tuple[str, bool], ...]:
    """By kube-router's annotations; most Services have none."""
    found: dict[str, bool] = {}
    for what in ADVERTISED:
        given = annotations.get(key := f"{PREFIX}service.advertise.{what}")
        if given in {"true", "false"}:
            found[what] = given == "true"
        elif given is not None:
            where = f"metadata.annotations['{key}']"
            read.refuse(where, f"{given[:64]!r} is neither true nor false; the node's own option holds")
    return read.shared.one(tuple(found.items()))


def _is_served(found: _Service) -> bool:
    labels = found.metadata.labels or {}
    spec = found.spec
    is_headless = "None" in (spec.cluster_ip, *(spec.cluster_ips or ()))
    return not (is_headless or spec.type == "ExternalName" or any(label in labels for label in NOT_SERVED))


def _cluster_ips(read: Reader, spec: _Spec) -> Iterator[Address]:
    if spec.cluster_ips:
        yield from read.reachables(spec.cluster_ips, "spec.clusterIPs")
    elif spec.cluster_ip:
        address = read.reachable(spec.cluster_ip, "spec.clusterIP")
        if address is not None:
            yield address
    else:
        read.refuse("spec.clusterIP", "is missing; nothing allocates one here, so give an address")


def _service_ports(read: Reader, spec: _Spec) -> tuple[ServicePort, ...]:
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
        ports[number, protocol] = read.shared.made(ServicePort, found.name or "", protocol, number, node_port)
    if not ports:
        read.refuse("spec.ports", "holds no usable port; the Service has nothing to answer on")
    return read.shared.one(tuple(ports.values()))


def _node_port(read: Reader, spec: _Spec, number: int, where: str) -> int:
    """The node port, 0 for none; a LoadBalancer may go without (allocateLoadBalancerNodePorts)."""
    if number:
        if spec.type in ("NodePort", "LoadBalancer"):
            return read.port(number, where) or 0
        read.refuse(where, f"has no meaning for type {spec.type}; say type NodePort")
    elif spec.type == "NodePort":
        read.refuse(where, "is missing; nothing allocates one here, so give a number")
    return 0


def _health_check_port(read: Reader, spec: _Spec) -> int:
    """Where this node answers for the service; 0 where every node leads to it, so that balancers ask nothing."""
    number = spec.health_check_node_port
    if not number or spec.type != "LoadBalancer" or spec.external_traffic_policy != LOCAL:
        return 0
    return read.port(number, "spec.healthCheckNodePort") or 0


def _affinity_s(read: Reader, spec: _Spec) -> int:
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


def _first(read: Reader, found: tuple[Address, ...], where: str) -> tuple[Address, ...]:
    """As many addresses as one Service may have."""
    if len(found) > MOST_ADDRESSES:
        read.refuse(
            where, f"has {len(found)} addresses, of which the first {MOST_ADDRESSES} count; make several Services"
        )
    return found[:MOST_ADDRESSES]


def _balancer(read: Reader, ingress: list[_Ingress]) -> Iterator[Address]:
    """The addresses that packets reach this node by.

    A balancer of ipMode Proxy sends them to node ports or pods; its own address is not the node's to answer, neither
    for clients inside, who must go by the balancer, nor outside.

    Source: KEP-1860.
    """
    for index, found in enumerate(ingress):
        where = f"status.loadBalancer.ingress[{index}].ip"
        address = read.reachable(found.ip, where) if found.ip and found.ip_mode != PROXY else None
        if address is not None:
            yield address


def _source_ranges(read: Reader, texts: list[str] | None) -> tuple[Network, ...] | None:
    """The ranges that can be read: where none can, nobody is served, for without any all would be."""
    if not texts:
        return None
    # the API server admits blanks around them
    found = (read.network(text.strip(), f"spec.loadBalancerSourceRanges[{at}]") for at, text in enumerate(texts))
    return tuple(network for network in found if network is not None)


SERVICE = Kind(
    "Service",
    "/api/v1/services",
    "services",
    _decode,
    label_selector=",".join(f"!{label}" for label in NOT_SERVED),
    is_needed=True,
)
