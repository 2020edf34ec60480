"""The parts of Kubernetes objects that the agent reads, as JSON has them; decode makes model values.

What is not declared here is skipped by the parser, never kept. Lists may be null: so Go writes an
empty slice.
"""

from typing import Any

from msgspec import Struct, field


class Metadata(Struct, rename="camel", frozen=True):
    """``metadata`` of every object."""

    name: str = ""
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None


class Named(Struct, frozen=True):
    """Any object, as far as its name."""

    kind: str = ""
    metadata: Metadata = Metadata()


class ServicePort(Struct, rename="camel", frozen=True):
    """``spec.ports[]`` of a Service."""

    name: str | None = None
    protocol: str | None = None
    port: int | None = None
    node_port: int | None = None


class ClientIP(Struct, rename="camel", frozen=True):
    """``spec.sessionAffinityConfig.clientIP``."""

    timeout_seconds: int | None = None


class AffinityConfig(Struct, frozen=True):
    """``spec.sessionAffinityConfig``."""

    client_ip: ClientIP | None = field(name="clientIP", default=None)


class ServiceSpec(Struct, rename="camel", frozen=True):
    """``spec`` of a Service."""

    type: str = "ClusterIP"
    cluster_ip: str = field(name="clusterIP", default="")
    cluster_ips: list[str] | None = field(name="clusterIPs", default=None)
    external_ips: list[str] | None = field(name="externalIPs", default=None)
    load_balancer_source_ranges: list[str] | None = None
    ports: list[ServicePort] | None = None
    session_affinity: str = "None"
    session_affinity_config: AffinityConfig | None = None
    internal_traffic_policy: str | None = None
    external_traffic_policy: str | None = None
    publish_not_ready_addresses: bool = False


class Ingress(Struct, rename="camel", frozen=True):
    """``status.loadBalancer.ingress[]`` of a Service."""

    ip: str = ""  # empty where the balancer has a host name
    ip_mode: str | None = None


class LoadBalancer(Struct, frozen=True):
    """``status.loadBalancer`` of a Service."""

    ingress: list[Ingress] | None = None


class ServiceStatus(Struct, rename="camel", frozen=True):
    """``status`` of a Service."""

    load_balancer: LoadBalancer = LoadBalancer()


class Service(Struct, frozen=True):
    """A Service, v1."""

    metadata: Metadata = Metadata()
    spec: ServiceSpec = ServiceSpec()
    status: ServiceStatus = ServiceStatus()


class EndpointPort(Struct, frozen=True):
    """``ports[]`` of an EndpointSlice."""

    name: str | None = None
    protocol: str | None = None
    port: int | None = None


class Conditions(Struct, frozen=True):
    """``endpoints[].conditions`` of an EndpointSlice."""

    ready: bool | None = None
    serving: bool | None = None
    terminating: bool | None = None


class Hint(Struct, frozen=True):
    """One entry of ``endpoints[].hints``' lists."""

    name: str = ""


class Hints(Struct, rename="camel", frozen=True):
    """``endpoints[].hints`` of an EndpointSlice."""

    for_zones: list[Hint] | None = None
    for_nodes: list[Hint] | None = None


class Endpoint(Struct, rename="camel", frozen=True):
    """``endpoints[]`` of an EndpointSlice."""

    addresses: list[str] | None = None
    conditions: Conditions | None = None
    node_name: str | None = None
    zone: str | None = None
    hints: Hints | None = None


class EndpointSlice(Struct, rename="camel", frozen=True):
    """An EndpointSlice, discovery.k8s.io/v1."""

    metadata: Metadata = Metadata()
    address_type: str = ""
    ports: list[EndpointPort] | None = None
    endpoints: list[Endpoint] | None = None


class NodeSpec(Struct, frozen=True):
    """``spec`` of a Node."""

    pod_cidr: str = field(name="podCIDR", default="")
    pod_cidrs: list[str] | None = field(name="podCIDRs", default=None)


class NodeAddress(Struct, frozen=True):
    """``status.addresses[]`` of a Node."""

    type: str = ""
    address: str = ""


class NodeStatus(Struct, frozen=True):
    """``status`` of a Node."""

    addresses: list[NodeAddress] | None = None


class Node(Struct, frozen=True):
    """A Node, v1."""

    metadata: Metadata = Metadata()
    spec: NodeSpec = NodeSpec()
    status: NodeStatus = NodeStatus()


class PodSpec(Struct, rename="camel", frozen=True):
    """``spec`` of a Pod."""

    node_name: str = ""
    host_network: bool = False


class PodIP(Struct, frozen=True):
    """``status.podIPs[]`` of a Pod."""

    ip: str = ""


class PodStatus(Struct, frozen=True):
    """``status`` of a Pod."""

    phase: str = ""
    pod_ip: str = field(name="podIP", default="")
    pod_ips: list[PodIP] | None = field(name="podIPs", default=None)


class Pod(Struct, frozen=True):
    """A Pod, v1."""

    metadata: Metadata = Metadata()
    spec: PodSpec = PodSpec()
    status: PodStatus = PodStatus()


class Namespace(Struct, frozen=True):
    """A Namespace, v1."""

    metadata: Metadata = Metadata()


class Status(Struct, frozen=True):
    """The API server's answer to what failed (meta/v1 Status)."""

    code: int = 0
    reason: str = ""
    message: str = ""
    details: Any = None
