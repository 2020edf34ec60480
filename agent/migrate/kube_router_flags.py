"""kube-router's flags, as of v2.11, and what each is here. Data; ``kube_router`` follows it.

Source: kube-router, pkg/options/options.go; where its documents differ, the code.
"""

from collections.abc import Callable

from agent.migrate.table import MAPPED, MISSING, NEEDLESS, Row, switch
from agent.options import values

BGP = "is not read; --router on, its options, our BGPPeers, BGPFilters and BGPConfigurations say the like (docs/bgp.md)"
RESYNC = "what somebody changes is put back at once, or at the latest after three minutes"
TUNNEL = "see --overlay-encap"
API = "`api-server`, with https"
MOUNTED = "`kubeconfig`; mount the file at that path, or leave the option out in a pod"


def server(text: str) -> str:
    """An API server's URL.

    Raises:
        ValueError: it is without TLS, or no URL.
    """
    return values.written(values.servers(text))


def ours(read: Callable[[str], object], default: str = "") -> Callable[[str], str]:
    """What converts a value by our own option's reader; to nothing where it is the default, or empty."""

    def convert(text: str) -> str:
        found = values.written(read(text)) if text else ""
        return "" if found == default else found

    return convert


def cluster_asn(text: str) -> str:
    """0 stands for the default."""
    return "" if text == "0" else ours(values.asn, "64512")(text)


def log_level(text: str) -> str:
    """kube-router logs more from 1 on; 0 is our default."""
    return "" if text in {"", "0"} else "debug"


def port_range(text: str) -> str:
    """kube-router takes a colon too."""
    return text.replace(":", "-")


def node_name(text: str) -> str:
    """Nothing where the pod's own field gives it."""
    return "" if text.startswith("$(") else text


