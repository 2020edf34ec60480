"""kube-router's annotations, labels and environment variables, and what each is here. Data; ``kube_router`` follows it.

Source: kube-router v2.11, pkg/controllers; where its documents differ, the code.
"""

from agent.migrate.table import MAPPED, MISSING, NEEDLESS, Row

PREFIX = "kube-router.io/"
READ = "is read here as it is"
NODE = (
    *(
        Row(f"{PREFIX}{name}", MAPPED, f"{READ}, with `router` on")
        for name in (
            "node.asn", "rr.server", "rr.client", "peers", "peer.ips", "peer.asns", "peer.ports", "peer.passwords",
            "peer.localips", "path-prepend.as", "path-prepend.repeat-n", "node.bgp.communities",
            "node.bgp.customimportreject", "bgp-local-addresses",
        )
    ),
    Row(f"{PREFIX}pod-cidr", MAPPED, "`Node.spec.podCIDRs`, where it is the same; another range has no counterpart"),
    Row(f"{PREFIX}pod-cidrs", MAPPED, "`Node.spec.podCIDRs`, where it is the same; another range has no counterpart"),
)  # fmt: skip
SERVICE = (
    Row(f"{PREFIX}service.dsr", MAPPED, f"{READ}; `sluiceway.io/forwarding: dsr` says the same"),
    Row(f"{PREFIX}service.scheduler", MAPPED, f"{READ}; without it new flows go by `maglev`, there by `rr`"),
    Row(f"{PREFIX}service.schedflags", MAPPED, f"{READ}, as `sluiceway.io/schedflags`"),
    Row(f"{PREFIX}service.hairpin", MAPPED, f"{READ}; a pod reaches itself with it and without"),
    Row(f"{PREFIX}service.hairpin.externalips", MAPPED, f"{READ}; a pod reaches itself with it and without"),
    Row(f"{PREFIX}service.local", MAPPED, f"{READ}; `spec.externalTrafficPolicy: Local` says the same"),
    *(
        Row(f"{PREFIX}service.advertise.{what}", MAPPED, f"{READ}, with `router` on")
        for what in ("clusterip", "externalip", "loadbalancerip")
    ),
    Row(f"{PREFIX}service.skiplbips", MAPPED, f"{READ}; `ipMode: Proxy` in the status says the same"),
)
LABELS = (
    Row(
        "service.kubernetes.io/service-proxy-name",
        MISSING,
        "a Service with this label is left to another proxy",
        "take the label away",
    ),
    Row("service.kubernetes.io/headless", NEEDLESS, "such a Service is passed over here too"),
)
ENVIRONMENT = (
    Row("KUBE_ROUTER_CNI_CONF_FILE", MAPPED, "`cni-conf-dir`: its folder"),
    Row("NODE_NAME", NEEDLESS, "read by the agent too"),
    Row("POD_NAME", NEEDLESS, "who allocates is told by the Node's name"),
    Row("POD_NAMESPACE", NEEDLESS, "Leases are in the namespace `sluiceway`"),
    Row("LOCAL_BIN_PATH", NEEDLESS, "the plugin comes with the agent"),
    Row("HOST_BIN_PATH", MAPPED, "`cni-bin-dir`"),
    *(Row(name, MISSING, "no cloud's API is called", "") for name in ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")),
)
METRICS = (
    ("build_info", "", "`sluiceway-agent config` and the image's tag say the version"),
    ("bgp_peer_info, controller_bgp_*", "`sluiceway_bgp_session_up` and its like", "by peer"),
    ("controller_routes_sync_time", "", "BIRD says nothing of it"),
    (
        "host_routes_sync_time, host_routes_synced, host_routes_added, host_routes_removed",
        "`sluiceway_part_ok{part}`, `sluiceway_part_failures_total`",
        "routes are a part",
    ),
    (
        "controller_iptables_*, controller_policy_chains_sync_time, controller_policy_ipset_*",
        "`sluiceway_policy_propagation_seconds`",
        "from a change to the maps",
    ),
    (
        "controller_policy_chains, controller_policy_ipsets",
        "`sluiceway_policy_rule_sets`, `sluiceway_policy_peer_classes`",
        "",
    ),
    ("controller_ipvs_services_sync_time", "`sluiceway_sync_seconds`", ""),
    ("controller_ipvs_services", '`sluiceway_map_entries{map="services"}`', "an address and port each"),
    ("controller_ipvs_metrics_export_time", "", "counters are read at the scrape"),
    ("service_total_connections, service_cps", "", "`dpctl conntrack list` has the flows of a Service"),
    (
        "service_packets_in, service_packets_out, service_bytes_in, service_bytes_out, service_pps_*, service_bps_*",
        "`sluiceway_forwarded_packets_total`, `sluiceway_forwarded_bytes_total`",
        "by program and direction, not by Service",
    ),
)  # names there without kube_router_, names here, remark
