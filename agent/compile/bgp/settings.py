"""What the options say of BGP."""

from dataclasses import dataclass

from agent.model.address import Address, Network
from agent.model.bgp import Bfd, PrefixRange, within
from agent.model.bgp_configuration import Advertisement
from agent.model.community import Community
from agent.options.config import Options


@dataclass(frozen=True, slots=True)
class OptionPeer:
    """One of --peer-router-ips."""

    address: Address
    asn: int
    port: int = 179


@dataclass(frozen=True, slots=True)
class BgpSettings:
    """All of it; the defaults are the options' own."""

    asn: int = 64512
    peers_nodes: bool = True
    full_mesh: bool = True
    node_password_key: str = ""  # none: nodes need none of each other
    port: int = 179
    router_id: str = ""
    hold_s: int = 90
    restart_s: int = 120  # 0: no graceful restart
    restart_time_s: int = 120  # what it is where there is one
    bfd: Bfd | None = None
    peers: tuple[OptionPeer, ...] = ()
    multihop: int = 0
    imports: tuple[PrefixRange, ...] = ()
    next_hop_self: bool = True
    pods: bool = True
    cluster_ips: bool = False
    external_ips: bool = False
    load_balancer: bool = False
    ignores_excluded: bool = False  # a Node with the label by which balancers leave it out tells of Services too
    imports_by: str = "--bgp-import-cidrs"
    drops_unserved: bool = True  # no packet of the node's own needs a route to a Service's address
    service_cidrs: tuple[Network, ...] = ()  # of cluster IPs
    external_ranges: tuple[Network, ...] = ()  # of externalIPs; none: they may be any
    # of BGPConfigurations alone
    relayed: tuple[PrefixRange, ...] = ()
    relayed_by: str = ""
    communities: tuple[tuple[str, Community], ...] = ()  # by their names
    advertisements: tuple[Advertisement, ...] = ()
    aggregates: tuple[Network, ...] = ()
    leaves_when_cordoned: bool = False  # a cordoned node tells of no Services


def bgp_settings(options: Options) -> BgpSettings | None:
    """What compile needs of the options; None without --router."""
    if not options.router:
        return None
    ports = options.peer_router_ports or ("179",) * len(options.peer_router_ips)
    peers = zip(options.peer_router_ips, options.peer_router_asns, ports, strict=True)
    return BgpSettings(
        asn=options.cluster_asn,
        peers_nodes=options.enable_ibgp,
        full_mesh=options.nodes_full_mesh,
        node_password_key=options.bgp_node_password_key,
        port=options.bgp_port,
        router_id=options.router_id,
        hold_s=options.bgp_holdtime,
        restart_s=options.bgp_graceful_restart_time if options.bgp_graceful_restart else 0,
        restart_time_s=options.bgp_graceful_restart_time,
        bfd=Bfd(
            options.bfd_desired_min_tx_interval,
            options.bfd_required_min_rx_interval,
            options.bfd_detection_multiplier,
        )
        if options.enable_bfd
        else None,
        peers=tuple(OptionPeer(address, int(asn), int(port)) for address, asn, port in peers),
        multihop=options.peer_router_multihop_ttl,
        imports=tuple(map(within, options.bgp_import_cidrs)),
        next_hop_self=options.override_nexthop,
        pods=options.advertise_pod_cidr,
        cluster_ips=options.advertise_cluster_ip,
        external_ips=options.advertise_external_ip,
        load_balancer=options.advertise_loadbalancer_ip,
        ignores_excluded=options.ignore_exclude_lb,
        drops_unserved=options.has_socket_hooks,
        service_cidrs=options.service_cidrs,
        external_ranges=options.service_external_ip_range,
    )