PROCESS = (
    Row("run-router", MAPPED, "`network`: `own`, or `chained` where it is false and another plugin makes the network"),
    Row("run-firewall", MAPPED, "`network-policy`, `policy-reject`"),
    Row("run-service-proxy", MAPPED, "`service-proxy`"),
    Row("run-loadbalancer", MAPPED, "`loadbalancer-pools`, and a LoadBalancerPool"),
    Row("master", MAPPED, API, option="api-server", convert=server),
    Row(
        "kubeconfig",
        MAPPED,
        MOUNTED,
        option="kubeconfig",
    ),
    Row("hostname-override", MAPPED, "`node-name`", option="node-name", convert=node_name),
    Row("cache-sync-timeout", NEEDLESS, "the agent waits as long as it takes; `/readyz` names what is not listed yet"),
    Row("enable-ipv4", MAPPED, "each family of which the Node has a pod CIDR"),
    Row("enable-ipv6", MAPPED, "each family of which the Node has a pod CIDR"),
    Row(
        "disable-source-dest-check",
        MISSING,
        "no cloud's API is called",
        "on AWS without an overlay turn the instances' source/destination check off yourself",
        ("false",),
    ),
    Row("cleanup-config", NEEDLESS, "a command: `sluiceway-agent cleanup`"),
    Row("help", NEEDLESS, "a command"),
    Row("version", NEEDLESS, "a command"),
    Row("v", MAPPED, "`log-level`: `debug` above 0", option="log-level", convert=log_level),
)
NETWORK = (
    Row("enable-cni", MAPPED, "`install-cni`", option="install-cni", convert=switch),
    Row("auto-mtu", MAPPED, "`mtu` where it is false: that of the CNI configuration"),
    Row("enable-overlay", MAPPED, "`encapsulation`: `native` where it is false"),
    Row("overlay-type", MAPPED, "`cross-subnet`: `on` for `subnet`"),
    Row("overlay-encap", MAPPED, "`encapsulation`: `ipip`; `fou` has no counterpart, `vxlan` is the nearest"),
    Row("overlay-encap-port", MISSING, "there is no FOU or GUE", "see --tunnel-port, of VXLAN and Geneve", ("5555",)),
    Row("enable-pod-egress", MAPPED, "`masquerade`", option="masquerade", convert=switch),
    Row("injected-routes-sync-period", NEEDLESS, RESYNC),
    Row("routes-sync-period", NEEDLESS, RESYNC),
)
ROUTER = (
    Row("cluster-asn", MAPPED, "`cluster-asn`", option="cluster-asn", convert=cluster_asn),
    Row("nodes-full-mesh", MAPPED, "`nodes-full-mesh`", option="nodes-full-mesh", convert=ours(values.switch, "on")),
    Row("enable-ibgp", MAPPED, "`enable-ibgp`", option="enable-ibgp", convert=ours(values.switch, "on")),
    Row("bgp-port", MAPPED, "`bgp-port`", option="bgp-port", convert=ours(values.tcp_port, "179")),
    Row("router-id", MAPPED, "`router-id`", option="router-id", convert=ours(values.router_id)),
    Row("bgp-holdtime", MAPPED, "`bgp-holdtime`", option="bgp-holdtime", convert=ours(values.hold_time, "90")),
    Row("bgp-graceful-restart", MAPPED, "`bgp-graceful-restart`", option="bgp-graceful-restart", convert=switch),
    Row(
        "bgp-graceful-restart-time",
        MAPPED,
        "`bgp-graceful-restart-time`",
        option="bgp-graceful-restart-time",
        convert=ours(values.restart_time),
    ),
    Row("bgp-graceful-restart-deferral-time", NEEDLESS, "BIRD waits for as long as --bgp-graceful-restart-time"),
    Row("enable-bfd", MAPPED, "`enable-bfd`", option="enable-bfd", convert=ours(values.switch, "off")),
    Row(
        "bfd-port",
        MISSING,
        "BFD is on UDP port 3784, or 4784 over several hops (RFC 5881, RFC 5883)",
        "have the peers listen there",
        ("3784",),
    ),
    *(
        Row(name, MAPPED, f"`{name}`", option=name, convert=ours(read, default))
        for name, read, default in (
            ("bfd-desired-min-tx-interval", values.milliseconds, "1000"),
            ("bfd-required-min-rx-interval", values.milliseconds, "1000"),
            ("bfd-detection-multiplier", values.multiplier, "3"),
            ("peer-router-ips", values.addresses, ""),
            ("peer-router-asns", values.asns, ""),
            ("peer-router-ports", values.tcp_ports, ""),
        )
    ),
    Row(
        "peer-router-passwords",
        MISSING,
        "a password is no option: everybody may read arguments",
        "write the same text to a file, and give --peer-router-passwords-file",
        ("",),
    ),
    *(
        Row(name, MAPPED, f"`{name}`", option=name, convert=ours(read, default))
        for name, read, default in (
            ("peer-router-passwords-file", str, ""),
            ("peer-router-multihop-ttl", values.hops, "0"),
            ("override-nexthop", values.switch, "on"),
            ("advertise-cluster-ip", values.switch, "off"),
            ("advertise-external-ip", values.switch, "off"),
            ("advertise-loadbalancer-ip", values.switch, "off"),
            ("advertise-pod-cidr", values.switch, "on"),
        )
    ),
    Row("gobgp-admin-address", NEEDLESS, "there is no GoBGP"),
    Row("gobgp-admin-port", NEEDLESS, "there is no GoBGP"),
)
SERVICES = (
    Row("ipvs-sync-period", NEEDLESS, RESYNC),
    Row("ipvs-graceful-termination", NEEDLESS, "connections go on with a backend that ends, new ones go elsewhere"),
    Row("ipvs-graceful-period", NEEDLESS, "connections go on with a backend that ends, as long as both ends keep them"),
    Row(
        "ipvs-permit-all",
        MISSING,
        "ports that a service does not have are refused at its addresses always",
        "have the node's programs listen at the node's own addresses",
        ("true",),
    ),
    Row("masquerade-all", MAPPED, "`masquerade-all`", option="masquerade-all", convert=switch),
    Row(
        "hairpin-mode",
        MAPPED,
        "`hairpin-mode`, which changes nothing: pods reach themselves anyway",
        option="hairpin-mode",
        convert=switch,
    ),
    Row("nodeport-bindon-all-ip", MAPPED, "`nodeport-addresses`: `primary` where it is false"),
    Row("excluded-cidrs", NEEDLESS, "no IPVS service is touched"),
    Row("service-cluster-ip-range", MAPPED, "`service-cidrs`", option="service-cidrs"),
    Row("service-external-ip-range", MAPPED, "`service-external-ip-range`", option="service-external-ip-range"),
    Row("service-node-port-range", MAPPED, "`node-port-range`", option="node-port-range", convert=port_range),
    Row(
        "strict-external-ip-validation",
        MAPPED,
        "`strict-external-ip-validation`; on without the flag, as there since v2.8",
    ),
    Row("service-tcp-timeout", MISSING, "flows have fixed times, those of RFC 5382 and RFC 4787", "", ("0s", "0")),
    Row(
        "service-tcpfin-timeout",
        MISSING,
        "flows have fixed times, which RFC 5382 and RFC 4787 ask for",
        "",
        ("0s", "0"),
    ),
    Row("service-udp-timeout", MISSING, "flows have fixed times, those of RFC 5382 and RFC 4787", "", ("0s", "0")),
    Row("runtime-endpoint", NEEDLESS, "dsr changes nothing in pods, so that no runtime is asked"),
)
POLICY = (
    Row("iptables-sync-period", NEEDLESS, RESYNC),
    Row(
        "netpol-default-deny",
        MAPPED,
        "`netpol-default-deny`, which changes nothing: it is so anyway",
        option="netpol-default-deny",
        convert=switch,
    ),
    Row("use-nftables-for-netpol", NEEDLESS, "policy is in neither iptables nor nftables"),
)
BALANCERS = (
    Row("loadbalancer-ip-range", MAPPED, "a LoadBalancerPool, and `loadbalancer-ip-range`"),
    Row(
        "loadbalancer-default-class",
        MISSING,
        "Services without a class are given addresses always",
        "give the LoadBalancerPool a serviceSelector",
        ("true",),
    ),
    Row("loadbalancer-sync-period", NEEDLESS, "Services are watched"),
)
OBSERVED = (
    Row("metrics-port", MAPPED, "`listen`, with other names of metrics"),
    Row("metrics-addr", MAPPED, "`listen`"),
    Row("metrics-path", MISSING, "metrics are at /metrics", "change the scrape's path", ("/metrics",)),
    Row("health-port", MISSING, "health is at `/livez` and `/readyz` of `listen`", "change who asks", ("0", "20244")),
    Row("health-addr", MISSING, "health is at the address of `listen`", "change who asks", ("",)),
    Row("enable-pprof", MISSING, "the agent is not profiled over the network", "", ("false",)),
)
SECTIONS = {
    "Process": PROCESS,
    "Pod network": NETWORK,
    "BGP": ROUTER,
    "Services": SERVICES,
    "Network policy": POLICY,
    "Load balancers' addresses": BALANCERS,
    "Metrics and health": OBSERVED,
}
FLAGS = tuple(row for rows in SECTIONS.values() for row in rows)
SWITCHES = frozenset(
    {
        "run-router", "run-firewall", "run-service-proxy", "run-loadbalancer", "enable-ipv4", "enable-ipv6",
        "disable-source-dest-check", "cleanup-config", "help", "version", "enable-cni", "auto-mtu", "enable-overlay",
        "enable-pod-egress", "nodes-full-mesh", "enable-ibgp", "bgp-graceful-restart", "enable-bfd",
        "override-nexthop", "advertise-cluster-ip", "advertise-external-ip", "advertise-loadbalancer-ip",
        "advertise-pod-cidr", "ipvs-graceful-termination", "ipvs-permit-all", "masquerade-all", "hairpin-mode",
        "nodeport-bindon-all-ip", "strict-external-ip-validation", "netpol-default-deny", "use-nftables-for-netpol",
        "loadbalancer-default-class", "enable-pprof",
    }
)  # fmt: skip
SHORT = {"h": "help", "V": "version"}
