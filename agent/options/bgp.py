"""Options of BGP and BFD: with whom this node speaks, and what it tells."""

from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from pathlib import Path

from agent.options import values
from agent.options.values import about


@dataclass(frozen=True)
class BgpOptions:
    """How this node speaks BGP."""

    router: bool = field(
        default=False,
        metadata=about(
            values.switch,
            "tell peers by BGP of pods' ranges and Services' addresses, and take routes of them, through BIRD, which "
            "runs beside the agent (kube-router's --run-router has this part)",
        ),
    )
    cluster_asn: int = field(
        default=64512, metadata=about(values.asn, "the nodes' AS number, where a Node's annotation says no other")
    )
    enable_ibgp: bool = field(default=True, metadata=about(values.switch, "peer with other nodes"))
    nodes_full_mesh: bool = field(
        default=True,
        metadata=about(
            values.switch, "peer with every node, and not with those alone that are annotated with this one's AS number"
        ),
    )
    bgp_port: int = field(
        default=179, metadata=about(values.tcp_port, "where BIRD listens, and where it finds the other nodes")
    )
    router_id: str = field(
        default="",
        metadata=about(
            values.router_id,
            "the node's number in BGP, an IPv4 address; generate: from its first address",
            "its first IPv4 InternalIP, or else generated",
        ),
    )
    bgp_holdtime: int = field(
        default=90, metadata=about(values.hold_time, "after how long a silent peer's session ends")
    )
    bgp_graceful_restart: bool = field(
        default=True,
        metadata=about(values.switch, "peers keep this node's routes while BIRD starts again, and it theirs"),
    )
    bgp_graceful_restart_time: int = field(default=120, metadata=about(values.restart_time, "for how long they do"))
    enable_bfd: bool = field(
        default=False,
        metadata=about(
            values.switch,
            "watch peers by BFD, also other nodes: on UDP port 3784, and 4784 where a peer may be hops away",
        ),
    )
    bfd_desired_min_tx_interval: int = field(
        default=1000, metadata=about(values.milliseconds, "how often BFD sends, in milliseconds")
    )
    bfd_required_min_rx_interval: int = field(
        default=1000, metadata=about(values.milliseconds, "how often BFD can receive, in milliseconds")
    )
    bfd_detection_multiplier: int = field(
        default=3, metadata=about(values.multiplier, "how many of BFD's packets may be missing")
    )
    peer_router_ips: tuple[IPv4Address | IPv6Address, ...] = field(
        default=(), metadata=about(values.addresses, "peers of every node that are no nodes")
    )
    peer_router_asns: tuple[str, ...] = field(
        default=(), metadata=about(values.asns, "their AS numbers, in the same order")
    )
    peer_router_ports: tuple[str, ...] = field(
        default=(), metadata=about(values.tcp_ports, "their ports, in the same order", "179")
    )
    peer_router_multihop_ttl: int = field(
        default=0,
        metadata=about(values.hops, "so many hops away they may be", "0: they are on a subnet of the node's"),
    )
    peer_router_passwords_file: Path | None = field(
        default=None,
        metadata=about(
            values.path, "their passwords in base64, separated by commas, in the same order; read when it changes"
        ),
    )
    bgp_password_dir: Path = field(
        default=Path("/etc/sluiceway/bgp"),
        metadata=about(values.path, "passwords of BGPPeers, each a file named by spec.passwordKey; a Secret's volume"),
    )
    bgp_node_password_key: str = field(
        default="",
        metadata=about(values.text, "the file there with the password between nodes", "none: nodes need none"),
    )
    bgp_import_cidrs: tuple[IPv4Network | IPv6Network, ...] = field(
        default=(),
        metadata=about(
            values.networks,
            "prefixes within these are taken of peers that are no nodes and for which no BGPPeer says what is; a "
            "default route where 0.0.0.0/0 or ::/0 is one of them",
        ),
    )
    override_nexthop: bool = field(
        default=True,
        metadata=about(values.switch, "peers that are no nodes are told this node's own address as the next hop"),
    )
    advertise_pod_cidr: bool = field(
        default=True, metadata=about(values.switch, "tell peers that are no nodes of the node's pod CIDRs")
    )
    advertise_cluster_ip: bool = field(
        default=False, metadata=about(values.switch, "tell them of Services' cluster IPs; a Service's annotation wins")
    )
    advertise_external_ip: bool = field(
        default=False, metadata=about(values.switch, "tell them of externalIPs; a Service's annotation wins")
    )
    advertise_loadbalancer_ip: bool = field(
        default=False,
        metadata=about(values.switch, "tell them of load balancers' addresses; a Service's annotation wins"),
    )
    ignore_exclude_lb: bool = field(
        default=False,
        metadata=about(
            values.switch,
            "tell them of Services, and announce these with --l2-announce, also from a Node with the label "
            "node.kubernetes.io/exclude-from-external-load-balancers, as kubeadm gives its control plane",
        ),
    )
