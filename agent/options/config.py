"""The agent's options: the one list of them, from which flags, environment names, YAML keys, help and checks come."""

from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from pathlib import Path
from typing import Literal

from agent.log import FORMATS, LEVELS
from agent.options import values
from agent.options.choices import (
    Encapsulation,
    Forwarding,
    L2Announce,
    Objects,
    PodNetwork,
    ServiceProxy,
    SocketLb,
    Xdp,
)
from agent.options.values import about

NodePortAddresses = tuple[IPv4Network | IPv6Network, ...] | Literal["primary"]


@dataclass(frozen=True, slots=True)
class Options:
    """Every option of the agent. A field's flag is its name with hyphens."""

    node_name: str = field(
        default="",
        metadata=about(values.text, "name of this node's Node object", "NODE_NAME, then hostname"),
    )
    kubeconfig: Path | None = field(
        default=None,
        metadata=about(values.path, "API server to watch", "the pod's service account"),
    )
    api_server: tuple[str, ...] = field(
        default=(),
        metadata=about(
            values.servers,
            "API servers that are asked until this node serves the API's own service, and when that does not answer; "
            "with the credentials of the kubeconfig or the service account",
            "the kubeconfig's, or in a pod the service",
        ),
    )
    manifests: Path | None = field(
        default=None,
        metadata=about(values.path, "folder of Kubernetes YAML, watched instead of an API server"),
    )
    pin_root: Path = field(
        default=Path("/sys/fs/bpf/sluiceway"),
        metadata=about(values.path, "where maps and links are pinned", "sluiceway on the bpffs"),
    )
    cgroup: Path = field(
        default=Path("/sys/fs/cgroup"),
        metadata=about(values.path, "cgroup whose sockets are load-balanced", "the cgroup2 root"),
    )
    state_dir: Path = field(
        default=Path("/var/lib/sluiceway"),
        metadata=about(values.path, "what must outlive a reboot"),
    )
    run_dir: Path = field(default=Path("/run/sluiceway"), metadata=about(values.path, "where cni.sock lives"))
    cache_dir: Path = field(default=Path("/var/cache/sluiceway"), metadata=about(values.path, "compiled programs"))
    cni_bin_dir: Path = field(
        default=Path("/opt/cni/bin"),
        metadata=about(values.path, "where sluiceway-cni is installed"),
    )
    cni_conf_dir: Path = field(
        default=Path("/etc/cni/net.d"), metadata=about(values.path, "where the conflist is written")
    )
    cni_state_dir: Path = field(
        default=Path("/var/lib/cni"),
        metadata=about(values.path, "where host-local and the runtime keep attachments, for a Node that imports them"),
    )
    install_cni: bool = field(default=True, metadata=about(values.switch, "install the CNI plugin and its conflist"))
    network: PodNetwork = field(
        default=PodNetwork.OWN,
        metadata=about(
            values.one_of(tuple(PodNetwork), PodNetwork),
            "who makes the pods' network: the agent, or CNI plugins before it in the chain, so that policy and "
            "services are left (kube-router's --run-router=false)",
        ),
    )
    networks: bool = field(
        default=False,
        metadata=about(
            values.switch,
            "give pods the further networks that they ask for by k8s.v1.cni.cncf.io/networks, as Multus does; off "
            "where Multus runs",
        ),
    )
    ip_pools: bool = field(
        default=False,
        metadata=about(
            values.switch,
            "give pods addresses of IPPools, of which each node claims blocks as it needs them; beside the Nodes' "
            "podCIDRs or in place of them",
        ),
    )
    network_conf_dir: Path = field(
        default=Path("/etc/cni/multus/net.d"),
        metadata=about(
            values.path, "folder of CNI configurations for NetworkAttachmentDefinitions that have none, by their names"
        ),
    )
    network_namespace_isolation: bool = field(
        default=False,
        metadata=about(
            values.switch,
            "pods may name NetworkAttachmentDefinitions of their own namespace alone, and of "
            "--network-global-namespaces (Multus' namespaceIsolation)",
        ),
    )
    network_global_namespaces: tuple[str, ...] = field(
        default=("default",),
        metadata=about(values.namespaces, "whose NetworkAttachmentDefinitions all pods may name"),
    )
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
    devices: tuple[str, ...] = field(
        default=(),
        metadata=about(values.names, "uplinks, by name", "those with an InternalIP, a default route or a subnet"),
    )
    encapsulation: Encapsulation = field(
        default=Encapsulation.NATIVE,
        metadata=about(values.one_of(tuple(Encapsulation), Encapsulation), "how pods' packets go between nodes"),
    )
    cross_subnet: bool = field(
        default=False,
        metadata=about(values.switch, "encapsulate only to nodes on none of this node's subnets"),
    )
    host_routing: bool = field(
        default=False,
        metadata=about(
            values.switch,
            "what pods send under their own addresses to other nodes and outside, where it is not encapsulated, passes "
            "this node's own forwarding: its firewall and its IPsec policies",
        ),
    )
    tunnel_port: int = field(
        default=0,
        metadata=about(values.udp_port, "UDP port of VXLAN or Geneve", "0: VXLAN 8472, Geneve 6081"),
    )
    tunnel_vni: int = field(default=1, metadata=about(values.vni, "network number of VXLAN or Geneve"))
    masquerade: bool = field(
        default=True,
        metadata=about(values.switch, "pods go outside under this node's address on the way there"),
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
    masquerade_config: Path | None = field(
        default=None,
        metadata=about(values.path, "ranges never masqueraded, in ip-masq-agent's format; read again as it says"),
    )
    mtu: int = field(
        default=0,
        metadata=about(values.mtu, "of pods' interfaces", "0: the uplinks', less what encapsulation adds"),
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
    network_policy: bool = field(
        default=True,
        metadata=about(
            values.switch, "enforce NetworkPolicies and ClusterNetworkPolicies (kube-router's --run-firewall)"
        ),
    )
    policy_reject: bool = field(
        default=False,
        metadata=about(values.switch, "what a policy denies is refused with an error, and not dropped in silence"),
    )
    netpol_default_deny: bool = field(
        default=False,
        metadata=about(
            values.switch,
            "changes nothing, for pods that are not known yet pass nothing anyway; accepted for users of kube-router",
        ),
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
    xdp: Xdp = field(
        default=Xdp.AUTO,
        metadata=about(
            values.one_of(tuple(Xdp), Xdp),
            "balance what comes from outside for other nodes in the uplinks' drivers: where they can; on every uplink "
            "(native); or else in the kernel's generic mode",
        ),
    )
    xdp_deny_cidrs_file: Path | None = field(
        default=None,
        metadata=about(
            values.path, "ranges from which XDP lets nothing in, one a line, # begins a comment; read when it changes"
        ),
    )
    listen: tuple[str, int] = field(default=("127.0.0.1", 9650), metadata=about(values.endpoint, "metrics and health"))
    healthz_bind_address: tuple[str, int] = field(
        default=("::", 10256),
        metadata=about(
            values.endpoint_or_off,
            "where load balancers ask for the node's /healthz and /livez, as kube-proxy's; [::] is every address of "
            "both families; with --service-proxy on alone, else kube-proxy answers",
        ),
    )
    max_services: int = field(default=0, metadata=about(values.size, "service addresses", "0: by the node's memory"))
    max_backends: int = field(
        default=0,
        metadata=about(values.size, "backends of all services", "0: by the node's memory"),
    )
    max_flows: int = field(default=0, metadata=about(values.size, "tracked flow entries", "0: by the node's memory"))
    max_endpoints: int = field(
        default=0,
        metadata=about(values.size, "addresses of this node and its pods", "0: by the node's memory"),
    )
    max_prefixes: int = field(
        default=0,
        metadata=about(values.size, "address ranges of other nodes, about four each", "0: by the node's memory"),
    )
    max_affinities: int = field(
        default=0,
        metadata=about(values.size, "clients held to a backend", "0: by the node's memory"),
    )
    max_peers: int = field(
        default=0,
        metadata=about(values.size, "addresses of other nodes' pods that policies mean", "0: by the node's memory"),
    )
    max_rules: int = field(
        default=0,
        metadata=about(values.size, "what policies say of groups of peers and of ports", "0: by the node's memory"),
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
        default=(), metadata=about(values.networks, "ranges of externalIPs that Services may have")
    )
    loadbalancer_ip_range: tuple[IPv4Network | IPv6Network, ...] = field(
        default=(), metadata=about(values.networks, "ranges of load balancers' addresses that Services may have")
    )
    log_level: str = field(default="info", metadata=about(values.one_of(LEVELS), "least level that is logged"))
    log_format: str = field(default="text", metadata=about(values.one_of(FORMATS), "how a line is written"))
    objects: Objects = field(
        default=Objects.AUTO,
        metadata=about(values.one_of(tuple(Objects), Objects), "which compiled programs are loaded"),
    )
    config: Path | None = field(default=None, metadata=about(values.path, "YAML file of these options"))

    @property
    def served(self) -> ServiceProxy:
        """Whose questions of Services are given a backend."""
        if self.service_proxy is not None:
            return self.service_proxy
        return ServiceProxy.ON if self.network is PodNetwork.OWN else ServiceProxy.PODS

    @property
    def serves_over_others(self) -> bool:
        """Whether all are served over another plugin's network, whose overlay brings backends' answers."""
        return self.network is PodNetwork.CHAINED and self.served is ServiceProxy.ON

    @property
    def changes_node(self) -> bool:
        """Whether a duty is ours for which the node's devices get programs, and its sysctls are set."""
        return self.network is PodNetwork.OWN or self.network_policy or self.served is not ServiceProxy.OFF

    @property
    def has_socket_hooks(self) -> bool:
        """Whether the socket programs are on the cgroup."""
        return self.socket_lb.has_hooks and self.served is not ServiceProxy.OFF

    @property
    def serves_pods_sockets(self) -> bool:
        """Whether pods' sockets are given backends: what is asked so goes to the backend as it is."""
        return self.socket_lb is SocketLb.ON and not self.masquerade_all
