"""Options of Services: who is served, from which addresses, and how clients outside reach them."""

from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network
from typing import Literal

from agent.options import values
from agent.options.choices import Forwarding, L2Announce, ServiceProxy, SocketLb
from agent.options.values import about

NodePortAddresses = tuple[IPv4Network | IPv6Network, ...] | Literal["primary"]


@dataclass(frozen=True)
class ServiceOptions:
    """How Services are served."""

    service_proxy: ServiceProxy | None = field(
        default=None,
        metadata=about(
            values.switch_or([ServiceProxy.PODS], ServiceProxy),
            "serve Services (kube-router's --run-service-proxy): to all who ask, or with --network chained to pods "
            "alone, so that policy sees the backend; kube-proxy serves whom this does not",
            "on; with --network chained pods",
        ),
    )
    replace_kube_proxy: bool = field(
        default=False,
        metadata=about(
            values.switch,
            "take away what kube-proxy left on the node (rules of nftables and iptables-nft, IPVS), once the agent "
            "serves Services in its place and kube-proxy has ended; with --service-proxy on alone",
        ),
    )
    socket_lb: SocketLb = field(
        default=SocketLb.ON,
        metadata=about(
            values.switch_or([SocketLb.HOST], SocketLb),
            "choose backends at connect() and sendmsg(): of all sockets, or of the node's own processes alone, "
            "so that a proxy in a pod sees the Service's address",
        ),
    )
    hairpin_mode: bool = field(
        default=False,
        metadata=about(
            values.switch,
            "changes nothing, for a pod reaches itself by its Services anyway; accepted for users of kube-router",
        ),
    )
    forwarding: Forwarding = field(
        default=Forwarding.SNAT,
        metadata=about(
            values.one_of(tuple(Forwarding), Forwarding),
            "how clients outside reach Services' pods on other nodes: under this node's address, or under their own, "
            "with answers by this node (tunnel) or from the pod's straight to the client (dsr); a Service's annotation "
            "goes before",
        ),
    )
    masquerade_all: bool = field(
        default=False,
        metadata=about(
            values.switch,
            "backends see this node in place of its pods that ask Services (kube-proxy's and kube-router's option of "
            "that name); pods' sockets are left to their packets, as with --socket-lb host",
        ),
    )
    node_port_range: tuple[int, int] = field(
        default=(30000, 32767),
        metadata=about(values.port_range, "the API server's --service-node-port-range"),
    )
    nodeport_addresses: NodePortAddresses = field(
        default=(),
        metadata=about(
            values.node_port_addresses,
            "at which of this node's addresses node ports are, as kube-proxy's option of that name",
            "all of them, and loopback for the node itself",
        ),
    )
    service_cidrs: tuple[IPv4Network | IPv6Network, ...] = field(
        default=(),
        metadata=about(
            values.networks,
            "ranges of which cluster IPs are taken, as Kubernetes' ServiceCIDRs have them: addresses there that no "
            "Service has are refused, and not sent on (kube-router's --service-cluster-ip-range)",
        ),
    )
    strict_external_ip_validation: bool = field(
        default=False,
        metadata=about(
            values.switch,
            "external addresses of Services are served in the ranges of --service-external-ip-range (externalIPs) and "
            "--loadbalancer-ip-range (load balancers') alone: without a range of a kind none of it",
        ),
    )
    service_external_ip_range: tuple[IPv4Network | IPv6Network, ...] = field(
        default=(),
        metadata=about(
            values.networks,
            "ranges of externalIPs that Services may have; with some, BGP tells of no others",
        ),
    )
    loadbalancer_ip_range: tuple[IPv4Network | IPv6Network, ...] = field(
        default=(), metadata=about(values.networks, "ranges of load balancers' addresses that Services may have")
    )
    loadbalancer_pools: bool = field(
        default=False,
        metadata=about(
            values.switch,
            "take part in giving Services of type LoadBalancer addresses of LoadBalancerPools, as one node at a time "
            "does (kube-router's --run-loadbalancer)",
        ),
    )
    l2_announce: L2Announce = field(
        default=L2Announce.OFF,
        metadata=about(
            values.switch_or([L2Announce.EXTERNAL], L2Announce),
            "answer ARP and neighbour discovery on the uplinks' subnets for load balancer addresses, or external ones "
            "too, each by one of the nodes that do so",
        ),
    )
    healthz_bind_address: tuple[str, int] = field(
        default=("::", 10256),
        metadata=about(
            values.endpoint_or_off,
            "where load balancers ask for the node's /healthz and /livez, as kube-proxy's; [::] is every address of "
            "both families; with --service-proxy on alone, else kube-proxy answers",
        ),
    )
